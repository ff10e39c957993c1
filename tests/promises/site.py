"""An application in the test's own process and event loop, so that tests can pause its requests."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from promised.sessions import NotificationMixin, SessionMixin, Store
from tornado.httpserver import HTTPServer
from tornado.simple_httpclient import SimpleAsyncHTTPClient
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

from .browser import Browser, client
from .generated import COOKIE_SECRET
from .servers import HOST

Act = Callable[["Page"], Awaitable[object] | object]


class Page(SessionMixin, NotificationMixin, RequestHandler):
    """Does what the test says: `/?act=name` calls that function of `Site.acts`."""

    def initialize(self) -> None:
        self.left = asyncio.Event()
        """Set when the client has closed its connection."""
        self.ended = asyncio.Event()
        """Set when the response is finished."""

    def on_connection_close(self) -> None:
        self.left.set()

    def on_finish(self) -> None:
        self.ended.set()

    async def get(self) -> None:
        acts: dict[str, Act] = self.settings["site"].acts
        result = acts[self.get_query_argument("act")](self)
        if isinstance(result, Awaitable):
            await result

    post = get

    def compute_etag(self) -> None:
        return None


class Gate:
    """Where a request waits until the test lets it go on."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def wait(self) -> None:
        self.reached.set()
        await self.opened.wait()

    def open(self) -> None:
        self.opened.set()


class Site:
    """A running application. `acts` are what its pages do, by name."""

    def __init__(self, application: Application, url: str, http: SimpleAsyncHTTPClient) -> None:
        self.application = application
        self.url = url
        self.store = Store.of(application)
        self.acts: dict[str, Act] = {}
        self._http = http

    def browser(self, *others: Browser) -> Browser:
        """A new browser; or another tab, with the cookies that the first of `others` has now."""
        browser = Browser(self._http, self.url)
        if others:
            browser.jar.update(others[0].jar)
        return browser

    async def key(self, browser: Browser, kind: str = "session") -> str:
        """Return the store's key of the visitor's record of that kind."""
        page = await self.do(browser, lambda page: page.write(page.session.id or "none"))
        return self.store.key(kind, page.text)

    async def do(self, browser: Browser, act: Act, method: str = "GET") -> Any:
        """Let one request do `act`, and return the page."""
        name = secrets.token_hex(8)
        self.acts[name] = act
        try:
            if method == "POST":
                return await browser.post(f"/?act={name}")
            return await browser.get("/", act=name)
        finally:
            del self.acts[name]


@asynccontextmanager
async def site(
    engine: str,
    storage: dict[str, Any],
    *,
    routes: list[Any] | None = None,
    settings: dict[str, Any] | None = None,
    **pycket: Any,
) -> AsyncIterator[Site]:
    """A site for the length of a block, with a key prefix of its own."""
    application = Application(
        [*(routes or []), ("/", Page)],
        cookie_secret=COOKIE_SECRET,
        pycket={
            "engine": engine,
            "storage": storage,
            "key_prefix": f"promise_{secrets.token_hex(8)}",
            **pycket,
        },
        **(settings or {}),
    )
    server = HTTPServer(application)
    sockets, port = bind_unused_port(address=HOST)
    server.add_socket(sockets)
    async with client(256) as http:
        running = Site(application, f"http://{HOST}:{port}", http)
        application.settings["site"] = running
        try:
            yield running
        finally:
            server.stop()
            await server.close_all_connections()
            await running.store.close()
