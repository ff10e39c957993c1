"""Where else Tornado runs a handler's code: hooks, logs, templates, files, and handlers of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tornado.web import (
    Application,
    ErrorHandler,
    HTTPError,
    RequestHandler,
    StaticFileHandler,
    UIModule,
    authenticated,
)
from tornado.websocket import WebSocketHandler

from {{cookiecutter.project_slug}}.sessions import (
    NotificationMixin,
    SessionManager,
    SessionMixin,
    Store,
    StoreUnavailable,
)

from .acts import change, nothing
from .conftest import (
    MakeBrowser,
    Pause,
    Script,
    abandon,
    leave_during,
    messages_of,
    run,
    send,
    value_of,
)

pytestmark = pytest.mark.gen_test

ASKS = "{" + "{ locale.code }} {" + "{ current_user }}"
GREETS = "{" + "% module Greeting() %}"
"""Tornado's templates, in two parts each, because the answers of a new project use the same marks."""


class Hooks(Script):
    """Reads the session in each hook, and fails in the way that the test asks for in the query."""

    seen: ClassVar[list[str]] = []

    def _read(self, hook: str) -> None:
        assert self.session.get("seen") in (None, 1)
        assert [name for name in self.session if name != "seen"] == []
        assert self.session.alias and self.session.owner is None
        self.seen.append(hook)

    async def prepare(self) -> None:
        if self.get_query_argument("early", ""):
            raise HTTPError(int(self.get_query_argument("early")))
        await super().prepare()

    def get_current_user(self) -> str | None:
        self._read("get_current_user")
        return None

    def get_user_locale(self) -> None:
        self._read("get_user_locale")

    async def get(self) -> None:
        assert self.locale and self.current_user is None
        if self.get_query_argument("late", ""):
            raise HTTPError(int(self.get_query_argument("late")))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        self._read("write_error")
        self.render("page.html")  # asks for the user and the locale

    def log_exception(self, *args: Any) -> None:
        self._read("log_exception")

    def on_finish(self) -> None:
        self._read("on_finish")


@pytest.fixture
def hooks(app: Application, tmp_path: Path) -> list[str]:
    """Which hooks have read the session."""
    app.add_handlers(".*", [("/hooks", Hooks)])
    (tmp_path / "page.html").write_text(ASKS)
    app.settings["template_path"] = str(tmp_path)
    app.settings["log_function"] = lambda handler: (
        handler._read("log_function") if isinstance(handler, Hooks) else None
    )
    Hooks.seen.clear()
    return Hooks.seen


@pytest.mark.parametrize("visitor", ["known", "new"])
@pytest.mark.parametrize("when", ["", "?late=404", "?late=500", "?early=403", "?early=500"])
async def test_every_hook_reads_the_session_or_finds_it_empty(
    hooks: list[str],
    make_browser: MakeBrowser,
    caplog: pytest.LogCaptureFixture,
    visitor: str,
    when: str,
) -> None:
    browser = make_browser()
    if visitor == "known":
        await run(browser, change)
        hooks.clear()
    page = await browser.get("/hooks" + when)
    assert page.status == int(when[-3:] or 200)
    expected = {"get_current_user", "get_user_locale", "log_function", "on_finish"}
    if when:
        expected |= {"log_exception", "write_error"}
    assert sorted(hooks) == sorted(expected)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


class GreetsInErrors(SessionMixin, RequestHandler):
    def write_error(self, status_code: int, **kwargs: Any) -> None:
        self.finish(f"{status_code}, {self.session.get('name', 'nobody')}")


