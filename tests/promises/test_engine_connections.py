"""Replies belong to their requests, and connections to a loop, a process and a network that lives.

Each test drives an engine against a real server; where the network misbehaves, it stands between.
"""

from __future__ import annotations

import asyncio
import gc
import os
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from promised.sessions.engines import ENGINES, Engine, Snapshot
from promised.sessions.engines.memory import MemoryEngine
from promised.sessions.errors import ConfigurationError, StoreUnavailable

from .proxy import before
from .servers import Server, storage
from .unreliable import network

TTL_S = 60.0
VISITORS = 20


@pytest.fixture
def key() -> str:
    """A key that no other test uses."""
    return f"t{secrets.token_hex(8)}:session"


@asynccontextmanager
async def opened(
    engine: str, port: int, timeout_s: float = 2.0, **more: Any
) -> AsyncIterator[Engine]:
    """An engine for the length of a block."""
    settings = {**storage(engine, port), **more}
    assert not ENGINES[engine].faults(settings)
    made = ENGINES[engine].open(settings, "sessions", timeout_s)
    try:
        yield made
    finally:
        await made.close()


async def fill(records: Engine, key: str) -> None:
    for number in range(VISITORS):
        await records.write(f"{key}:{number}", {"value": b"%d" % number}, TTL_S, create=True)


async def load_all(records: Engine, key: str) -> list[Any]:
    loads = (records.load(f"{key}:{number}") for number in range(VISITORS))
    return list(await asyncio.gather(*loads, return_exceptions=True))


def own(found: list[Any]) -> int:
    """How many loads have found their own record; nobody may have found another's, or none."""
    for number, each in enumerate(found):
        if not isinstance(each, StoreUnavailable):
            assert isinstance(each, Snapshot)
            assert each.fields == {"value": b"%d" % number}
    return sum(isinstance(each, Snapshot) for each in found)


# --- replies ---------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("server", ["redis"], indirect=True)
async def test_38_a_push_between_two_replies_is_no_reply(
    server: Server, key: str, protocol: int
) -> None:
    push = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n"
    message = b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n"
    record = rb"([*%]\d\r\n\$5\r\nvalue)"
    async with (
        network(server.port) as net,
        opened("redis", net.port, protocol=protocol) as records,
    ):
        await fill(records, key)
        pushed = 0

        def inject(data: bytes) -> bytes:
            nonlocal pushed
            data, count = re.subn(record, push.replace(b"\\", rb"\\") + message + rb"\1", data)
            pushed += count
            return data

        net.edit = inject
        for _ in range(5):
            assert own(await load_all(records, key)) == VISITORS
        assert pushed == 5 * VISITORS
        assert net.opened == 1


RECORD = {"redis": rb"(\*2\r\n\$5\r\nvalue)", "memcached": rb"(VALUE )"}
SURPLUS = {"redis": b"+OK\r\n", "memcached": b"STORED\r\n"}


async def test_surplus_reply_gives_nobody_the_record_of_another(server: Server, key: str) -> None:
    async with network(server.port) as net, opened(server.engine, net.port) as records:
        await fill(records, key)
        surplus = SURPLUS[server.engine] + rb"\1"
        net.edit = lambda data: re.sub(RECORD[server.engine], surplus, data, count=1)
        assert own(await load_all(records, key)) == 0
        net.edit = lambda data: data
        assert own(await load_all(records, key)) == VISITORS
        assert net.opened > 1


@pytest.mark.parametrize("server", ["memcached"], indirect=True)
async def test_surplus_end_hides_no_more_than_one_record(server: Server, key: str) -> None:
    """It looks like the reply that the record is not there; the next reply shows that it was not."""
    async with network(server.port) as net, opened("memcached", net.port) as records:
        await fill(records, key)
        net.edit = lambda data: data.replace(b"VALUE ", b"END\r\nVALUE ", 1)
        found = await load_all(records, key)
        assert found.count(None) == 1
        assert all(each is None or isinstance(each, StoreUnavailable) for each in found)
        net.edit = lambda data: data
        assert own(await load_all(records, key)) == VISITORS


async def test_reply_that_nobody_waits_for_drops_the_connection(server: Server, key: str) -> None:
    async with network(server.port) as net, opened(server.engine, net.port) as records:
        await fill(records, key)
        net.edit = lambda data: data + SURPLUS[server.engine]
        assert await records.load(f"{key}:1") is not None
        net.edit = lambda data: data
        async with asyncio.timeout(2):
            while net.connected:
                await asyncio.sleep(0.01)
        assert own(await load_all(records, key)) == VISITORS
        assert net.opened == 2


