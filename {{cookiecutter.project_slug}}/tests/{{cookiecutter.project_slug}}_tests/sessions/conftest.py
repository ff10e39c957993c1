"""Fixtures for the sessions package alone: an application of a few small handlers, and a clock.

A test module names its handlers in a `handlers` fixture, or uses `Script`; `app` overrides the
suite's own. What these tests need of the project around them is imported here and nowhere else.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.ioloop import IOLoop
from tornado.web import Application, RequestHandler

from {{cookiecutter.project_slug}}.sessions import (
    NotificationMixin,
    SessionMixin,
    Store,
)
from {{cookiecutter.project_slug}}.sessions.engines import ENGINES, Engine
from {{cookiecutter.project_slug}}.sessions.engines.memory import MemoryEngine

from ..browser import Browser, Page
from ..conftest import COOKIE_SECRET, MakeBrowser
from .acts import ROUTES, Act, Comparison, act
from .trips import Paused, Trips

__all__ = [
    "COOKIE_SECRET",
    "ON_MEMORY",
    "Browser",
    "Clock",
    "MakeBrowser",
    "Page",
    "Pause",
    "Plain",
    "Script",
    "abandon",
    "leave_during",
    "messages_of",
    "plain",
    "run",
    "send",
    "value_of",
]

Routes = list[tuple[str, Any]]
Pause = Callable[..., Paused]

ON_MEMORY = pytest.mark.parametrize("engine", ["memory"])
"""Marks a test that moves the clock of the engine: a server's cannot be moved."""


class Script(SessionMixin, NotificationMixin, RequestHandler):
    """Runs what a test has put here, with the handler as its argument; see `run`."""

    does: ClassVar[Act]

    async def get(self) -> None:
        await act(type(self).does, self)

    head = post = get


async def run(browser: Browser, does: Act, method: str = "GET", **headers: str) -> Page:
    """Let a handler do this for the browser, and return its response."""
    Script.does = staticmethod(does)
    send = browser.get if method == "GET" else browser.post
    return await send("/", follow=False, headers=headers)


class Plain(RequestHandler):
    """Runs what a test has put here, without the mixins; see `plain`."""

    does: ClassVar[Act]

    async def get(self) -> None:
        await act(type(self).does, self)

    post = get


async def plain(browser: Browser, app: Application, does: Act, method: str = "GET") -> Page:
    """Let a handler without the mixins do this for the browser, and return its response."""
    app.add_handlers(".*", [("/plain", Plain)])
    Plain.does = staticmethod(does)
    send = browser.get if method == "GET" else browser.post
    return await send("/plain", follow=False)


async def value_of(browser: Browser, name: str) -> Any:
    """Return what the browser's session holds as `name`; "absent" if it holds nothing."""
    seen: list[Any] = []
    await run(browser, lambda handler: seen.append(handler.session.get(name, "absent")))
    return seen[0]


async def messages_of(browser: Browser) -> list[Any]:
    """Take the messages that wait for the browser, and return their values."""
    seen: list[Any] = []

    async def take(handler: Any) -> None:
        seen.extend(message.value for message in await handler.notifications.take())

    await run(browser, take)
    return seen


async def send(
    browser: Browser, head: str = "GET / HTTP/1.1\r\nHost: localhost\r\n"
) -> asyncio.StreamWriter:
    """Send a request as the browser would, and do not wait for the response."""
    cookie = "; ".join(f"{each.name}={each.value}" for each in browser.cookies.values())
    url = urlsplit(browser.base_url)
    _, writer = await asyncio.open_connection(url.hostname, url.port)
    writer.write(f"{head}Cookie: {cookie}\r\n\r\n".encode())
    return writer


async def abandon(browser: Browser, begun: asyncio.Event, finished: asyncio.Event) -> None:
    """Send a request, hang up when it has begun, and wait until its handler has finished."""
    writer = await send(browser)
    async with asyncio.timeout(10):
        await begun.wait()
        writer.transport.abort()
        await finished.wait()


async def leave_during(
    browser: Browser, monkeypatch: pytest.MonkeyPatch, before: Act, after: Act
) -> None:
    """Let a handler do `before`, hang up, and let it do `after`. Wait until it has finished."""
    begun, gone, finished = asyncio.Event(), asyncio.Event(), asyncio.Event()
    left: list[Script] = []

    async def does(handler: Script) -> None:
        left.append(handler)
        await act(before, handler)
        begun.set()
        await gone.wait()
        await act(after, handler)

    def on_connection_close(handler: Script) -> None:
        super(Script, handler).on_connection_close()
        gone.set()

    def on_finish(handler: Script) -> None:
        if handler in left:  # otherwise it serves a request that `before` has sent
            finished.set()

    with monkeypatch.context() as patch:
        patch.setattr(Script, "on_connection_close", on_connection_close)
        patch.setattr(Script, "on_finish", on_finish)
        Script.does = staticmethod(does)
        await abandon(browser, begun, finished)


class Clock:
    """A clock that a test can move. It goes on ticking by itself."""

    def __init__(self) -> None:
        self._ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self._ahead_s

    def advance(self, seconds: float) -> None:
        self._ahead_s += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def records(engine: str, storage: dict[str, Any], io_loop: IOLoop) -> Iterator[Engine]:
    """The engine itself."""
    opened = ENGINES[engine].open(storage, "sessions", 2.0)
    yield opened
    io_loop.run_sync(opened.close)


@pytest.fixture
def key(key_prefix: str) -> str:
    """A key that no other test uses."""
    return f"{key_prefix}:session:key"


@pytest.fixture
def pycket() -> dict[str, Any]:
    """More of settings["pycket"]; a module overrides it."""
    return {}


@pytest.fixture
def handlers() -> Routes:
    """The routes of the application; a module overrides it."""
    return [("/", Script), *ROUTES]


@pytest.fixture
def app(
    handlers: Routes,
    engine: str,
    storage: dict[str, Any],
    key_prefix: str,
    pycket: dict[str, Any],
    clock: Clock,
    io_loop: IOLoop,
) -> Iterator[Application]:
    application = Application(
        handlers,
        cookie_secret=COOKIE_SECRET,
        pycket={"engine": engine, "storage": storage, "key_prefix": key_prefix, **pycket},
    )
    store = Store.of(application)
    store.clock = clock
    for each in (store.sessions, store.notifications):
        if isinstance(each, MemoryEngine):
            each.clock = clock
    yield application
    io_loop.run_sync(store.close)


@pytest.fixture
def store(app: Application) -> Store:
    return Store.of(app)


@pytest.fixture
def trips(store: Store, monkeypatch: pytest.MonkeyPatch) -> Trips:
    """Counts the trips to the store, and lets none of them be over at once."""
    return Trips(store, monkeypatch)


@pytest.fixture
def pause(store: Store, monkeypatch: pytest.MonkeyPatch) -> Pause:
    """Holds up the next trip of a kind: `pause("write sessions")`."""
    return partial(Paused, store, monkeypatch)


@pytest.fixture
def tornado(
    trips: Trips, http_client: AsyncHTTPClient, base_url: str, caplog: pytest.LogCaptureFixture
) -> Comparison:
    """Compares a handler with the mixins with one without."""
    caplog.set_level(logging.INFO)
    return Comparison(http_client, base_url, caplog)
