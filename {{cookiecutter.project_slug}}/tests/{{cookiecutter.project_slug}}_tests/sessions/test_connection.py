"""What becomes of a request when its connection to the server fails, on a real server.

The engine reaches the server through a proxy, which a test lets fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import socket
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from {{cookiecutter.project_slug}}.sessions import StoreUnavailable
from {{cookiecutter.project_slug}}.sessions.engines import ENGINES, Engine

from ..servers import HOST

TTL_S = 60.0
TIMEOUT_S = 1.0
PROBES = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
READ = (b"HGETALL", b"get")
CHANGE = (b"EVAL", b"cas ")
"""What a command contains that reads or changes a record; engines differ."""


class Proxy:
    """Passes bytes on between an engine and its server."""

    def __init__(self, port: int) -> None:
        self.connections = self.cuts = 0
        self.port = 0
        """Where the engine connects to."""
        self.cuts_after: tuple[bytes, ...] = ()
        """Cut the connection, once, when the server replies to a command that contains one."""
        self._server_port = port
        self._writers: list[asyncio.StreamWriter] = []
        self._frozen = 0.0
        self._cuts_next = False

    def freeze(self, *, also_new: bool = False) -> None:
        """Pass nothing on any more, as a firewall that forgot the connections, or a server that
        hangs.
        """
        self._frozen = math.inf if also_new else self.connections

    def hang_up(self) -> None:
        """Close all connections, as a server that is restarted."""
        for writer in self._writers:
            writer.close()

    async def serve(self, near: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        far, to_server = await asyncio.open_connection(HOST, self._server_port)
        self._writers += [writer, to_server]
        await asyncio.gather(
            self._pass(number, near, to_server, from_server=False),
            self._pass(number, far, writer, from_server=True),
        )

    async def _pass(
        self,
        number: int,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        *,
        from_server: bool,
    ) -> None:
        while data := await source.read(65536):
            if from_server and self._cuts_next:
                self._cuts_next = False
                self.cuts += 1
                break
            if not from_server and any(part in data for part in self.cuts_after):
                self._cuts_next, self.cuts_after = True, ()
            if number > self._frozen:
                target.write(data)
        target.close()


@asynccontextmanager
async def behind_proxy(
    engine: str, storage: dict[str, Any], timeout_s: float = TIMEOUT_S
) -> AsyncIterator[tuple[Engine, Proxy]]:
    """An engine that reaches its server through a proxy."""
    address = storage["servers"][0] if "servers" in storage else f":{storage.get('port', 0)}"
    proxy = Proxy(int(address.rpartition(":")[2]))
    server = await asyncio.start_server(proxy.serve, HOST, 0)
    port = proxy.port = server.sockets[0].getsockname()[1]
    if "servers" in storage:
        storage = {**storage, "servers": [f"{HOST}:{port}"]}
    elif storage:
        storage = {**storage, "host": HOST, "port": port}
    records = ENGINES[engine].open(storage, "sessions", timeout_s)
    try:
        yield records, proxy
    finally:
        await records.close()
        proxy.hang_up()
        server.close()


@pytest.mark.gen_test
@pytest.mark.parametrize("change", ["write", "end"])
async def test_a_change_whose_reply_is_lost_is_an_error_and_is_not_sent_again(
    engine: str, storage: dict[str, Any], key: str, change: str
) -> None:
    async with behind_proxy(engine, storage) as (records, proxy):
        await records.write(key, {"a": b"1"}, TTL_S, create=True)
        proxy.cuts_after = CHANGE

        async def send() -> None:
            if change == "write":
                await records.write(key, {"a": b"2"}, TTL_S, create=False)
            else:
                await records.end(key, "ended")

        with pytest.raises(StoreUnavailable, match=r"(?i): [^()]*connection (was )?(closed|lost)"):
            await send()
        assert proxy.cuts == 1
        assert proxy.connections == 1


@pytest.mark.gen_test
async def test_a_read_whose_reply_is_lost_is_asked_once_more(
    engine: str, storage: dict[str, Any], key: str
) -> None:
    async with behind_proxy(engine, storage) as (records, proxy):
        await records.write(key, {"a": b"1"}, TTL_S, create=True)
        proxy.cuts_after = READ
        found = await records.load(key)
        assert found is not None
        assert found.fields == {"a": b"1"}
        if engine != "memory":  # which has no connection to lose
            assert proxy.connections == 2


@pytest.mark.gen_test
async def test_a_read_on_a_connection_that_was_forgotten_is_asked_on_another(
    engine: str, storage: dict[str, Any], key: str
) -> None:
    async with behind_proxy(engine, storage) as (records, proxy):
        await records.write(key, {"a": b"1"}, TTL_S, create=True)
        proxy.freeze()
        found = await records.load(key)
        assert found is not None
        assert found.fields == {"a": b"1"}


@pytest.mark.gen_test
async def test_a_connection_that_was_forgotten_is_noticed_while_more_is_asked(
    engine: str, storage: dict[str, Any], key: str
) -> None:
    async with behind_proxy(engine, storage, timeout_s=0.8) as (records, proxy):
        await records.write(key, {"a": b"1"}, TTL_S, create=True)
        proxy.freeze()
        loads = [asyncio.ensure_future(records.load(key))]
        while not loads[0].done():
            loads.append(asyncio.ensure_future(records.load(key)))
            await asyncio.sleep(0.02)
        assert None not in await asyncio.gather(*loads)


@pytest.mark.gen_test
@pytest.mark.parametrize("call", ["load", "write", "end"])
async def test_a_server_that_no_longer_answers_is_an_error_in_bounded_time(
    engine: str, storage: dict[str, Any], key: str, call: str
) -> None:
    async with behind_proxy(engine, storage, timeout_s=0.3) as (records, proxy):
        await records.write(key, {"a": b"1"}, TTL_S, create=True)
        proxy.freeze(also_new=True)
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "load": lambda: records.load(key),
            "write": lambda: records.write(key, {"a": b"2"}, TTL_S, create=False),
            "end": lambda: records.end(key, "ended"),
        }
        begin = asyncio.get_running_loop().time()
        with pytest.raises(StoreUnavailable):
            await calls[call]()
        assert asyncio.get_running_loop().time() - begin < 2
        assert proxy.connections <= 2  # a read is asked on one other, and no more


@pytest.mark.gen_test
async def test_a_change_waits_where_it_was_sent_while_a_read_is_asked_on_another(
    engine: str, storage: dict[str, Any], key: str
) -> None:
    async with behind_proxy(engine, storage, timeout_s=0.4) as (records, proxy):
        await records.write(key, {"a": b"1"}, TTL_S, create=True)
        found = await records.load(key)
        assert found is not None
        proxy.freeze()
        change = asyncio.ensure_future(
            records.write(key, {"a": b"2"}, TTL_S, create=False, seen=found.version)
        )
        await asyncio.sleep(0)
        assert await records.load(key) is not None
        if engine != "memory":  # which has no connection to lose
            with pytest.raises(StoreUnavailable, match=r"no reply within 0\.4 s"):
                await change


@pytest.mark.gen_test
async def test_a_server_that_was_restarted_is_found_again_at_once(
    engine: str, storage: dict[str, Any], key: str
) -> None:
    async with behind_proxy(engine, storage) as (records, proxy):
        await records.write(key, {"a": b"1"}, TTL_S, create=True)
        proxy.hang_up()
        assert await records.load(key) is not None
        assert await records.write(key, {"b": b"2"}, TTL_S, create=False) == {}


@pytest.mark.gen_test
async def test_an_idle_connection_is_kept_alive_by_probes_of_the_system(
    engine: str, storage: dict[str, Any], key: str
) -> None:
    async with behind_proxy(engine, storage) as (records, proxy):
        await records.load(key)
        assert options_to(proxy.port) == [(1, 30, 5, 3)]


def options_to(port: int) -> list[tuple[int, ...]]:
    """Return, of each socket of this process that is connected to `port`, whether the system probes
    it, after how many seconds, how many seconds apart, and how often.
    """
    found = []
    for descriptor in range(3, 1024):
        with contextlib.suppress(OSError):  # no socket, or not connected
            each = socket.socket(fileno=descriptor)
            try:
                if each.family == socket.AF_INET and each.getpeername()[1] == port:
                    probes = each.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                    times = [each.getsockopt(socket.IPPROTO_TCP, option) for option in PROBES]
                    found.append((probes, *times))
            finally:
                each.detach()  # it belongs to somebody else
    return found


def test_one_engine_serves_several_event_loops_in_turn_and_keeps_none(
    engine: str, storage: dict[str, Any], key: str
) -> None:
    records = ENGINES[engine].open(storage, "sessions", TIMEOUT_S)
    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []

    async def use(number: int) -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        await records.write(key, {str(number): b"x"}, TTL_S, create=True)

    for number in range(3):
        asyncio.run(use(number))
    gc.collect()
    assert [loop() is None for loop in loops[:2]] == [True, True]

    async def end() -> None:
        found = await records.load(key)
        assert found is not None
        assert set(found.fields) == {"0", "1", "2"}
        await records.close()

    asyncio.run(end())