async def test_a_fault_of_the_settings_is_a_500_though_the_error_page_reads_the_session(
    app: Application, make_browser: MakeBrowser, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = Application([("/wrong", GreetsInErrors)], pycket={"engine": "memory"})
    app.add_handlers(".*", [("/wrong", wrong)])
    assert (await make_browser().get("/wrong")).status == 500
    assert "cookie_secret" in caplog.text
    assert "AttributeError" not in caplog.text


class Members(SessionMixin, RequestHandler):
    def get_current_user(self) -> Any:
        return self.session.get("user_id")

    @authenticated
    async def get(self) -> None:
        self.write(f"hello {self.current_user}")

    post = get


async def test_authenticated_goes_by_the_session(
    app: Application, make_browser: MakeBrowser
) -> None:
    app.settings["login_url"] = "/login"
    app.add_handlers(".*", [("/members", Members)])
    browser = make_browser()
    page = await browser.get("/members", follow=False)
    assert (page.status, page.location) == (302, "/login?next=%2Fmembers")
    assert (await browser.post("/members")).status == 403
    await run(browser, lambda handler: handler.session.set("user_id", "ada"))
    assert (await browser.get("/members")).text == "hello ada"


async def test_a_change_in_on_finish_raises_and_names_what_to_do(
    app: Application, make_browser: MakeBrowser, caplog: pytest.LogCaptureFixture
) -> None:
    class Late(Script):
        def on_finish(self) -> None:
            self.session["late"] = True

    app.add_handlers(".*", [("/late", Late)])
    browser = make_browser()
    for does in (lambda handler: None, change):
        caplog.clear()
        Script.does = staticmethod(does)
        await browser.get("/late")
        await asyncio.sleep(0)
        assert "the response has been given" in caplog.text
        assert await value_of(browser, "late") == "absent"


class Files(SessionMixin, NotificationMixin, StaticFileHandler):
    async def prepare(self) -> None:
        await super().prepare()
        self.session["files"] = self.session.get("files", 0) + 1


class Gone(SessionMixin, ErrorHandler):  # type: ignore[misc] # its own prepare is no coroutine
    def write_error(self, status_code: int, **kwargs: Any) -> None:
        self.finish(f"{status_code} {dict(self.session)}")


async def test_a_static_file_handler_saves_and_serves_whole_parts_and_nothing(
    app: Application, make_browser: MakeBrowser, tmp_path: Path
) -> None:
    large = "0123456789" * 30_000  # more than one flush
    (tmp_path / "large.txt").write_text(large)
    app.add_handlers(".*", [("/files/(.*)", Files, {"path": str(tmp_path)})])
    browser = make_browser()
    whole = await browser.get("/files/large.txt")
    assert (whole.status, whole.text, len(whole.set_cookies)) == (200, large, 1)
    part = await browser.get("/files/large.txt", headers={"Range": "bytes=3-12"})
    assert (part.status, part.text) == (206, "3456789012")
    known = await browser.get("/files/large.txt", headers={"If-None-Match": whole.headers["Etag"]})
    assert (known.status, known.text) == (304, "")
    assert (await browser.get("/files/none.txt")).status == 404
    assert await value_of(browser, "files") == 4


async def test_an_error_handler_finds_an_empty_session(
    app: Application, make_browser: MakeBrowser
) -> None:
    app.add_handlers(".*", [("/gone", Gone, {"status_code": 410})])
    browser = make_browser()
    await run(browser, change)
    page = await browser.get("/gone")
    assert (page.status, page.text, page.set_cookies) == (410, "410 {}", [])
    assert await value_of(browser, "seen") == 1


class Greeting(UIModule):
    def render(self) -> str:
        session = self.handler.session  # type: ignore[attr-defined]
        session["greeted"] = True
        return f"Hello {session['name']}"


async def test_a_ui_module_reads_and_changes_the_session(
    app: Application, make_browser: MakeBrowser, tmp_path: Path
) -> None:
    app.ui_modules["Greeting"] = Greeting
    (tmp_path / "page.html").write_text(GREETS)
    app.settings["template_path"] = str(tmp_path)
    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("name", "ada"))
    page = await run(browser, lambda handler: handler.render("page.html"))
    assert page.text == "Hello ada"
    assert await value_of(browser, "greeted") is True


