"""pycket's second way, in a handler without the mixins: works, or raises with the reason."""

from __future__ import annotations

from typing import Any

import pytest
from tornado.web import Finish, HTTPError

from {{cookiecutter.project_slug}}.sessions import NotificationManager, SessionManager, Store

from ..conftest import MakeBrowser
from .conftest import Routes
from .script import ROUTES, do, do_plainly, show

pytestmark = pytest.mark.gen_test


@pytest.fixture
def handlers() -> Routes:
    return ROUTES


async def test_a_manager_outside_of_a_block_raises_and_says_what_to_write(
    make_browser: MakeBrowser,
) -> None:
    def forget(handler: Any) -> None:
        session = SessionManager(handler)
        for use in (
            lambda: session.get("name"),
            lambda: session.set("name", 1),
            lambda: len(session),
        ):
            with pytest.raises(RuntimeError, match=r"async with SessionManager\(self\)"):
                use()

    assert (await do_plainly(make_browser(), forget)).status == 200


async def test_a_block_loads_saves_and_sets_the_cookie(make_browser: MakeBrowser) -> None:
    browser = make_browser()

    async def count(handler: Any) -> object:
        async with SessionManager(handler) as session:
            session["visits"] = session.get("visits", 0) + 1
            return session["visits"]

    page = await do_plainly(browser, count)
    assert page.headers["Cache-Control"] == "no-store"
    assert (await do_plainly(browser, count)).text == '{"result": 2}'


async def test_a_redirect_inside_of_a_block_that_stored_something_raises(
    make_browser: MakeBrowser, caplog: pytest.LogCaptureFixture
) -> None:
    async def redirect(handler: Any) -> None:
        async with SessionManager(handler) as session:
            session["name"] = "ada"
            handler.redirect("/elsewhere")

    await do_plainly(make_browser(), redirect)
    assert "redirect() or finish() after the `async with` block" in caplog.text


@pytest.mark.parametrize(("error", "status"), [(HTTPError(403), 403), (Finish(), 200)])
async def test_an_http_error_or_finish_inside_of_a_block_saves(
    make_browser: MakeBrowser, error: Exception, status: int
) -> None:
    browser = make_browser()

    async def refuse(handler: Any) -> None:
        async with SessionManager(handler) as session:
            session["tried"] = True
            raise error

    assert (await do_plainly(browser, refuse)).status == status
    assert (await do(browser, show)).text == '{"result": {"tried": true}}'


async def test_an_exception_inside_of_a_block_saves_nothing_and_puts_messages_back(
    make_browser: MakeBrowser,
) -> None:
    browser = make_browser()
    await do(browser, lambda handler: handler.notifications.add("hello"))

    async def fail(handler: Any) -> None:
        async with NotificationManager(handler) as notifications:
            SessionManager(handler)["half"] = "done"
            assert await notifications.take()
            raise ZeroDivisionError

    assert (await do_plainly(browser, fail)).status == 500

    async def take(handler: Any) -> object:
        return [dict(handler.session), [each.value for each in await handler.notifications.take()]]

    assert (await do(browser, take)).text == '{"result": [{}, ["hello"]]}'


async def test_a_change_after_the_block_raises(make_browser: MakeBrowser) -> None:
    async def late(handler: Any) -> None:
        async with SessionManager(handler) as session:
            session["name"] = "ada"
        with pytest.raises(RuntimeError, match="would be lost"):
            session["late"] = True

    assert (await do_plainly(make_browser(), late)).status == 200


async def test_a_store_that_does_not_answer_is_a_503_without_the_mixins_too(
    make_browser: MakeBrowser, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from {{cookiecutter.project_slug}}.sessions import StoreUnavailable

    async def unavailable(*args: object, **kwargs: object) -> None:
        raise StoreUnavailable("the store", "no answer")

    async def begin(handler: Any) -> None:
        async with SessionManager(handler) as session:
            session["name"] = "ada"

    monkeypatch.setattr(store.sessions, "write", unavailable)
    page = await do_plainly(make_browser(), begin)
    assert (page.status, page.set_cookies) == (503, [])


async def test_a_manager_of_a_handler_with_the_mixins_is_its_session(
    make_browser: MakeBrowser,
) -> None:
    browser = make_browser()

    async def both(handler: Any) -> None:
        handler.session["first"] = 1
        async with SessionManager(handler) as session:
            session["second"] = 2
        handler.session["third"] = 3

    await do(browser, both)
    assert (await do(browser, show)).text == '{"result": {"first": 1, "second": 2, "third": 3}}'