@pytest.mark.parametrize("server", ["memcached"], indirect=True)
async def test_38_a_reply_for_another_key_is_refused(server: Server, key: str) -> None:
    async with network(server.port) as net, opened("memcached", net.port) as records:
        await fill(records, key)
        wanted, other = f"{key}:1 ".encode(), f"{key}:2 ".encode()
        net.edit = lambda data: data.replace(b"VALUE " + wanted, b"VALUE " + other)
        with pytest.raises(StoreUnavailable, match="another request"):
            await records.load(f"{key}:1")
        net.edit = lambda data: data
        assert own(await load_all(records, key)) == VISITORS


@pytest.mark.parametrize("server", ["redis"], indirect=True)
async def test_reply_that_makes_no_sense_drops_the_connection(server: Server, key: str) -> None:
    async with network(server.port) as net, opened("redis", net.port) as records:
        await fill(records, key)
        net.edit = lambda data: b"?nonsense\r\n" + data
        with pytest.raises(StoreUnavailable):
            await records.load(f"{key}:1")
        net.edit = lambda data: data
        assert own(await load_all(records, key)) == VISITORS


async def test_requests_of_one_tick_leave_together(server: Server, key: str) -> None:
    async with network(server.port) as net, opened(server.engine, net.port) as records:
        await fill(records, key)
        net.sent.clear()
        assert own(await load_all(records, key)) == VISITORS
        assert len(net.sent) == 1


# --- a network that forgets -------------------------------------------------------------------


async def test_read_on_a_forgotten_connection_is_asked_again(server: Server, key: str) -> None:
    async with network(server.port) as net, opened(server.engine, net.port, 1.0) as records:
        await fill(records, key)
        for _ in range(2):
            net.forget()
            assert own(await load_all(records, key)) == VISITORS
            net.forget()
            await records.load(f"{key}:1")


async def test_write_on_a_forgotten_connection_is_sent_once(server: Server, key: str) -> None:
    word = {"redis": b"EVAL", "memcached": b"cas "}[server.engine]
    async with network(server.port) as net, opened(server.engine, net.port, 0.5) as records:
        await fill(records, key)
        found = await records.load(f"{key}:1")
        assert found is not None
        net.forget()
        net.sent.clear()
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await records.write(
                f"{key}:1", {"value": b"x"}, TTL_S, create=False, seen=found.version
            )
        assert time.monotonic() - begun < 0.8
        assert b"".join(net.sent).count(word) == 1
        await asyncio.sleep(0.6)
        assert own(await load_all(records, key)) == VISITORS


async def test_write_after_a_read_finds_a_connection_that_lives(server: Server, key: str) -> None:
    async with network(server.port) as net, opened(server.engine, net.port) as records:
        await fill(records, key)
        net.forget()
        found = await records.load(f"{key}:1")
        assert found is not None
        changes = {"value": b"1", "more": b"x"}
        assert await records.write(f"{key}:1", changes, TTL_S, create=False) == {}


async def test_write_under_way_beside_a_read_that_moves_on_gets_its_reply(
    server: Server, key: str
) -> None:
    """A slow server is not a network that forgets: what it replies late is still taken."""
    async with network(server.port) as net, opened(server.engine, net.port) as records:
        await fill(records, key)
        seen = await records.load(f"{key}:1")
        assert seen is not None
        net.sent.clear()
        net.slow_down(1.3)
        write, found = await asyncio.gather(
            records.write(f"{key}:1", {"more": b"x"}, TTL_S, create=False, seen=seen.version),
            records.load(f"{key}:2"),
        )
        assert write == {}
        assert found is not None
        assert found.fields == {"value": b"2"}
        assert net.opened == 2
        assert b"".join(net.sent).count(b"more") == 1


async def test_connection_that_was_cut_is_replaced(server: Server, key: str) -> None:
    async with network(server.port) as net, opened(server.engine, net.port) as records:
        await fill(records, key)
        net.cut()
        assert own(await load_all(records, key)) >= VISITORS - 1
        assert own(await load_all(records, key)) == VISITORS


async def test_frozen_server_costs_the_timeout_once_and_then_half_a_second_of_refusals(
    own_server: Server, key: str
) -> None:
    async with opened(own_server.engine, own_server.port, 0.4) as records:
        await fill(records, key)
        own_server.freeze()
        try:
            begun = time.monotonic()
            assert own(await load_all(records, key)) == 0
            assert time.monotonic() - begun < 0.8
            begun = time.monotonic()
            assert own(await load_all(records, key)) == 0
            assert time.monotonic() - begun < 0.2
        finally:
            own_server.thaw()
        async with asyncio.timeout(2):
            while own(await load_all(records, key)) < VISITORS:
                await asyncio.sleep(0.05)


async def test_server_that_was_started_again_is_found(own_server: Server, key: str) -> None:
    async with opened(own_server.engine, own_server.port) as records:
        await records.load(key)
        own_server.kill()
        with pytest.raises(StoreUnavailable):
            await records.load(key)
        own_server.start()
        async with asyncio.timeout(2):
            while True:
                try:
                    assert await records.load(key) is None
                    break
                except StoreUnavailable:
                    await asyncio.sleep(0.05)


