"""A handler with the mixins behaves as Tornado documents it, whatever the session has to save."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse
from tornado.web import Finish, HTTPError, RequestHandler, stream_request_body
from tornado.websocket import WebSocketHandler

from {{cookiecutter.project_slug}}.sessions import NotificationMixin, SessionMixin

from ..conftest import MakeBrowser
from .conftest import Routes

pytestmark = pytest.mark.gen_test

Act = Callable[[Any], object]


class Gatekeeper(SessionMixin, NotificationMixin, RequestHandler):
    """Its `prepare` does what a test has put into `refuses`; the rest notes that it ran."""

    refuses: ClassVar[Act]
    ran: ClassVar[list[str]] = []

    async def prepare(self) -> None:
        await super().prepare()
        result = type(self).refuses(self)
        if isinstance(result, Awaitable):
            await result

    def get(self) -> None:
        self.ran.append("method")
        self.write("the method ran")

    post = get

    def on_finish(self) -> None:
        self.ran.append("on_finish")


@stream_request_body
class Upload(Gatekeeper):
    def data_received(self, chunk: bytes) -> None:
        self.ran.append("data_received")


class Socket(Gatekeeper, WebSocketHandler):
    get = WebSocketHandler.get  # type: ignore[assignment]

    def open(self, *args: str, **kwargs: str) -> None:
        self.ran.append("open")


@pytest.fixture
def handlers() -> Routes:
    return [("/", Gatekeeper), ("/upload", Upload), ("/socket", Socket), ("/answers", Answering)]


def _nothing(handler: Gatekeeper) -> None:
    pass


def _change(handler: Gatekeeper) -> None:
    handler.session["seen"] = handler.session.get("seen", 0) + 1


def _message(handler: Gatekeeper) -> None:
    handler.notifications.add("Please log in")


def _redirect(handler: Gatekeeper) -> None:
    handler.redirect("/login")


def _error(handler: Gatekeeper) -> None:
    handler.send_error(403)


def _finish(handler: Gatekeeper) -> None:
    handler.set_status(202)
    handler.finish("refused")


def _raise(handler: Gatekeeper) -> None:
    raise HTTPError(401)


def _raise_finish(handler: Gatekeeper) -> None:
    handler.set_status(203)
    raise Finish("refused")


async def _redirect_later(handler: Gatekeeper) -> None:
    await asyncio.sleep(0)
    handler.redirect("/login")
    await asyncio.sleep(0)


REFUSALS = [
    (_redirect, 302),
    (_redirect_later, 302),
    (_error, 403),
    (_finish, 202),
    (_raise, 401),
    (_raise_finish, 203),
]


@pytest.fixture(params=[_nothing, _change, _message], ids=["nothing", "change", "message"])
def keeps(request: pytest.FixtureRequest) -> Act:
    """What the session has to save when the request is refused."""
    act: Act = request.param
    return act


@pytest.fixture(params=REFUSALS, ids=lambda pair: pair[0].__name__.strip("_"))
def refused_with(request: pytest.FixtureRequest, keeps: Act) -> int:
    """Let `prepare` save something and refuse; the status that the client gets."""
    refuse, status = request.param

    async def act(handler: Gatekeeper) -> None:
        keeps(handler)
        result = refuse(handler)
        if isinstance(result, Awaitable):
            await result

    Gatekeeper.refuses = staticmethod(act)
    Gatekeeper.ran.clear()
    return int(status)


async def _fetch(client: AsyncHTTPClient, url: str, **options: Any) -> HTTPResponse:
    return await client.fetch(
        HTTPRequest(url, follow_redirects=False, **options), raise_error=False
    )


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_35_what_prepare_refuses_never_runs(
    app: object, http_client: AsyncHTTPClient, base_url: str, refused_with: int, method: str
) -> None:
    body = {"body": "a=1"} if method == "POST" else {}
    for _ in range(2):
        response = await _fetch(http_client, base_url + "/", method=method, **body)
        assert response.code == refused_with
        assert b"the method ran" not in response.body
    assert Gatekeeper.ran == ["on_finish", "on_finish"]


async def test_35_what_prepare_refuses_receives_no_upload(
    app: object, http_client: AsyncHTTPClient, base_url: str, refused_with: int
) -> None:
    response = await _fetch(http_client, base_url + "/upload", method="POST", body=b"x" * 300_000)
    assert response.code == refused_with
    assert Gatekeeper.ran == ["on_finish"]


async def test_35_what_prepare_refuses_opens_no_websocket(
    app: object, http_client: AsyncHTTPClient, base_url: str, refused_with: int
) -> None:
    handshake = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "x3JJHMbDL1EzLkh9GBhXDw==",
        "Sec-WebSocket-Version": "13",
    }
    response = await _fetch(http_client, base_url + "/socket", headers=handshake)
    assert response.code == refused_with
    assert Gatekeeper.ran == ["on_finish"]


class Answering(SessionMixin, NotificationMixin, RequestHandler):
    """Runs what a test has put here."""

    does: ClassVar[Act]

    async def get(self) -> None:
        result = type(self).does(self)
        if isinstance(result, Awaitable):
            await result


async def _answer(browser: Any, act: Act) -> Any:
    Answering.does = staticmethod(act)
    return await browser.get("/answers", follow=False)


@pytest.mark.parametrize("late", ["write", "finish", "render"])
async def test_what_comes_after_finish_raises_as_without_the_mixin(
    make_browser: MakeBrowser, late: str
) -> None:
    raised: list[str] = []

    def act(handler: Answering) -> None:
        handler.session["seen"] = 1
        handler.finish("answered")
        with pytest.raises(RuntimeError) as caught:
            getattr(handler, late)(*(["x"] if late != "finish" else []))
        raised.append(str(caught.value))

    page = await _answer(make_browser(), act)
    assert (page.status, page.text) == (200, "answered")
    expected = "finish() called twice" if late == "finish" else f"Cannot {late}() after finish()"
    assert raised == [expected]


ANSWERS: list[tuple[Act, int]] = [
    (lambda handler: handler.redirect("/elsewhere"), 302),
    (lambda handler: handler.finish("done"), 200),
    (lambda handler: handler.send_error(404), 404),
]


@pytest.mark.parametrize(("answer", "status"), ANSWERS, ids=["redirect", "finish", "send_error"])
@pytest.mark.parametrize("error", [ZeroDivisionError(), HTTPError(500)], ids=["bug", "HTTPError"])
async def test_an_exception_after_the_response_is_logged_and_the_response_stands(
    make_browser: MakeBrowser, answer: Act, status: int, error: Exception
) -> None:
    browser = make_browser()

    def act(handler: Answering) -> None:
        handler.session["kept"] = True
        answer(handler)
        raise error

    assert (await _answer(browser, act)).status == status
    page = await _answer(browser, lambda handler: handler.write(dict(handler.session)))
    assert page.text == '{"kept": true}'


async def test_an_exception_after_flush_saves_nothing_more_and_puts_back_what_was_taken(
    make_browser: MakeBrowser,
) -> None:
    browser = make_browser()

    def begin(handler: Answering) -> None:
        handler.session["name"] = "ada"
        handler.notifications.add("hello")

    async def fail(handler: Answering) -> None:
        handler.write("x" * 10)
        await handler.flush()
        await handler.notifications.take()
        handler.session["name"] = "grace"
        raise ZeroDivisionError

    async def show(handler: Answering) -> None:
        handler.write(
            {"messages": [message.value for message in await handler.notifications.take()]}
        )
        handler.session["shown"] = True

    await _answer(browser, begin)
    await _answer(browser, fail)
    assert (await _answer(browser, show)).text == '{"messages": ["hello"]}'
    page = await _answer(browser, lambda handler: handler.write(dict(handler.session)))
    assert page.text == '{"name": "ada", "shown": true}'
