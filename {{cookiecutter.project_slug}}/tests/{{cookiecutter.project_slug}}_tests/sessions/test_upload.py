"""A streamed body that is refused half way: no more of it is received, and the method never runs.

As in test_response.py, each act runs without the mixins too, and must not differ; see acts.py.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, ClassVar

import pytest
from tornado.httpclient import HTTPClientError
from tornado.iostream import StreamClosedError
from tornado.web import Application, RequestHandler, stream_request_body

from {{cookiecutter.project_slug}}.sessions import (
    NotificationMixin,
    SessionMixin,
    Store,
    StoreUnavailable,
)

from .acts import ROUTES, Act, Comparison
from .conftest import (
    Browser,
    Clock,
    MakeBrowser,
    Page,
    Routes,
    Script,
    messages_of,
    run,
    send,
    value_of,
)

pytestmark = pytest.mark.gen_test

PARTS: dict[str, int] = {"the first of several parts": 300_000, "the last part": 10}
"""Sizes of bodies, in bytes. Tornado hands over 64 KiB at a time."""


def send_error(handler: Any) -> None:
    handler.send_error(413)


async def send_error_later(handler: Any) -> None:
    await asyncio.sleep(0)
    handler.send_error(413)


def redirect(handler: Any) -> None:
    handler.redirect("/too-large")


def finish(handler: Any) -> None:
    handler.set_status(403)
    handler.finish("refused")


async def finish_and_wait(handler: Any) -> None:
    handler.set_status(403)
    await handler.finish("refused")


def redirect_and_fail(handler: Any) -> None:
    handler.redirect("/too-large")
    raise ZeroDivisionError


REFUSALS: dict[Act, int] = {
    send_error: 413,
    send_error_later: 413,
    redirect: 302,
    finish: 403,
    finish_and_wait: 403,
}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("refuses", REFUSALS)
async def test_a_body_that_is_refused_ends_as_without_the_mixins(
    tornado: Comparison, refuses: Act, part: str
) -> None:
    large: dict[str, Any] = {"method": "POST", "body": b"x" * PARTS[part]}
    status, _, ran, *_ = await tornado.same("/upload", receives=refuses, **large)
    assert (status, ran) == (REFUSALS[refuses], ["data_received", "on_finish"])


async def test_an_exception_after_a_body_was_refused_leaves_the_response(
    tornado: Comparison,
) -> None:
    large: dict[str, Any] = {"method": "POST", "body": b"x" * 10}
    status, *_ = await tornado.same("/upload", receives=redirect_and_fail, **large)
    assert status == 302


@stream_request_body
class Upload(SessionMixin, NotificationMixin, RequestHandler):
    """Refuses what it receives, and notes what runs. It changes the session if asked to."""

    ran: list[str]

    async def prepare(self) -> None:
        Upload.ran = []
        await super().prepare()
        if self.get_query_argument("changes", ""):
            self.session["name"] = "grace"

    def data_received(self, chunk: bytes) -> None:
        self.ran.append("data_received")
        self.send_error(413)

    def post(self) -> None:
        self.ran.append("post")


@pytest.fixture
def handlers() -> Routes:
    return [("/", Script), *ROUTES, ("/refused", Upload)]


async def upload(browser: Browser, part: str, query: str = "") -> Page:
    return await browser.post(f"/refused{query}", follow=False, file="x" * PARTS[part])


@pytest.mark.parametrize("part", PARTS)
async def test_a_body_is_refused_while_the_use_of_the_session_is_noted(
    make_browser: MakeBrowser, clock: Clock, part: str
) -> None:
    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("name", "ada"))
    clock.advance(61)
    page = await upload(browser, part)
    assert (page.status, Upload.ran) == (413, ["data_received"])
    used: list[float] = []
    await run(browser, lambda handler: used.append(handler.session.last_used.timestamp()))
    assert abs(used[0] - clock()) < 5


@pytest.mark.parametrize("part", PARTS)
async def test_a_body_that_is_refused_while_the_store_is_down_is_a_503(
    store: Store, make_browser: MakeBrowser, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("name", "ada"))

    async def unavailable(*args: object, **kwargs: object) -> None:
        raise StoreUnavailable("the store", "no answer")

    with monkeypatch.context() as patch:
        patch.setattr(store.sessions, "write", unavailable)
        page = await upload(browser, part, "?changes=1")
    assert (page.status, Upload.ran) == (503, ["data_received"])
    assert await value_of(browser, "name") == "ada"


@stream_request_body
class Taking(SessionMixin, NotificationMixin, RequestHandler):
    """Takes messages before the body arrives."""

    took: ClassVar[asyncio.Event]
    fails: ClassVar[bool]

    async def prepare(self) -> None:
        await super().prepare()
        if await self.notifications.take():
            self.took.set()

    def data_received(self, chunk: bytes) -> None:
        if self.fails:
            raise ValueError("not what it should be")

    def post(self) -> None: ...


@pytest.mark.parametrize("fails", [False, True], ids=["the client leaves", "data_received raises"])
async def test_messages_that_were_taken_before_a_body_breaks_off_are_put_back(
    app: Application, make_browser: MakeBrowser, fails: bool
) -> None:
    app.add_handlers(".*", [("/taking", Taking)])
    Taking.took, Taking.fails = asyncio.Event(), fails
    browser = make_browser()
    await run(browser, lambda handler: handler.notifications.add("once"))
    head = "POST /taking HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n"
    async with asyncio.timeout(5):
        writer = await send(browser, head)
        await Taking.took.wait()
        if fails:
            writer.write(b"some of it")
        else:
            writer.transport.abort()
        while not (found := await messages_of(browser)):
            await asyncio.sleep(0.01)
    assert found == ["once"]
    writer.transport.abort()


@stream_request_body
class Greeting(SessionMixin, RequestHandler):
    """Says hello before the body arrives, which it cannot read."""

    async def prepare(self) -> None:
        await super().prepare()
        self.session["upload"] = "begun"
        self.write("hello")
        self.flush()

    def data_received(self, chunk: bytes) -> None:
        raise ValueError("not what it should be")

    def post(self) -> None:
        self.session["upload"] = "done"


async def test_a_body_that_cannot_be_read_ends_the_request_whatever_was_sent_before(
    app: Application, make_browser: MakeBrowser
) -> None:
    app.add_handlers(".*", [("/greeting", Greeting)])
    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("upload", "none"))
    with contextlib.suppress(StreamClosedError, HTTPClientError):
        await browser.post("/greeting", text="x")
    async with asyncio.timeout(5):
        while (upload := await value_of(browser, "upload")) == "none":
            await asyncio.sleep(0.01)  # flush() is still at it
    assert upload == "begun"
