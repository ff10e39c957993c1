"""Nothing is lost in silence: what cannot be kept raises, and says what to write instead."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from tornado.web import Application, Finish, HTTPError, RequestHandler

from {{cookiecutter.project_slug}}.sessions import (
    NotificationManager,
    SessionManager,
    SessionMixin,
)

from .acts import Act, act, change
from .conftest import MakeBrowser, Plain, Script, plain, run, value_of

pytestmark = pytest.mark.gen_test

# --- a manager without its block

USES: dict[str, Act] = {
    "[]": lambda session: session["name"],
    "get": lambda session: session.get("name"),
    "[] =": lambda session: session.set("name", 1),
    "update": lambda session: session.update(name=1),
    "in": lambda session: "name" in session,
    "list": list,
    "dict": dict,
    "len": len,
    "bool": bool,
    "==": lambda session: session == {},
    "pop": lambda session: session.pop("name", None),
    "popitem": lambda session: session.popitem(),
    "setdefault": lambda session: session.setdefault("name", 1),
    "delete": lambda session: session.delete("name"),
    "clear": lambda session: session.clear(),
    "regenerate": lambda session: session.regenerate(),
    "destroy": lambda session: session.destroy(),
    "expire": lambda session: session.expire(60),
    "remember": lambda session: session.remember(1),
    "owner": lambda session: session.owner,
    "owner =": lambda session: setattr(session, "owner", 1),
    "handle": lambda session: session.handle,
    "created": lambda session: session.created,
    "last_used": lambda session: session.last_used,
    "new": lambda session: session.new,
    "save": lambda session: session.save(),
    "reload": lambda session: session.reload(),
    "modify": lambda session: session.modify("name", str, 1),
}
NOTIFICATION_USES: dict[str, Act] = {
    "set": lambda notifications: notifications.set("a", 1),
    "add": lambda notifications: notifications.add("a"),
    "delete": lambda notifications: notifications.delete("a"),
    "get": lambda notifications: notifications.get("a"),
    "take": lambda notifications: notifications.take(),
    "peek": lambda notifications: notifications.peek(),
}


async def not_refused(words: str, uses: dict[str, Act], argument: object) -> list[str]:
    """Return which uses raise no RuntimeError that says these words."""
    found = []
    for name, use in uses.items():
        try:
            await act(use, argument)
        except RuntimeError as error:
            if words in str(error):
                continue
        found.append(name)
    return found


async def test_a_manager_without_its_block_is_refused_whatever_is_done_with_it(
    app: Application, make_browser: MakeBrowser
) -> None:
    async def does(handler: Plain) -> None:
        words = "async with SessionManager(self)"
        found = await not_refused(words, USES, SessionManager(handler))
        found += await not_refused(words, NOTIFICATION_USES, NotificationManager(handler))
        handler.write({"not refused": found})

    assert (await plain(make_browser(), app, does)).text == '{"not refused": []}'


class Forgetful(SessionMixin, RequestHandler):
    async def prepare(self) -> None:
        pass

    async def get(self) -> None:
        words = "await super().prepare()"
        try:
            found = [repr(self.session)]
        except RuntimeError as error:
            found = [] if words in str(error) else [str(error)]
        self.write({"not refused": found + await not_refused(words, USES, SessionManager(self))})


async def test_a_prepare_that_forgets_its_super_is_named(
    app: Application, make_browser: MakeBrowser
) -> None:
    app.add_handlers(".*", [("/forgetful", Forgetful)])
    assert (await make_browser().get("/forgetful")).text == '{"not refused": []}'


async def test_a_check_xsrf_cookie_that_reads_the_session_is_named(
    app: Application, make_browser: MakeBrowser
) -> None:
    class Early(Script):
        def check_xsrf_cookie(self) -> None:
            with pytest.raises(RuntimeError, match=r"check_xsrf_cookie\(\)"):
                self.session.get("token")

    app.settings["xsrf_cookies"] = True
    app.add_handlers(".*", [("/early", Early)])
    Script.does = staticmethod(lambda handler: handler.write("checked"))
    assert (await make_browser().post("/early")).text == "checked"


# --- a change after the response


CHANGES: dict[str, Act] = {
    "[] =": lambda handler: handler.session.update(late=True),
    "pop": lambda handler: handler.session.pop("kept"),
    "clear": lambda handler: handler.session.clear(),
    "regenerate": lambda handler: handler.session.regenerate(),
    "destroy": lambda handler: handler.session.destroy(),
    "remember": lambda handler: handler.session.remember(1),
    "owner": lambda handler: setattr(handler.session, "owner", 1),
    "add": lambda handler: handler.notifications.add("late"),
    "set": lambda handler: handler.notifications.set("late", 1),
    "delete": lambda handler: handler.notifications.delete("late"),
}


@pytest.mark.parametrize("early", [True, False], ids=["with a change before", "without"])
async def test_a_change_after_the_response_raises(make_browser: MakeBrowser, early: bool) -> None:
    ended = asyncio.Event()
    found: list[str] = []

    async def does(handler: Script) -> None:
        if early:
            handler.session["early"] = True
        handler.redirect("/")
        for _ in ("at once", "when it has left"):
            found.extend(await not_refused("the response has been given", CHANGES, handler))
            await asyncio.sleep(0.01)
        ended.set()

    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("kept", 1))
    assert (await run(browser, does)).status == 302
    async with asyncio.timeout(5):
        await ended.wait()
    assert found == []
    assert await value_of(browser, "late") == "absent"
    assert await value_of(browser, "kept") == 1


async def test_a_change_after_an_on_finish_that_has_failed_raises(
    app: Application, make_browser: MakeBrowser
) -> None:
    handlers: list[Script] = []

    class Fails(Script):
        def on_finish(self) -> None:
            handlers.append(self)
            raise ZeroDivisionError

    app.add_handlers(".*", [("/fails", Fails)])
    Script.does = staticmethod(change)
    assert (await make_browser().get("/fails")).status == 200
    with pytest.raises(RuntimeError, match="the response has been given"):
        handlers[0].session["late"] = True


async def test_a_change_inside_of_a_value_after_the_response_does_not_reach_the_store(
    make_browser: MakeBrowser,
) -> None:
    """The response waits for what the session held when it was given."""

    def does(handler: Script) -> None:
        cart = handler.session["cart"]
        handler.session["seen"] = True
        handler.finish()
        cart.append("late")
        handler.session["cart"].append("later")

    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("cart", ["early"]))
    await run(browser, does)
    assert await value_of(browser, "seen") is True
    assert await value_of(browser, "cart") == ["early"]


async def test_a_change_inside_of_a_value_is_seen_after_another_name_was_modified(
    make_browser: MakeBrowser,
) -> None:
    async def does(handler: Script) -> None:
        cart = handler.session["cart"]
        await handler.session.modify("count", lambda count: count + 1, default=0)
        cart.append("late")

    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("cart", ["early"]))
    assert (await run(browser, does)).status == 200
    assert await value_of(browser, "cart") == ["early", "late"]


def fail_with(error: Exception) -> Act:
    def fail(handler: Script) -> None:
        raise error

    return fail


@pytest.mark.parametrize("visit", ["first", "later"])
@pytest.mark.parametrize(
    "answer",
    [
        fail_with(HTTPError(404)),
        fail_with(Finish("done")),
        lambda handler: handler.redirect("/next"),
        lambda handler: handler.send_error(403),
        lambda handler: handler.finish("done"),
    ],
    ids=["404", "Finish", "redirect", "send_error", "finish"],
)
async def test_a_value_that_cannot_be_kept_is_a_500_however_the_handler_answers(
    make_browser: MakeBrowser, visit: str, answer: Act
) -> None:
    async def does(handler: Script) -> None:
        handler.session["cart"] = []
        handler.session["cart"].append(object())
        answer(handler)

    browser = make_browser()
    if visit == "later":
        await run(browser, lambda handler: handler.session.set("a", 1))
    assert (await run(browser, does)).status == 500
    assert await value_of(browser, "cart") == "absent"


def put_an_object_into_a_list(handler: Script) -> None:
    handler.session["cart"] = []
    handler.session["cart"].append(object())


@pytest.mark.parametrize(
    "error",
    [HTTPError(404), HTTPError(404, "no such article"), Finish()],
    ids=["404", "404 with a message", "Finish"],
)
async def test_the_log_names_the_value_that_cannot_be_kept_whatever_the_handler_raises(
    make_browser: MakeBrowser, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def does(handler: Script) -> None:
        put_an_object_into_a_list(handler)
        raise error

    assert (await run(make_browser(), does)).status == 500
    assert "session['cart'][0]" in caplog.text


async def test_an_error_page_gets_the_error_of_the_value_that_cannot_be_kept(
    app: Application, make_browser: MakeBrowser
) -> None:
    class OwnErrorPage(Script):
        def write_error(self, status_code: int, **kwargs: Any) -> None:
            self.finish(f"{status_code} {type(kwargs['exc_info'][1]).__name__}")

    def does(handler: Script) -> None:
        put_an_object_into_a_list(handler)
        raise HTTPError(404)

    app.add_handlers(".*", [("/own-error-page", OwnErrorPage)])
    Script.does = staticmethod(does)
    assert (await make_browser().get("/own-error-page")).text == "500 TypeError"


async def test_a_value_that_an_error_page_stores_and_that_cannot_be_kept_is_a_500(
    app: Application, make_browser: MakeBrowser
) -> None:
    class Stores(Script):
        def write_error(self, status_code: int, **kwargs: Any) -> None:
            put_an_object_into_a_list(self)
            self.finish("sorry")

    app.add_handlers(".*", [("/stores", Stores)])
    Script.does = staticmethod(fail_with(HTTPError(404)))
    browser = make_browser()
    assert (await browser.get("/stores")).status == 500
    assert await value_of(browser, "cart") == "absent"


async def test_a_value_that_cannot_be_kept_cuts_a_stream_short(make_browser: MakeBrowser) -> None:
    async def does(handler: Script) -> None:
        handler.session["a"] = 2
        handler.write("x")
        handler.flush()
        handler.session["cart"].append(object())

    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("cart", []))
    page = await run(browser, does)
    assert (page.status, page.text) == (200, "x")
    assert await value_of(browser, "cart") == []


# --- answering inside of the block

ENDS: dict[str, tuple[Act, int]] = {
    "redirect": (lambda handler: handler.redirect("/next"), 302),
    "finish": (lambda handler: handler.finish("done"), 200),
    "send_error": (lambda handler: handler.send_error(404), 404),
}


@pytest.mark.parametrize("visit", ["first", "later"])
@pytest.mark.parametrize("end", ENDS)
async def test_a_change_is_refused_if_the_block_has_answered(
    app: Application,
    make_browser: MakeBrowser,
    caplog: pytest.LogCaptureFixture,
    visit: str,
    end: str,
) -> None:
    give, status = ENDS[end]

    async def does(handler: Plain) -> None:
        async with SessionManager(handler) as session:
            session["kept"] = True
            give(handler)

    browser = make_browser()
    if visit == "later":
        await run(browser, lambda handler: handler.session.set("a", 1))
    assert (await plain(browser, app, does)).status == status
    async with asyncio.timeout(5):  # it is logged when the response has left
        while "after the `async with` block, or use SessionMixin" not in caplog.text:
            await asyncio.sleep(0.01)
    assert await value_of(browser, "kept") == "absent"


@pytest.mark.parametrize("end", ENDS)
async def test_a_block_that_changes_nothing_may_answer(
    app: Application, make_browser: MakeBrowser, caplog: pytest.LogCaptureFixture, end: str
) -> None:
    give, status = ENDS[end]

    async def does(handler: Plain) -> None:
        async with SessionManager(handler) as session:
            assert session.get("name") is None
            give(handler)

    assert (await plain(make_browser(), app, does)).status == status
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


RAISES: dict[str, tuple[Callable[[], Exception], int, bool]] = {
    "HTTPError 404": (lambda: HTTPError(404), 404, True),
    "HTTPError 500": (lambda: HTTPError(500), 500, False),
    "Finish": (lambda: Finish("done"), 200, True),
    "bug": (ZeroDivisionError, 500, False),
}


@pytest.mark.parametrize("visit", ["first", "later"])
@pytest.mark.parametrize("error", RAISES)
async def test_raising_inside_of_the_block_means_what_it_means_with_the_mixin(
    app: Application, make_browser: MakeBrowser, visit: str, error: str
) -> None:
    make, status, kept = RAISES[error]

    async def does(handler: Plain) -> None:
        async with SessionManager(handler) as session:
            session["kept"] = True
            raise make()

    def with_the_mixin(handler: Script) -> None:
        handler.session["kept"] = True
        raise make()

    for mixin in (False, True):
        browser = make_browser()
        if visit == "later":
            await run(browser, lambda handler: handler.session.set("a", 1))
        page = await (run(browser, with_the_mixin) if mixin else plain(browser, app, does))
        assert (page.status, len(page.set_cookies)) == (status, kept and visit == "first")
        assert await value_of(browser, "kept") == (True if kept else "absent")


class ApiError(Exception):
    """As clients of HTTP interfaces have it: its status is the other server's."""

    def __init__(self, status_code: object) -> None:
        super().__init__(status_code)
        self.status_code = status_code


