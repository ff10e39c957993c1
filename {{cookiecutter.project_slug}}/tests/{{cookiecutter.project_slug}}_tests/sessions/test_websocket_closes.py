"""When a WebSocket closes, its unsaved changes are stored, and those of its jobs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from {{cookiecutter.project_slug}}.sessions import (
    SessionManager,
    Store,
)

from .acts import Act
from .conftest import MakeBrowser, Pause, Routes, messages_of, run, value_of
from .sockets import Socket, connected, routes, say, visitor

pytestmark = pytest.mark.gen_test


@pytest.fixture
def handlers() -> Routes:
    return routes()


async def set_in_a_block(socket: Socket, name: str) -> None:
    async with socket.session as session:
        session[name] = True


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


async def test_a_session_that_has_ended_when_the_connection_closes_is_no_error_in_the_log(
    make_browser: MakeBrowser, base_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    browser = await visitor(make_browser)
    caplog.set_level(logging.INFO)
    async with connected(browser, base_url) as connection:
        await say(connection, lambda socket: socket.session.set("late", True))
        await run(browser, lambda handler: handler.session.destroy(), "POST")
    async with asyncio.timeout(5):  # the socket does not wait for its session
        while "a WebSocket changed before it closed" not in caplog.text:
            await asyncio.sleep(0.01)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


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


# --- beside a block


async def start_job(
    socket: Socket,
    jobs: list[asyncio.Task[None]],
    ends: Callable[[SessionManager], Awaitable[None]],
) -> None:
    """Start a job whose block is open until the connection has closed, and then `ends`."""
    inside = asyncio.Event()

    async def job() -> None:
        async with socket.session as session:
            session["half"] = True
            inside.set()
            await Socket.closed.wait()
            await ends(session)

    jobs.append(asyncio.create_task(job()))
    await inside.wait()


async def test_a_block_that_is_open_when_the_connection_closes_goes_on_whole(
    make_browser: MakeBrowser, base_url: str
) -> None:
    browser = await visitor(make_browser)
    jobs: list[asyncio.Task[None]] = []

    async def go_on(session: SessionManager) -> None:
        await asyncio.sleep(0.02)
        session["rest"] = True

    async with connected(browser, base_url) as connection:
        await say(connection, lambda socket: start_job(socket, jobs, go_on))
    await jobs[0]
    assert (await value_of(browser, "half"), await value_of(browser, "rest")) == (True, True)


async def test_a_block_that_fails_after_the_close_loses_nothing_that_was_changed_before_it(
    make_browser: MakeBrowser, base_url: str, pause: Pause
) -> None:
    browser = await visitor(make_browser)
    jobs: list[asyncio.Task[None]] = []

    async def fail(session: SessionManager) -> None:
        raise ZeroDivisionError

    async def start(socket: Socket) -> None:
        socket.session["changed"] = True
        socket.notifications.add("hello")
        await start_job(socket, jobs, fail)

    async with connected(browser, base_url) as connection:
        await say(connection, start)
        saved = pause("write sessions", on_its_way_back=True)
    with pytest.raises(ZeroDivisionError):
        await jobs[0]
    await saved.begun()
    saved.go_on()
    assert (await value_of(browser, "changed"), await value_of(browser, "half")) == (True, "absent")
    assert await messages_of(browser) == ["hello"]


async def test_what_on_close_changes_while_a_block_is_saved_is_saved_after_it(
    make_browser: MakeBrowser, base_url: str, pause: Pause
) -> None:
    browser = await visitor(make_browser)
    jobs: list[asyncio.Task[None]] = []
    writes = pause("write sessions")

    async def start(socket: Socket) -> None:
        jobs.append(asyncio.create_task(set_in_a_block(socket, "done")))
        await writes.begun()

    Socket.closes = staticmethod(lambda socket: socket.session.set("left", True))
    async with connected(browser, base_url) as connection:
        await say(connection, start)
    saved = pause("write sessions", on_its_way_back=True)
    writes.go_on()
    await jobs[0]
    await saved.begun()
    saved.go_on()
    assert (await value_of(browser, "done"), await value_of(browser, "left")) == (True, True)


async def test_a_block_that_opens_while_the_connection_closes_is_saved(
    make_browser: MakeBrowser, base_url: str, pause: Pause
) -> None:
    browser = await visitor(make_browser)
    jobs: list[asyncio.Task[None]] = []
    loads = []

    async def start(socket: Socket) -> None:
        loads.append(pause("load sessions"))
        jobs.append(asyncio.create_task(set_in_a_block(socket, "done")))
        await loads[0].begun()

    async with connected(browser, base_url) as connection:
        await say(connection, start)
    loads[0].go_on()
    await jobs[0]
    assert await value_of(browser, "done") is True


async def test_a_job_that_on_close_starts_loses_nothing_that_was_changed_before_it(
    make_browser: MakeBrowser, base_url: str
) -> None:
    browser = await visitor(make_browser)
    jobs: list[asyncio.Task[None]] = []

    def start(socket: Socket) -> None:
        socket.session["left"] = True
        jobs.append(asyncio.create_task(set_in_a_block(socket, "done")))

    Socket.closes = staticmethod(start)
    async with connected(browser, base_url) as connection:
        await say(connection, lambda socket: socket.session.set("said", True))
    await jobs[0]
    for name in ("said", "left", "done"):
        assert await value_of(browser, name) is True
