"""Once the response is given, a handler with the mixins behaves as Tornado documents it.

Each act runs without the mixins too, and must not differ; see acts.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from tornado.web import Application, Finish, HTTPError, RequestHandler

from {{cookiecutter.project_slug}}.sessions import SessionMixin

from .acts import GET, HEAD, POST, Act, Comparison, late
from .conftest import MakeBrowser, Pause, Script, run, value_of

pytestmark = pytest.mark.gen_test

ANSWERS: dict[str, tuple[Act, int]] = {
    "finish": (lambda handler: handler.finish("answered"), 200),
    "redirect": (lambda handler: handler.redirect("/elsewhere"), 302),
    "send_error": (lambda handler: handler.send_error(404), 404),
    "render": (lambda handler: handler.render("page.html"), 200),
    "failed": (lambda handler: handler.send_error(500), 500),
}


@pytest.fixture(params=ANSWERS)
def answer(request: pytest.FixtureRequest, app: Any, tmp_path: Any) -> tuple[Act, int]:
    """A way to give the response, and its status."""
    app.settings["template_path"] = str(tmp_path)
    (tmp_path / "page.html").write_text("a page")
    return ANSWERS[request.param]


def everything_late(handler: Any) -> None:
    late(handler, "write", "late")
    late(handler, "finish", "late")
    late(handler, "finish")
    late(handler, "render", "page.html")
    late(handler, "redirect", "/late")
    late(handler, "send_error", 501)
    late(handler, "set_status", 501)
    late(handler, "set_header", "X-Late", "1")
    late(handler, "add_header", "X-Late", "2")
    late(handler, "set_cookie", "late", "1")
    late(handler, "clear_cookie", "late")
    late(handler, "clear_header", "Content-Type")
    late(handler, "clear")


@pytest.mark.parametrize("when", ["at once", "in a moment", "when it has left"])
async def test_what_comes_after_the_response_raises_or_has_no_effect(
    tornado: Comparison, answer: tuple[Act, int], when: str
) -> None:
    give, expected = answer

    async def does(handler: Any) -> None:
        handler.set_header("X-Early", "1")
        handler.set_cookie("early", "1")
        future = give(handler)
        if when == "in a moment":
            await asyncio.sleep(0)
        elif isinstance(future, asyncio.Future):
            await future
        everything_late(handler)

    for request in (GET, POST, HEAD):
        status, _, ran, headers, cookies, _ = await tornado.same(does=does, **request)
        assert status == expected
        assert "write: RuntimeError: Cannot write() after finish()" in ran
        assert "finish: RuntimeError: finish() called twice" in ran
        assert "X-Late" not in headers
        assert not any("late" in cookie for cookie in cookies)


ERRORS: dict[str, Callable[[], BaseException]] = {
    "bug": ZeroDivisionError,
    "HTTPError 500": lambda: HTTPError(500),
    "HTTPError 404": lambda: HTTPError(404),
    "Finish": lambda: Finish("late"),
    "cancelled": asyncio.CancelledError,
}


@pytest.mark.parametrize("error", ERRORS)
async def test_an_exception_after_the_response_is_logged_and_the_response_stands(
    tornado: Comparison, answer: tuple[Act, int], error: str
) -> None:
    give, expected = answer

    async def at_once(handler: Any) -> None:
        give(handler)
        raise ERRORS[error]()

    async def in_a_moment(handler: Any) -> None:
        give(handler)
        await asyncio.sleep(0)
        raise ERRORS[error]()

    for does in (at_once, in_a_moment):
        for kind, request in (("", GET), ("", POST), ("/overrides", GET)):
            assert (await tornado.same(kind, does=does, **request))[0] == expected


@pytest.mark.parametrize("error", ["bug", "HTTPError 500"])
async def test_what_was_changed_before_the_response_is_kept_if_an_exception_follows(
    make_browser: MakeBrowser, answer: tuple[Act, int], error: str
) -> None:
    give, status = answer

    def does(handler: Any) -> None:
        handler.session["kept"] = True
        give(handler)
        raise ERRORS[error]()

    browser = make_browser()
    assert (await run(browser, does)).status == status
    assert await value_of(browser, "kept") == (True if status < 500 else "absent")


BODIES: dict[str, Act] = {
    "nothing": lambda handler: None,
    "text": lambda handler: handler.write("für"),
    "dictionary": lambda handler: handler.write({"a": 1}),
    "finished dictionary": lambda handler: handler.finish({"a": 1}),
    "refused list": lambda handler: handler.finish([1]),
    "204": lambda handler: handler.set_status(204),
    "204 with a body": lambda handler: (handler.set_status(204), handler.write("x")),
    "204 finished with a body": lambda handler: (handler.set_status(204), handler.finish("x")),
    "204 finished with nothing": lambda handler: (handler.set_status(204), handler.finish("")),
    "304": lambda handler: handler.set_status(304),
    "304 with a body": lambda handler: (handler.set_status(304), handler.write("x")),
    "304 finished with a body": lambda handler: (handler.set_status(304), handler.finish("x")),
    "304 error": lambda handler: handler.send_error(304),
    "status with a reason": lambda handler: handler.set_status(299, "Nearly"),
    "Etag": lambda handler: (handler.set_header("Etag", '"1"'), handler.write("x")),
    "too long for its length": lambda handler: (
        handler.set_header("Content-Length", "1"),
        handler.write("xyz"),
    ),
    "cleared": lambda handler: (handler.write("x"), handler.clear(), handler.write("y")),
    "large": lambda handler: handler.write("x" * 300_000),
}


@pytest.mark.parametrize("body", BODIES)
async def test_a_body_is_sent_or_refused_as_without_the_mixins(
    tornado: Comparison, body: str
) -> None:
    for kind in ("", "/overrides"):
        for request in (GET, POST, HEAD):
            await tornado.same(kind, does=BODIES[body], **request)


async def test_a_body_that_a_204_cannot_have_is_refused_before_anything_is_saved(
    make_browser: MakeBrowser,
) -> None:
    def does(handler: Script) -> None:
        handler.session["seen"] = 1
        handler.set_status(204)
        handler.write("x")

    browser = make_browser()
    assert (await run(browser, does)).status == 500
    assert await value_of(browser, "seen") == "absent"


async def test_an_etag_that_the_client_knows_is_a_304(tornado: Comparison) -> None:
    async def page(handler: Any) -> None:
        handler.write("the same")

    for method in ("GET", "HEAD"):
        status, _, _, headers, *_ = await tornado.same(does=page, method=method)
        assert (status, "Etag" in headers) == (200, True)
        known = {"If-None-Match": headers["Etag"]}
        status, body, _, headers, *_ = await tornado.same(does=page, method=method, headers=known)
        assert (status, body, "Content-Length" in headers) == (304, b"", False)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_a_method_that_is_not_there_is_a_405(tornado: Comparison, method: str) -> None:
    body: dict[str, Any] = {"body": ""} if method in ("PUT", "PATCH") else {}
    assert (await tornado.same("/overrides", method=method, **body))[0] == 405


async def test_two_responses_at_once_are_refused(tornado: Comparison) -> None:
    def twice(handler: Any) -> None:
        handler.finish("first")
        handler.finish("second")

    status, body, *_ = await tornado.same(does=twice)
    assert (status, body) == (200, b"first")


@pytest.mark.parametrize("waits_for", ["finish", "flush"])
async def test_a_handler_that_gives_up_waiting_has_answered_all_the_same(
    make_browser: MakeBrowser, pause: Pause, waits_for: str
) -> None:
    async def does(handler: Script) -> None:
        writes = pause("write sessions")
        handler.session["kept"] = True
        handler.write("answered")

        async def answer() -> None:
            await getattr(handler, waits_for)()

        answers = asyncio.create_task(answer())
        await writes.begun()
        answers.cancel()
        writes.go_on()

    browser = make_browser()
    page = await run(browser, does)
    assert (page.status, page.text, len(page.set_cookies)) == (200, "answered", 1)
    assert await value_of(browser, "kept") is True


async def test_a_response_with_nothing_to_save_has_left_when_finish_returns(
    make_browser: MakeBrowser, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[object] = []
    monkeypatch.setattr(Script, "on_finish", lambda handler: ended.append(handler))
    has_left: list[bool] = []

    def respond(handler: Script) -> None:
        handler.session.get("a")
        handler.finish()
        has_left.append(bool(ended))

    browser = make_browser()
    await run(browser, respond)
    await run(browser, lambda handler: handler.session.set("a", 1))
    ended.clear()
    await run(browser, respond)
    assert has_left == [True, True]


async def test_a_response_that_was_saved_is_waited_for_until_the_client_has_taken_it(
    make_browser: MakeBrowser,
) -> None:
    waits: list[asyncio.Future[None]] = []

    def respond(handler: Script) -> None:
        handler.session["a"] = 1
        waits.append(handler.finish("x" * 32 * 1024 * 1024))  # more than any buffer holds

    Script.does = staticmethod(respond)
    url = urlsplit(make_browser().base_url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")  # so that it was saved, and is on its way
    assert head.startswith(b"HTTP/1.1 200")
    assert not waits[0].done()
    await reader.read()
    async with asyncio.timeout(5):
        await waits[0]
    writer.close()


async def test_a_chunk_that_finish_refuses_leaves_the_session_open(
    make_browser: MakeBrowser,
) -> None:
    browser = make_browser()

    def does(handler: Script) -> None:
        with pytest.raises(TypeError, match="Lists"):
            handler.finish([1])  # type: ignore[arg-type]
        handler.session["seen"] = 1
        handler.finish("answered")

    assert (await run(browser, does)).text == "answered"
    assert await value_of(browser, "seen") == 1


@pytest.mark.parametrize("saves", [True, False])
async def test_a_handler_that_takes_the_connection_saves_before(
    make_browser: MakeBrowser, saves: bool
) -> None:
    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("seen", 1))

    async def does(handler: Script) -> None:
        handler.session["seen"] = 2
        if saves:
            await handler.session.save()
        else:
            with pytest.raises(RuntimeError, match="save"):
                handler.detach()
            handler.session["seen"] = 1
        stream = handler.detach()
        with pytest.raises(RuntimeError, match="would be lost"):
            handler.session["seen"] = 3
        await stream.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nraw")
        stream.close()

    assert (await run(browser, does)).text == "raw"
    assert await value_of(browser, "seen") == (2 if saves else 1)


async def test_an_error_without_a_status_is_a_500(make_browser: MakeBrowser) -> None:
    assert (await run(make_browser(), lambda handler: handler.send_error())).status == 500


class Envelope(RequestHandler):
    """Has a finish() that changes the chunk."""

    def finish(self, chunk: Any = None) -> Any:
        return super().finish({"data": chunk})


class Timing(RequestHandler):
    """Has a finish() that returns nothing, as finish() did before Tornado 5.1."""

    def finish(self, chunk: Any = None) -> Any:
        self.set_header("X-Time", "1")
        super().finish(chunk)


@pytest.mark.parametrize("changes", [True, False], ids=["with a change", "without"])
async def test_a_base_class_that_overrides_finish_gets_the_chunk(
    app: Application, make_browser: MakeBrowser, changes: bool
) -> None:
    class Enveloped(SessionMixin, Envelope):
        def get(self) -> None:
            if changes:
                self.session["seen"] = 1
            self.finish({"a": 1})

    app.add_handlers(".*", [("/enveloped", Enveloped)])
    assert (await make_browser().get("/enveloped")).text == '{"data": {"a": 1}}'


async def test_a_chunk_that_changes_while_the_session_is_saved_leaves_as_it_was(
    app: Application, make_browser: MakeBrowser
) -> None:
    chunk = {"of": "ada"}

    class Enveloped(SessionMixin, Envelope):
        def get(self) -> None:
            self.session["seen"] = 1
            self.finish(chunk)
            chunk["of"] = "bob"

    app.add_handlers(".*", [("/enveloped", Enveloped)])
    assert (await make_browser().get("/enveloped")).text == '{"data": {"of": "ada"}}'


async def test_a_base_class_whose_finish_returns_nothing_is_no_error(
    app: Application, make_browser: MakeBrowser, caplog: pytest.LogCaptureFixture
) -> None:
    class Timed(SessionMixin, Timing):
        def get(self) -> None:
            self.session["seen"] = 1
            self.finish("answered")

    app.add_handlers(".*", [("/timed", Timed)])
    page = await make_browser().get("/timed")
    assert (page.status, page.text, page.headers["X-Time"]) == (200, "answered", "1")
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_change_after_a_finish_that_returns_nothing_raises(
    app: Application, make_browser: MakeBrowser
) -> None:
    handlers: list[Any] = []

    class Timed(SessionMixin, Timing):
        def get(self) -> None:
            handlers.append(self)
            self.session["seen"] = 1

    app.add_handlers(".*", [("/timed", Timed)])
    await make_browser().get("/timed")
    with pytest.raises(RuntimeError, match="the response has been given"):
        handlers[0].session["late"] = 1