async def test_a_client_that_goes_while_its_session_is_saved_leaves_it_saved(
    store: Store,
    make_browser: MakeBrowser,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    browser = make_browser()
    await run(browser, change)
    saving, gone, ran = asyncio.Event(), asyncio.Event(), []
    write = store.sessions.write

    async def slow(*args: Any, **kwargs: Any) -> Any:
        saving.set()
        await gone.wait()
        return await write(*args, **kwargs)

    finished = asyncio.Event()

    def on_finish(handler: Script) -> None:
        ran.append("on_finish")
        finished.set()

    def on_connection_close(handler: Script) -> None:
        super(Script, handler).on_connection_close()
        ran.append("on_connection_close")
        gone.set()

    def does(handler: Script) -> None:
        change(handler)
        handler.write("x" * 100_000)

    with monkeypatch.context() as patch:
        patch.setattr(store.sessions, "write", slow)
        patch.setattr(Script, "on_finish", on_finish)
        patch.setattr(Script, "on_connection_close", on_connection_close)
        Script.does = staticmethod(does)
        await abandon(browser, saving, finished)
    assert await value_of(browser, "seen") == 2
    assert ran == ["on_connection_close", "on_finish"]
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_handler_goes_on_with_its_session_though_the_client_has_gone(
    make_browser: MakeBrowser, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("seen", 1))
    await leave_during(
        browser,
        monkeypatch,
        lambda handler: handler.session.set("seen", 2),
        lambda handler: handler.session.set("late", True),
    )
    assert (await value_of(browser, "seen"), await value_of(browser, "late")) == (2, True)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("when", ["before the client leaves", "after it has left"])
async def test_a_page_whose_client_leaves_before_it_is_sent_puts_back_what_it_took(
    make_browser: MakeBrowser, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    browser = make_browser()
    await run(browser, lambda handler: handler.notifications.add("once"))
    shown: list[str] = []

    async def show(handler: Script) -> None:
        shown.extend(message.value for message in await handler.notifications.take())

    acts = (show, nothing) if when == "before the client leaves" else (nothing, show)
    await leave_during(browser, monkeypatch, *acts)
    assert shown == ["once"]
    assert await messages_of(browser) == ["once"]


@pytest.mark.parametrize("how", ["HEAD", "HEAD of a stream", "304"])
async def test_a_response_without_a_body_puts_back_what_it_took(
    make_browser: MakeBrowser, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    browser = make_browser()
    await run(browser, lambda handler: handler.notifications.add("once"))
    taken: list[Any] = []
    finished = asyncio.Event()

    async def take(handler: Script) -> None:
        taken.extend(await handler.notifications.take())
        if how == "304":
            handler.set_status(304)
        else:
            handler.write("a page with the message")
        if how == "HEAD of a stream":
            await handler.flush()
            await gone.wait()

    gone = asyncio.Event()
    monkeypatch.setattr(Script, "on_finish", lambda handler: finished.set())
    Script.does = staticmethod(take)
    if how == "HEAD":
        assert (await browser.head("/")).status == 200
    elif how == "304":
        assert (await browser.get("/")).status == 304
    else:  # whose client goes when it has the headers
        writer = await send(browser, "HEAD / HTTP/1.1\r\nHost: localhost\r\n")
        async with asyncio.timeout(5):
            while not taken:
                await asyncio.sleep(0.01)
            writer.transport.abort()
            await asyncio.sleep(0.05)
            gone.set()
            await finished.wait()
    assert len(taken) == 1
    monkeypatch.undo()
    assert await messages_of(browser) == ["once"]


async def test_a_page_with_messages_is_sent_though_the_client_has_one_like_it(
    make_browser: MakeBrowser,
) -> None:
    browser = make_browser()

    async def show(handler: Script) -> None:
        handler.write(" ".join(each.value for each in await handler.notifications.take()))

    seen, tag = [], ""
    for waits in ("saved", "saved", None, None):
        if waits is not None:
            await run(browser, lambda handler: handler.notifications.add("saved"))
        page = await run(browser, show, **{"If-None-Match": tag})
        seen.append((page.status, page.text))
        tag = page.headers["Etag"]
    assert seen == [(200, "saved"), (200, "saved"), (200, ""), (304, "")]


async def test_an_error_page_may_use_the_session_though_finish_has_failed(
    make_browser: MakeBrowser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(handler: Script) -> None:
        raise ZeroDivisionError

    def write_error(handler: Script, status_code: int, **kwargs: Any) -> None:
        handler.session["errors"] = 1
        handler.notifications.add("sorry")
        handler.finish(f"{status_code}: sorry")

    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("seen", 1))
    with monkeypatch.context() as patch:
        patch.setattr(Script, "compute_etag", fail)
        patch.setattr(Script, "write_error", write_error)
        page = await run(browser, nothing)
    assert (page.status, page.text) == (500, "500: sorry")
    assert (await value_of(browser, "errors"), await messages_of(browser)) == ("absent", [])


async def test_a_client_that_leaves_while_its_session_is_loaded_is_told_so(
    make_browser: MakeBrowser, monkeypatch: pytest.MonkeyPatch, pause: Pause
) -> None:
    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("seen", 1))
    said: list[str] = []
    gone, finished = asyncio.Event(), asyncio.Event()

    def look(handler: Script) -> None:
        with pytest.raises(RuntimeError) as raised:
            handler.session.get("seen")
        said.append(str(raised.value))
        gone.set()

    loaded = pause("load sessions")
    monkeypatch.setattr(Script, "on_connection_close", look)
    monkeypatch.setattr(Script, "on_finish", lambda handler: finished.set())
    Script.does = staticmethod(nothing)
    writer = await send(browser)
    async with asyncio.timeout(5):
        await loaded.begun()
        writer.transport.abort()
        await gone.wait()
        loaded.go_on()
        await finished.wait()
    assert said == ["the session is not loaded yet: the store has not answered"]


async def test_a_handler_has_one_session_however_often_it_is_asked_for(
    make_browser: MakeBrowser,
) -> None:
    def does(handler: Script) -> None:
        assert handler.session is handler.session is SessionManager(handler)

    assert (await run(make_browser(), does)).status == 200


@pytest.mark.parametrize("value", [5, None, object], ids=str)
async def test_a_handlers_own_attributes_are_its_own(
    make_browser: MakeBrowser, value: object
) -> None:
    """Whatever they are called: a handler's begin of the request, or its session of a database."""
    names = ["failed", "held", "request_session", "session", "start", "waiting", "hold", "release"]

    def does(handler: Script) -> None:
        for name in names:
            setattr(handler, f"_{name}", value)
        handler.session["seen"] = 1
        assert [getattr(handler, f"_{name}") for name in names] == [value] * len(names)

    browser = make_browser()
    assert (await run(browser, does)).status == 200
    assert await value_of(browser, "seen") == 1
    assert not {f"_{name}" for name in names} & set(dir(Script))


class Base(SessionMixin, NotificationMixin, RequestHandler):
    """The base class that an application's handlers share."""


@pytest.mark.parametrize("handler", [WebSocketHandler, ErrorHandler, RequestHandler])
async def test_a_handler_of_tornado_that_would_leave_the_mixins_out_comes_after_them(
    handler: type[RequestHandler],
) -> None:
    with pytest.raises(TypeError, match=rf"class Wrong\((Base|SessionMixin), {handler.__name__}\)"):
        type("Wrong", (handler, SessionMixin if handler is RequestHandler else Base), {})
    type("Right", (Base, handler), {})
    type("Files", (StaticFileHandler, Base), {})


class Degraded(Script):
    """Answers although the store does not."""

    async def prepare(self) -> None:
        with contextlib.suppress(StoreUnavailable):
            await super().prepare()

    async def get(self) -> None:
        try:
            self.write(self.session["seen"])
        except RuntimeError as error:
            self.write(str(error))


async def test_a_page_may_go_on_without_the_store_and_is_told_what_is_missing(
    app: Application, make_browser: MakeBrowser, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.add_handlers(".*", [("/degraded", Degraded)])
    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("seen", 1))

    async def fail(*args: object, **kwargs: object) -> None:
        raise StoreUnavailable("somewhere", "no answer")

    monkeypatch.setattr(store.sessions, "load", fail)
    page = await browser.get("/degraded")
    assert page.status == 200
    assert page.text == "the session is not loaded: session store somewhere: no answer"
