"""One person, one cookie: an id from before a login or logout neither sets nor clears it."""

from __future__ import annotations

from typing import Any

import pytest

from {{cookiecutter.project_slug}}.sessions import Store

from ..browser import Browser
from ..conftest import MakeBrowser
from .conftest import Routes
from .script import ROUTES, begin, do, show

pytestmark = pytest.mark.gen_test


@pytest.fixture
def handlers() -> Routes:
    return ROUTES


def _login(handler: Any) -> None:
    handler.session["user"] = "ada"
    handler.session.regenerate()


def _second_tab(make_browser: MakeBrowser, browser: Browser) -> Browser:
    """The same browser's other tab, whose request left before the first one's answer came."""
    tab: Browser = make_browser()
    tab.cookies = dict(browser.cookies)
    return tab


def _header(*browsers: Browser) -> str:
    return "; ".join(
        f"{cookie.name}={cookie.value}" for each in browsers for cookie in each.cookies.values()
    )


@pytest.mark.parametrize("ended", ["login", "logout"])
async def test_37_a_second_tabs_page_sees_nobody_and_touches_no_cookie(
    make_browser: MakeBrowser, ended: str
) -> None:
    browser = make_browser()
    await do(browser, begin)
    tab = _second_tab(make_browser, browser)
    await do(browser, _login if ended == "login" else lambda handler: handler.session.destroy())
    page = await do(tab, show)
    assert (page.status, page.text, page.set_cookies) == (200, '{"result": {}}', [])
    page = await do(tab, begin)  # a page that notes something has nowhere to note it
    assert (page.status, page.set_cookies) == (200, [])


async def test_37_a_second_tabs_form_that_stores_something_is_refused_in_words(
    make_browser: MakeBrowser,
) -> None:
    browser = make_browser()
    await do(browser, begin)
    tab = _second_tab(make_browser, browser)
    await do(browser, _login)
    page = await do(tab, begin, method="POST")
    assert (page.status, page.set_cookies) == (409, [])
    assert "load the page again" in page.text
    assert '"user": "ada"' in (await do(browser, show)).text


async def test_37_a_second_click_on_log_out_is_answered_as_ever(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    await do(browser, begin)
    tab = _second_tab(make_browser, browser)
    await do(browser, lambda handler: handler.session.destroy(), method="POST")
    page = await do(tab, lambda handler: handler.session.destroy(), method="POST")
    assert (page.status, page.set_cookies) == (200, [])


async def test_a_second_tab_may_log_in(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    await do(browser, begin)
    tab = _second_tab(make_browser, browser)
    await do(browser, lambda handler: handler.session.destroy())
    page = await do(tab, _login, method="POST")
    assert len(page.set_cookies) == 1
    assert (await do(tab, show)).text == '{"result": {"user": "ada"}}'


async def test_of_several_cookies_the_one_with_a_session_counts(
    make_browser: MakeBrowser, store: Store
) -> None:
    old, good = make_browser(), make_browser()
    for browser in (old, good):
        await do(browser, begin)
    ended = _header(old)
    await do(old, lambda handler: handler.session.destroy())
    unknown = f"{store.config.cookie.name}={store.signer.sign('A' * 43)}"
    forged = unknown[:-1] + "x"
    for first in (ended, unknown, "; ".join([unknown] * 5), "; ".join([forged] * 30)):
        page = await do(make_browser(), show, Cookie=f"{first}; {_header(good)}")
        assert page.text == '{"result": {"name": "ada"}}'
        assert page.set_cookies == []


async def test_a_session_that_is_saved_and_ended_in_a_first_request_leaves_no_cookie(
    make_browser: MakeBrowser,
) -> None:
    async def begin_and_end(handler: Any) -> None:
        handler.session["name"] = "ada"
        await handler.session.save()
        handler.session.destroy()

    page = await do(make_browser(), begin_and_end)
    assert not any(cookie.value for cookie in page.set_cookies)


async def test_a_message_for_an_id_that_has_moved_follows_it(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    await do(browser, begin)
    tab = _second_tab(make_browser, browser)

    async def slow(handler: Any) -> None:
        await do(browser, _login)
        handler.notifications.add("from the other tab")

    assert (await do(tab, slow, method="POST")).set_cookies == []

    async def take(handler: Any) -> object:
        return [message.value for message in await handler.notifications.take()]

    assert (await do(browser, take)).text == '{"result": ["from the other tab"]}'


async def test_a_new_id_is_not_cached_whatever_is_set_later(make_browser: MakeBrowser) -> None:
    async def publish(handler: Any) -> None:
        await handler.session.modify("visits", lambda visits: visits + 1, default=0)
        handler.set_header("Cache-Control", "public, max-age=60")
        handler.set_header("Vary", "Accept-Language")

    page = await do(make_browser(), publish)
    assert page.headers["Cache-Control"] == "no-store"
    assert page.headers["Vary"] == "Accept-Language, Cookie"


async def test_an_error_page_of_a_handler_that_read_its_session_varies_by_cookie(
    make_browser: MakeBrowser,
) -> None:
    def fail(handler: Any) -> None:
        handler.session.get("name")
        handler.send_error(404)

    assert (await do(make_browser(), fail)).headers["Vary"] == "Cookie"