# --- loops and processes -----------------------------------------------------------------------


@pytest.mark.parametrize("closing", [True, False])
def test_one_engine_serves_several_loops_in_turn(server: Server, key: str, closing: bool) -> None:
    records = ENGINES[server.engine].open(server.storage, "sessions", 2.0)

    async def visit(number: int) -> None:
        await records.write(key, {str(number): b"x"}, TTL_S, create=True)
        found = await records.load(key)
        assert found is not None
        assert len(found.fields) == number + 1
        if closing:
            await records.close()

    for number in range(3):
        asyncio.run(visit(number))
        gc.collect()  # a connection that was not closed would warn here
    if not closing:
        asyncio.run(records.close())


def test_one_engine_serves_two_loops_by_turns(server: Server, key: str) -> None:
    records = ENGINES[server.engine].open(server.storage, "sessions", 2.0)
    with asyncio.Runner() as one, asyncio.Runner() as other:
        for runner in (one, other, one, other):
            runner.run(fill(records, key))
            assert own(runner.run(load_all(records, key))) == VISITORS
        one.run(records.close())
        assert own(other.run(load_all(records, key))) == VISITORS
        other.run(records.close())


def test_child_after_a_fork_opens_connections_of_its_own(server: Server, key: str) -> None:
    records = ENGINES[server.engine].open(server.storage, "sessions", 2.0)

    async def repeat(times: int) -> None:
        for _ in range(times):
            assert own(await load_all(records, key)) == VISITORS

    with asyncio.Runner() as runner:
        runner.run(fill(records, key))
        child = os.fork()
        if child == 0:
            status = 1
            try:
                asyncio.run(repeat(200))
                gc.collect()
                status = 0
            finally:
                os._exit(status)
        runner.run(repeat(200))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        runner.run(repeat(1))
        runner.run(records.close())


def test_child_that_goes_on_with_its_parents_loop_opens_connections_of_its_own(
    server: Server, key: str
) -> None:
    records = ENGINES[server.engine].open(server.storage, "sessions", 2.0)
    with asyncio.Runner() as runner:
        runner.run(fill(records, key))
        before_it = _connections_ever(server)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = int(own(runner.run(load_all(records, key))) != VISITORS)
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert _connections_ever(server) - before_it == 2  # one of them asks
        assert own(runner.run(load_all(records, key))) == VISITORS
        runner.run(records.close())


def _connections_ever(server: Server) -> int:
    question = {"redis": "INFO stats", "memcached": "stats"}[server.engine]
    found = re.search(r"total_connections\w*\W+(\d+)", server.ask(question))
    assert found is not None
    return int(found[1])


def test_memory_refuses_to_serve_a_second_process() -> None:
    records = MemoryEngine()
    asyncio.run(records.ping())
    child = os.fork()
    if child == 0:
        status = 1
        try:
            calls: list[Callable[[], Awaitable[Any]]] = [
                records.ping,
                lambda: records.load("k"),
                lambda: records.end("k", "why"),
                lambda: records.write("k", {"a": b"1"}, 1, create=True),
            ]
            for call in calls:
                with pytest.raises(ConfigurationError, match="one process"):
                    asyncio.run(_awaited(call))
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


async def _awaited(call: Callable[[], Awaitable[Any]]) -> Any:
    return await call()


async def test_closed_engine_leaves_no_connection(server: Server, key: str) -> None:
    async with network(server.port) as net:
        async with opened(server.engine, net.port, 4.0) as records:
            await fill(records, key)
            net.forget()
            await records.load(key)
            assert net.opened == 2
        async with asyncio.timeout(0.5):
            while net.connected:
                await asyncio.sleep(0.01)


# --- nothing twice -----------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["write", "end"])
async def test_change_whose_reply_is_lost_is_sent_once(
    server: Server, key: str, operation: str
) -> None:
    word = {"redis": b"EVAL", "memcached": b"cas "}[server.engine]
    async with before(server.port) as proxy, opened(server.engine, proxy.port) as records:
        await records.write(key, {"a": b"1"}, TTL_S, create=True)
        proxy.sent.clear()
        proxy.cut_after = word
        calls: dict[str, Callable[[], Awaitable[Any]]] = {
            "write": lambda: records.write(key, {"a": None, "b": b"2"}, TTL_S, create=False),
            "end": lambda: records.end(key, "ended"),
        }
        with pytest.raises(StoreUnavailable):
            await calls[operation]()
        assert proxy.cuts == 1
        assert b"".join(proxy.sent).count(word) == 1
        found = await records.load(key)
        assert found is not None
        assert (found.fields, found.ended) == (
            ({"b": b"2"}, None) if operation == "write" else ({}, "ended")
        )
