"""A session that another request ends meanwhile: a GET shows its page, as if to nobody, and the page
that refuses a POST is a page like any other.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from tornado.web import Application

from .acts import Act
from .conftest import Browser, MakeBrowser, Script, run, value_of

pytestmark = pytest.mark.gen_test


async def visitor(make_browser: MakeBrowser) -> tuple[Browser, Browser]:
    """Return a browser with a session, and another tab of it."""
    browser, tab = make_browser(), make_browser()
    await run(browser, lambda handler: handler.session.set("count", 1))
    tab.cookies = dict(browser.cookies)
    return browser, tab


async def save(handler: Script) -> None:
    handler.session["count"] = 2
    await handler.session.save()


async def modify(handler: Script) -> None:
    await handler.session.modify("count", lambda count: count + 1)


ENDINGS: dict[str, Act] = {
    "destroy": lambda handler: handler.session.destroy(),
    "regenerate": lambda handler: handler.session.regenerate(),
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("stores", [save, modify])
async def test_what_a_get_saves_by_itself_is_dropped_with_a_line_in_the_log(
    make_browser: MakeBrowser, caplog: pytest.LogCaptureFixture, stores: Act, ending: str
) -> None:
    browser, tab = await visitor(make_browser)

    async def does(handler: Script) -> None:
        await run(tab, ENDINGS[ending])
        with caplog.at_level(logging.INFO):
            await stores(handler)  # type: ignore[misc]
        assert "dropped what a request changed" in caplog.text
        assert dict(handler.session) == {}
        handler.write("told")

    page = await run(browser, does)
    assert (page.status, page.text, page.set_cookies) == (200, "told", [])
    assert await value_of(tab, "count") == (1 if ending == "regenerate" else "absent")


async def test_the_page_of_the_409_may_use_the_session(
    app: Application, make_browser: MakeBrowser
) -> None:
    class OwnErrorPage(Script):
        def write_error(self, status_code: int, **kwargs: Any) -> None:
            self.notifications.add("nothing was saved")
            self.session["errors"] = 1
            self.finish(f"a page of ones own: {status_code}")

    app.add_handlers(".*", [("/own-error-page", OwnErrorPage)])
    browser, tab = await visitor(make_browser)
    loaded, leave = asyncio.Event(), asyncio.Event()

    async def slow(handler: Script) -> None:
        handler.session["count"] = 2
        loaded.set()
        await leave.wait()

    Script.does = staticmethod(slow)
    waiting = asyncio.ensure_future(browser.post("/own-error-page", follow=False))
    await loaded.wait()
    await run(tab, ENDINGS["regenerate"])
    leave.set()
    page = await waiting
    assert (page.status, page.text, page.set_cookies) == (409, "a page of ones own: 409", [])
    assert await value_of(tab, "count") == 1
    assert await value_of(tab, "errors") == "absent"