@pytest.mark.parametrize("status_code", [404, 500, None, "unknown"])
async def test_a_block_that_fails_with_an_error_of_others_saves_nothing(
    app: Application, make_browser: MakeBrowser, status_code: object
) -> None:
    async def does(handler: RequestHandler) -> None:
        async with SessionManager(handler) as session:
            session["kept"] = True
            raise ApiError(status_code)

    for mixin in (False, True):
        browser = make_browser()
        await run(browser, lambda handler: handler.session.set("a", 1))
        page = await (run(browser, does) if mixin else plain(browser, app, does))
        assert page.status == 500
        assert await value_of(browser, "kept") == "absent"


async def test_a_block_that_failed_saves_nothing_even_if_the_handler_goes_on(
    app: Application, make_browser: MakeBrowser
) -> None:
    async def does(handler: RequestHandler) -> None:
        with contextlib.suppress(ZeroDivisionError):
            async with SessionManager(handler) as session:
                session["kept"] = True
                raise ZeroDivisionError
        handler.write("done")

    for mixin in (False, True):
        browser = make_browser()
        await run(browser, lambda handler: handler.session.set("a", 1))
        page = await (run(browser, does) if mixin else plain(browser, app, does))
        assert page.text == "done"
        assert await value_of(browser, "kept") == "absent"


async def test_two_blocks_in_one_handler_are_one_session(
    app: Application, make_browser: MakeBrowser
) -> None:
    async def does(handler: Plain) -> None:
        async with SessionManager(handler) as session:
            session["first"] = 1
        async with SessionManager(handler) as session:
            session["second"] = session["first"] + 1
        async with NotificationManager(handler) as notifications:
            notifications.add("third")
        handler.write("done")

    browser = make_browser()
    page = await plain(browser, app, does)
    assert (page.text, len(page.set_cookies)) == ("done", 1)
    assert (await value_of(browser, "first"), await value_of(browser, "second")) == (1, 2)


async def test_a_change_after_the_block_raises(app: Application, make_browser: MakeBrowser) -> None:
    async def does(handler: Plain) -> None:
        async with SessionManager(handler) as session:
            session["first"] = 1
        with pytest.raises(RuntimeError):
            session["late"] = 2
        assert session["first"] == 1

    assert (await plain(make_browser(), app, does)).status == 200
