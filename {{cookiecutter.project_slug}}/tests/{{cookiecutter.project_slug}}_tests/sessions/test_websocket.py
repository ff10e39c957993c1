"""WebSockets: the session is there for as long as the connection, and saved when one asks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import WebSocketClientConnection, WebSocketHandler, websocket_connect

from {{cookiecutter.project_slug}}.sessions import (
    NotificationMixin,
    SessionMixin,
    Store,
)

from .acts import Act, act
from .conftest import ON_MEMORY, Browser, Clock, MakeBrowser, Routes, Script, run, value_of

pytestmark = pytest.mark.gen_test


def nothing(socket: Any) -> None:
    """What a socket does that has nothing to do."""


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


@pytest.fixture
def handlers() -> Routes:
    Socket.prepares = Socket.opens = Socket.hears = Socket.closes = staticmethod(nothing)
    Socket.closed = asyncio.Event()
    return [("/", Script), ("/socket", Socket)]


@asynccontextmanager
async def connected(browser: Browser, base_url: str) -> AsyncIterator[WebSocketClientConnection]:
    cookie = "; ".join(f"{each.name}={each.value}" for each in browser.cookies.values())
    url = base_url.replace("http", "ws") + "/socket"
    connection = await websocket_connect(HTTPRequest(url, headers={"Cookie": cookie}))
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


async def visitor(make_browser: MakeBrowser) -> Browser:
    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("name", "ada"))
    return browser


async def test_it_reads_saves_and_sees_what_others_have_stored(
    make_browser: MakeBrowser, base_url: str
) -> None:
    browser = await visitor(make_browser)

    async def save(socket: Socket) -> None:
        socket.session["said"] = 1
        await socket.session.save()

    async def look(socket: Socket) -> Any:
        await socket.session.reload(touch=False)
        return socket.session["name"]

    async with connected(browser, base_url) as connection:
        assert await say(connection, lambda socket: socket.session["name"]) == "ada"
        await say(connection, save)
        assert await value_of(browser, "said") == 1
        await run(browser, lambda handler: handler.session.set("name", "grace"))
        assert await say(connection, look) == "grace"
        assert (
            await say(connection, lambda socket: socket.session.modify("said", lambda n: n + 1))
            == "2"
        )
    assert await value_of(browser, "said") == 2


@pytest.mark.parametrize("where", ["opens", "hears", "closes"])
async def test_what_is_changed_and_not_saved_is_saved_when_the_connection_closes(
    make_browser: MakeBrowser, base_url: str, where: str
) -> None:
    browser = await visitor(make_browser)
    change: Act = lambda socket: socket.session.set("changed", where)  # noqa: E731
    setattr(Socket, where, staticmethod(change))
    async with connected(browser, base_url) as connection:
        if where == "hears":
            await say(connection, change)
    assert await value_of(browser, "changed") == where


async def test_a_change_in_prepare_that_is_not_saved_opens_no_socket_and_says_why(
    make_browser: MakeBrowser, base_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    browser = await visitor(make_browser)
    Socket.prepares = staticmethod(lambda socket: socket.session.set("a", 1))
    with pytest.raises(HTTPClientError) as caught:
        async with connected(browser, base_url):
            raise AssertionError("it opened")
    assert caught.value.code == 500
    assert "`await self.session.save()` in prepare()" in caplog.text
    assert await value_of(browser, "a") == "absent"


async def test_a_session_that_prepare_saves_begins_with_the_handshake(
    make_browser: MakeBrowser, base_url: str
) -> None:
    async def begin(socket: Socket) -> None:
        socket.session["a"] = 1
        await socket.session.save()

    Socket.prepares = staticmethod(begin)
    browser = make_browser()
    async with connected(browser, base_url) as connection:
        assert connection.headers is not None
        header = connection.headers["Set-Cookie"]
    name, _, value = header.partition(";")[0].partition("=")
    seen: list[Any] = []
    await run(
        browser, lambda handler: seen.append(handler.session.get("a")), Cookie=f"{name}={value}"
    )
    assert seen == [1]


async def test_a_session_cannot_begin_move_or_get_messages_once_the_socket_is_open(
    make_browser: MakeBrowser, base_url: str
) -> None:
    async with connected(make_browser(), base_url) as connection:
        for does in (
            lambda socket: socket.session.set("a", 1),
            lambda socket: socket.notifications.add("hello"),
            lambda socket: socket.session.modify("a", lambda a: a + 1, 0),
        ):
            assert "needs a cookie" in await say(connection, does)
    Socket.closed.clear()

    async def move(socket: Socket) -> None:
        socket.session.regenerate()
        await socket.session.save()

    async with connected(await visitor(make_browser), base_url) as connection:
        assert "the new one needs a cookie" in await say(connection, move)


async def test_a_session_that_has_ended_is_lost_to_the_socket(
    make_browser: MakeBrowser, base_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    browser = await visitor(make_browser)

    async def look(socket: Socket) -> Any:
        await socket.session.reload()
        return dict(socket.session)

    async def save(socket: Socket) -> Any:
        socket.session["late"] = True
        await socket.session.save()
        return dict(socket.session)

    async with connected(browser, base_url) as connection:
        await run(browser, lambda handler: handler.session.destroy())
        assert await say(connection, look) == "{}"
        with caplog.at_level(logging.INFO):
            assert await say(connection, save) == "{}"
        assert "dropped what a request changed" in caplog.text
    assert await value_of(browser, "late") == "absent"


async def test_a_socket_takes_messages_once(make_browser: MakeBrowser, base_url: str) -> None:
    browser = await visitor(make_browser)

    async def take(socket: Socket) -> Any:
        return [text for text, _ in await socket.notifications.take()]

    async with connected(browser, base_url) as connection:
        assert await say(connection, take) == "[]"
        await run(browser, lambda handler: handler.notifications.add("hello"))
        assert await say(connection, take) == "['hello']"
        assert await say(connection, take) == "[]"


async def test_a_store_that_fails_as_the_socket_closes_is_logged(
    make_browser: MakeBrowser,
    base_url: str,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    browser = await visitor(make_browser)

    async def fail(*args: object, **kwargs: object) -> None:
        raise ConnectionError("no answer")

    async with connected(browser, base_url) as connection:
        await say(connection, lambda socket: socket.session.set("a", 1))
        monkeypatch.setattr(store.sessions, "write", fail)
    assert "what a WebSocket changed before it closed was not saved" in caplog.text


async def test_a_block_leaves_the_session_of_a_socket_open(
    make_browser: MakeBrowser, base_url: str
) -> None:
    browser = await visitor(make_browser)

    async def in_a_block(socket: Socket) -> None:
        async with socket.session as session:
            session["first"] = 1

    async def by_itself(socket: Socket) -> None:
        socket.session["second"] = 2
        await socket.session.save()

    async with connected(browser, base_url) as connection:
        assert await say(connection, in_a_block) == "None"
        assert await say(connection, by_itself) == "None"
    assert (await value_of(browser, "first"), await value_of(browser, "second")) == (1, 2)


async def test_a_block_sees_what_others_have_stored_and_ended(
    make_browser: MakeBrowser, base_url: str
) -> None:
    browser = await visitor(make_browser)

    async def in_a_block(socket: Socket) -> Any:
        async with socket.session as session:
            return session.get("name")

    async with connected(browser, base_url) as connection:
        assert await say(connection, in_a_block) == "ada"
        await run(browser, lambda handler: handler.session.set("name", "grace"))
        assert await say(connection, in_a_block) == "grace"
        await run(browser, lambda handler: handler.session.destroy(), "POST")
        assert await say(connection, in_a_block) == "None"


async def test_a_block_sees_lists_that_others_have_stored(
    make_browser: MakeBrowser, base_url: str
) -> None:
    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("cart", ["first"]))

    async def look(socket: Socket) -> Any:
        async with socket.session as session:
            return session["cart"]

    async def add(socket: Socket) -> Any:
        async with socket.session as session:
            session["cart"].append("third")

    async with connected(browser, base_url) as connection:
        assert await say(connection, look) == "['first']"
        await run(browser, lambda handler: handler.session["cart"].append("second"))
        assert await say(connection, look) == "['first', 'second']"
        await say(connection, add)
    assert await value_of(browser, "cart") == ["first", "second", "third"]


async def test_what_was_handed_out_before_a_block_may_be_changed_in_it(
    make_browser: MakeBrowser, base_url: str
) -> None:
    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("cart", ["first"]))
    carts: list[Any] = []

    async def add(socket: Socket) -> Any:
        async with socket.session:
            carts[0].append("second")

    Socket.opens = staticmethod(lambda socket: carts.append(socket.session["cart"]))
    async with connected(browser, base_url) as connection:
        await say(connection, add)
    assert await value_of(browser, "cart") == ["first", "second"]


async def test_a_block_that_is_open_when_the_connection_closes_goes_on_whole(
    make_browser: MakeBrowser, base_url: str
) -> None:
    browser = await visitor(make_browser)
    inside = asyncio.Event()
    jobs: list[asyncio.Task[None]] = []

    async def job(socket: Socket) -> None:
        async with socket.session as session:
            session["half"] = 1
            inside.set()
            await Socket.closed.wait()
            await asyncio.sleep(0.02)
            session["rest"] = 2

    async def start(socket: Socket) -> None:
        jobs.append(asyncio.create_task(job(socket)))
        await inside.wait()

    async with connected(browser, base_url) as connection:
        await say(connection, start)
    await jobs[0]
    assert (await value_of(browser, "half"), await value_of(browser, "rest")) == (1, 2)


async def test_a_socket_that_takes_messages_for_days_keeps_nothing_of_them(
    make_browser: MakeBrowser, base_url: str
) -> None:
    browser = await visitor(make_browser)
    sizes: list[int] = []

    async def take(socket: Socket) -> None:
        async with socket.session as session:
            assert len(await socket.notifications.take()) == 1
        sizes.append(len(session.taken))

    async with connected(browser, base_url) as connection:
        for _ in range(3):
            await run(browser, lambda handler: handler.notifications.add("hello"))
            assert await say(connection, take) == "None"
    assert sizes == [0, 0, 0]


async def use_in_a_block(socket: Socket) -> Any:
    async with socket.session as session:
        session["count"] = session.get("count", 0) + 1
        return session.get("name")


async def use_and_save(socket: Socket) -> Any:
    socket.session["count"] = socket.session.get("count", 0) + 1
    await socket.session.save()
    return socket.session.get("name")


async def use_by_modify(socket: Socket) -> Any:
    await socket.session.modify("count", lambda count: count + 1, default=0)
    return socket.session.get("name")


@ON_MEMORY
@pytest.mark.parametrize("pycket", [{"absolute_timeout": 3600, "idle_timeout": 3600}], ids=["hour"])
@pytest.mark.parametrize("use", [use_in_a_block, use_and_save, use_by_modify])
async def test_a_session_that_a_socket_uses_all_the_time_ends_at_its_limit(
    make_browser: MakeBrowser, base_url: str, clock: Clock, use: Act
) -> None:
    browser = await visitor(make_browser)
    async with connected(browser, base_url) as connection:
        clock.advance(3590)
        for _ in range(20):  # less than a second apart
            answer = await say(connection, use)
            clock.advance(0.9)
    assert answer != "ada"
    assert await value_of(browser, "name") == "absent"


@ON_MEMORY
async def test_opening_a_socket_is_a_use(
    make_browser: MakeBrowser, base_url: str, clock: Clock
) -> None:
    browser = await visitor(make_browser)
    for _ in range(30):
        clock.advance(3600)
        async with connected(browser, base_url) as connection:
            assert await say(connection, lambda socket: socket.session["name"]) == "ada"
        Socket.closed.clear()


async def test_a_change_after_the_connection_has_closed_raises(
    make_browser: MakeBrowser, base_url: str
) -> None:
    browser = await visitor(make_browser)
    sockets: list[Any] = []
    async with connected(browser, base_url) as connection:
        await say(connection, sockets.append)
    session = sockets[0].session
    with pytest.raises(RuntimeError, match="would be lost"):
        session["late"] = 1
    async with session:
        session["late"] = 2
    with pytest.raises(RuntimeError, match="would be lost"):
        session["late"] = 3
    assert await value_of(browser, "late") == 2
