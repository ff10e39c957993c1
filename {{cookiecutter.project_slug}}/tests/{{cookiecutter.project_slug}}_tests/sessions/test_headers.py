"""The session's headers are set when the response leaves: nothing that a handler does undoes them."""

from __future__ import annotations

from typing import Any

import pytest
from tornado.web import HTTPError, RequestHandler

from {{cookiecutter.project_slug}}.sessions import (
    NotificationManager,
    SessionManager,
)

from .acts import Act
from .conftest import MakeBrowser, Script, run, value_of

pytestmark = pytest.mark.gen_test

BEGINNINGS: dict[str, Act] = {
    "set": lambda handler: handler.session.set("a", 1),
    "message": lambda handler: handler.notifications.add("hello"),
    "modify": lambda handler: handler.session.modify("a", lambda n: n + 1, 0),
    "save": lambda handler: _save(handler),
}
UNDOINGS: dict[str, tuple[Act, int]] = {
    "nothing": (lambda handler: None, 200),
    "public": (lambda handler: handler.set_header("Cache-Control", "public, max-age=60"), 200),
    "cleared": (lambda handler: handler.clear(), 200),
    "clear_header": (lambda handler: handler.clear_header("Cache-Control"), 200),
    "vary": (lambda handler: handler.set_header("Vary", "Accept-Language"), 200),
    "error": (lambda handler: handler.send_error(404), 404),
    "raised": (lambda handler: _raise(404), 404),
    "finish": (lambda handler: handler.finish("x"), 200),
    "redirect": (lambda handler: handler.redirect("/"), 302),
    "stream": (lambda handler: _stream(handler), 200),
}


async def _save(handler: Script) -> None:
    handler.session["a"] = 1
    await handler.session.save()


def _raise(status: int) -> None:
    raise HTTPError(status)


async def _stream(handler: Script) -> None:
    handler.set_header("Cache-Control", "public")
    await handler.flush()


@pytest.mark.parametrize("beginning", BEGINNINGS)
@pytest.mark.parametrize("undoing", UNDOINGS)
async def test_21_the_response_that_sets_the_id_is_kept_by_no_cache(
    make_browser: MakeBrowser, beginning: str, undoing: str
) -> None:
    undo, status = UNDOINGS[undoing]

    async def does(handler: Script) -> None:
        handler.set_header("Cache-Control", "public, max-age=60")
        result = BEGINNINGS[beginning](handler)
        if result is not None:
            await result  # type: ignore[misc]
        late = undo(handler)
        if late is not None and undoing == "stream":
            await late  # type: ignore[misc]

    page = await run(make_browser(), does)
    assert page.status == status
    assert page.headers.get_list("Cache-Control") == ["no-store"]
    assert [cookie.name for cookie in page.set_cookies] == ["__Host-sid"]
    (vary,) = page.headers.get_list("Vary")
    assert vary == ("Accept-Language, Cookie" if undoing == "vary" else "Cookie")


@pytest.mark.parametrize("status", [404, 500, 503])
async def test_an_error_page_that_depends_on_the_session_says_so(
    make_browser: MakeBrowser, status: int
) -> None:
    def does(handler: Script) -> None:
        assert handler.session.get("a") is None
        raise HTTPError(status)

    page = await run(make_browser(), does)
    assert (page.status, page.headers["Vary"]) == (status, "Cookie")


@pytest.mark.parametrize(
    "asks",
    [
        lambda handler: SessionManager(handler).get("a"),
        lambda handler: NotificationManager(handler).take(),
    ],
    ids=["SessionManager", "NotificationManager"],
)
async def test_a_handler_with_the_mixins_that_asks_for_the_manager_sends_vary(
    make_browser: MakeBrowser, asks: Act
) -> None:
    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("a", 1))
    assert (await run(browser, asks)).headers.get("Vary") == "Cookie"


async def test_a_response_that_does_not_depend_on_the_session_is_left_alone(
    make_browser: MakeBrowser,
) -> None:
    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("a", 1))
    page = await run(browser, lambda handler: handler.set_header("Cache-Control", "public"))
    assert "Vary" not in page.headers
    assert page.headers["Cache-Control"] == "public"


@pytest.mark.parametrize("given", ["Cookie", "accept, COOKIE", "*"])
async def test_a_vary_that_has_it_already_is_left_as_it_is(
    make_browser: MakeBrowser, given: str
) -> None:
    def does(handler: Script) -> None:
        handler.session.get("a")
        handler.set_header("Vary", given)

    assert (await run(make_browser(), does)).headers.get_list("Vary") == [given]


async def test_a_vary_that_names_another_header_gets_it_added(make_browser: MakeBrowser) -> None:
    def does(handler: Script) -> None:
        handler.session.get("a")
        handler.set_header("Vary", "Cookie-Consent")

    page = await run(make_browser(), does)
    assert page.headers.get_list("Vary") == ["Cookie-Consent, Cookie"]


async def test_19_the_cookie_is_cleared_and_not_cached_whatever_the_handler_sets(
    make_browser: MakeBrowser,
) -> None:
    def does(handler: Script) -> None:
        handler.session.destroy()
        handler.set_header("Cache-Control", "public")
        handler.clear()

    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("a", 1))
    page = await run(browser, does)
    assert page.headers["Cache-Control"] == "no-store"
    assert browser.session_cookie is None


async def test_cookies_of_the_handlers_own_are_sent_beside(make_browser: MakeBrowser) -> None:
    def does(handler: Script) -> None:
        handler.set_cookie("theme", "dark")
        handler.session["a"] = 1
        handler.set_cookie("lang", "en")

    page = await run(make_browser(), does)
    assert sorted(cookie.name for cookie in page.set_cookies) == ["__Host-sid", "lang", "theme"]


async def test_a_failed_response_sets_no_cookie(make_browser: MakeBrowser) -> None:
    def does(handler: Script) -> None:
        handler.session["a"] = 1
        handler.set_status(500)

    browser = make_browser()
    page = await run(browser, does)
    assert page.set_cookies == []
    assert await value_of(browser, "a") == "absent"


async def test_headers_are_set_last_without_the_mixins_too(
    app: Any, make_browser: MakeBrowser
) -> None:
    class Plain(RequestHandler):
        async def get(self) -> None:
            async with SessionManager(self) as session:
                session["a"] = 1
            self.clear()
            self.set_header("Cache-Control", "public")
            self.set_header("Vary", "Accept")

    app.add_handlers(".*", [("/plain", Plain)])
    page = await make_browser().get("/plain")
    assert page.headers["Cache-Control"] == "no-store"
    assert page.headers["Vary"] == "Accept, Cookie"
    assert len(page.set_cookies) == 1
