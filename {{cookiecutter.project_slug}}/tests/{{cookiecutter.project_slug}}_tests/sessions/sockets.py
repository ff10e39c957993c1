"""A WebSocket that does what a test has put there, and its client; see test_websocket.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar

from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, WebSocketHandler, websocket_connect

from {{cookiecutter.project_slug}}.sessions import (
    NotificationMixin,
    SessionMixin,
)

from .acts import Act, act, nothing
from .conftest import Browser, MakeBrowser, Routes, Script, run


class Socket(SessionMixin, NotificationMixin, WebSocketHandler):
    """Does what a test has put here when it is prepared, opened, told something and closed."""

    prepares: ClassVar[Act] = nothing
    opens: ClassVar[Act] = nothing
    hears: ClassVar[Act] = nothing
    closes: ClassVar[Act] = nothing
    closed: ClassVar[asyncio.Event]

    async def prepare(self) -> None:
        await super().prepare()
        await act(type(self).prepares, self)

    async def open(self, *args: str, **kwargs: str) -> None:
        await act(type(self).opens, self)

    async def on_message(self, message: str | bytes) -> None:
        try:
            answer = await act(type(self).hears, self)
        except Exception as error:
            answer = f"{type(error).__name__}: {error}"
        await self.write_message(str(answer))

    def on_close(self) -> None:
        try:
            type(self).closes(self)
        finally:
            self.closed.set()


def routes() -> Routes:
    """Return the routes of a test, whose socket does nothing yet."""
    Socket.prepares = Socket.opens = Socket.hears = Socket.closes = staticmethod(nothing)
    Socket.closed = asyncio.Event()
    return [("/", Script), ("/socket", Socket)]


async def connect(browser: Browser, base_url: str, path: str) -> WebSocketClientConnection:
    """Open a socket as the browser would."""
    cookie = "; ".join(f"{each.name}={each.value}" for each in browser.cookies.values())
    url = base_url.replace("http", "ws") + path
    return await websocket_connect(HTTPRequest(url, headers={"Cookie": cookie}))


@asynccontextmanager
async def connected(browser: Browser, base_url: str) -> AsyncIterator[WebSocketClientConnection]:
    """Open a socket as the browser would. At the end, close it and wait until it has noticed."""
    connection = await connect(browser, base_url, "/socket")
    try:
        yield connection
    finally:
        connection.close()
        async with asyncio.timeout(5):
            await Socket.closed.wait()
        await asyncio.sleep(0.01)


async def say(connection: WebSocketClientConnection, hears: Act) -> str:
    """Let the socket do this, and return what it answers."""
    Socket.hears = staticmethod(hears)
    await connection.write_message("go")
    return str(await connection.read_message())


async def visitor(make_browser: MakeBrowser, **values: object) -> Browser:
    """Return a browser with a session: a name, and `values`."""
    browser = make_browser()
    await run(browser, lambda handler: handler.session.update(name="ada", **values))
    return browser
