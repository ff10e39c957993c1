"""Which of several servers keeps a record, how long it does, and what a full one makes of a change.

The servers are scripted: each replies what a test says, and notes what it was asked.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from {{cookiecutter.project_slug}}.sessions import (
    SessionTooLarge,
    StoreUnavailable,
)
from {{cookiecutter.project_slug}}.sessions.engines import ENGINES, Engine

from ..servers import HOST
from .scripted_server import ScriptedServer

pytestmark = pytest.mark.gen_test
DAY_S = 24 * 3600
FULL = b"SERVER_ERROR out of memory storing object"


class Scripted(ScriptedServer):
    """A memcached that keeps the record written last, and replies what a test says."""

    def __init__(self) -> None:
        super().__init__()
        self.says: bytes | None = b"STORED"
        """The reply to a change; None: it is frozen."""
        self.finds = b""
        """The reply to the next read; b"": what it keeps."""
        self.forgets = False
        self._kept = b"", b""
        self.commands: list[list[bytes]] = []
        """The words of each command."""
        self.connections = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        with contextlib.suppress(ConnectionError, EOFError):
            while line := await reader.readline():
                command = line.split()
                self.commands.append(command)
                if command[0] in (b"add", b"cas"):
                    data = await reader.readexactly(int(command[4]) + 2)
                    if self.says == b"STORED" and not self.forgets:
                        self._kept = command[1], data[:-2]
                    reply = self.says
                else:
                    reply, self.finds = self.finds or self._found(command[-1]), b""
                if reply is not None:
                    writer.write(reply + b"\r\n")

    def _found(self, name: bytes) -> bytes:
        kept_name, data = self._kept
        if kept_name != name:
            return b"END"
        return b"VALUE %b 0 %d 1\r\n%b\r\nEND" % (name, len(data), data)


@asynccontextmanager
async def served(*weights: int) -> AsyncIterator[tuple[Engine, list[Scripted]]]:
    """An engine on servers of these weights."""
    servers = [Scripted() for _ in weights]
    async with AsyncExitStack() as stack:
        for each in servers:
            await each.start()
            stack.push_async_callback(each.stop)
        yield await stack.enter_async_context(opened(servers, weights)), servers


@asynccontextmanager
async def opened(servers: list[Scripted], weights: tuple[int, ...]) -> AsyncIterator[Engine]:
    names = [(f"{HOST}:{s.port}", w) for s, w in zip(servers, weights, strict=True)]
    records = ENGINES["memcached"].open({"servers": names}, "sessions", 1.0)
    try:
        yield records
    finally:
        await records.close()


async def places(records: Engine, servers: list[Scripted], count: int) -> list[int]:
    """Return which server each of so many visitors is on, by its place in the list."""
    found = []
    for number in range(count):
        for each in servers:
            each.commands.clear()
        for kind in ("session", "notice", "owner"):
            await records.load(f"app:{kind}:{number}")
        asked = [len(each.commands) for each in servers]
        assert sorted(asked)[:-1] == [0] * (len(servers) - 1)  # one server has it all
        found.append(asked.index(3))
    return found


async def test_servers_share_the_visitors_by_weight() -> None:
    async with served(1, 3) as (records, servers):
        found = await places(records, servers, 200)
        assert 22 < found.count(0) < 80  # 50 with a deviation of 6


async def test_one_more_server_takes_its_share_and_moves_no_other_visitor() -> None:
    async with served(1, 1, 1) as (records, servers):
        after = await places(records, servers, 100)
        async with opened(servers[:2], (1, 1)) as fewer:
            before = await places(fewer, servers[:2], 100)
        assert [b for b, a in zip(before, after, strict=True) if a != 2] == [
            a for a in after if a != 2
        ]
        assert 8 < after.count(2) < 60


@pytest.mark.parametrize(
    ("weights", "frozen", "raises"),
    [
        ((1, 1), 0, False),
        ((1, 1), 1, False),
        ((1, 2), 0, False),
        ((1, 2), 1, True),
        ((2, 1, 1), 0, False),
        ((3, 1, 1), 0, True),
    ],
)
async def test_ping_names_a_server_that_is_frozen_and_raises_if_it_keeps_more_than_half(
    weights: tuple[int, ...], frozen: int, raises: bool
) -> None:
    async with served(*weights) as (records, servers):
        assert await records.ping() == []
        servers[frozen].says = None
        try:
            (error,) = await records.ping(within_s=0.05)
        except StoreUnavailable as raised:
            assert raises
            error = raised
        else:
            assert not raises
        assert error.address == f"memcached://{HOST}:{servers[frozen].port}"
        assert error.cause == "no reply within 0.05 s"


async def test_ping_says_that_a_server_forgets_at_once_what_it_is_given() -> None:
    async with served(1, 1) as (records, servers):
        servers[1].forgets = True
        (error,) = await records.ping()
        assert error.address == f"memcached://{HOST}:{servers[1].port}"
        assert "forgotten" in error.cause
        assert error.cure == "give it more memory"


@pytest.mark.parametrize(
    ("ttl", "told"), [(0.2, 1), (1, 2), (59.5, 60), (30 * DAY_S - 1, 30 * DAY_S)]
)
async def test_a_record_is_given_the_next_whole_second(ttl: float, told: int) -> None:
    async with served(1) as (records, (server,)):
        await records.write("key", {"a": b"1"}, ttl, create=True)
        assert server.commands[-1][3] == b"%d" % told
        await records.end("key", "ended")
        assert server.commands[-1][3] == b"61"


async def test_a_record_without_fields_expires_at_once() -> None:
    async with served(1) as (records, (server,)):
        await records.write("key", {"a": b"1"}, 60, create=True)
        assert await records.write("key", {"a": None}, 60, create=False) == {"a": b"1"}
        assert server.commands[-1][0] == b"cas"
        assert server.commands[-1][3] == b"-1"


async def test_a_life_of_more_than_30_days_is_given_as_a_date(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("time.time", lambda: 1_000_000_000.9)
    async with served(1) as (records, (server,)):
        await records.write("key", {"a": b"1"}, 30 * DAY_S, create=True)
        assert server.commands[-1][3] == b"%d" % (1_000_000_001 + 30 * DAY_S)


async def test_a_life_until_after_2038_ends_at_the_last_date_that_memcached_knows() -> None:
    async with served(1) as (records, (server,)):
        await records.write("key", {"a": b"1"}, 15 * 365 * DAY_S, create=True)
        assert server.commands[-1][3] == b"2147483647"


@pytest.mark.parametrize("says", [b"ERROR", b"CLIENT_ERROR unauthenticated", b"-ERR unknown"])
async def test_what_is_no_reply_of_memcached_is_shown(says: bytes) -> None:
    async with served(1) as (records, (server,)):
        server.says = says
        with pytest.raises(
            StoreUnavailable, match=f"(?s)answers.*{says.decode()}.*is it memcached"
        ):
            await records.write("key", {"a": b"1"}, 60, create=True)


@pytest.mark.parametrize("says", [FULL, b"SERVER_ERROR something else"])
async def test_a_server_that_refuses_a_change_is_an_error_with_its_words(says: bytes) -> None:
    async with served(1) as (records, (server,)):
        server.says = says
        with pytest.raises(StoreUnavailable) as caught:
            await records.write("key", {"a": b"1"}, 60, create=True)
        assert caught.value.cause == says.decode()
        assert ("memory" in caught.value.cure) == (says == FULL)


async def test_a_full_server_expires_what_it_cannot_mark_as_ended() -> None:
    async with served(1) as (records, (server,)):
        server.says = FULL
        assert await records.end("key", "ended") == {}
        assert server.commands[-1] == [b"gats", b"-1", b"key"]
        server.says = b"SERVER_ERROR something else"
        with pytest.raises(StoreUnavailable):
            await records.end("key", "ended")


async def test_a_record_that_the_server_finds_too_large_is_refused_with_what_is_known() -> None:
    async with served(1) as (records, (server,)):
        server.says = b"SERVER_ERROR object too large for cache"
        with pytest.raises(SessionTooLarge) as caught:
            await records.write("key", {"a": b"x" * 1000}, 60, create=True)
        assert 1000 < caught.value.size_bytes < 1100
        assert caught.value.limit_bytes < caught.value.size_bytes


async def test_a_record_that_is_too_large_is_not_sent(key: str) -> None:
    settings: dict[str, Any] = {"max_item_bytes": 1512}
    async with served(1) as (_, (server,)):
        settings["servers"] = [f"{HOST}:{server.port}"]
        records = ENGINES["memcached"].open(settings, "sessions", 1.0)
        overhead = len(b"\x92\x81\xa1a\xc5\x00\x00\xc0")
        await records.write(key, {"a": b"x" * (1000 - overhead)}, 60, create=True)
        assert [command[0] for command in server.commands] == [b"gets", b"add"]
        with pytest.raises(SessionTooLarge) as caught:
            await records.write(key, {"a": b"x" * (1001 - overhead)}, 60, create=True)
        assert (caught.value.size_bytes, caught.value.limit_bytes) == (1001, 1000)
        assert [command[0] for command in server.commands] == [b"gets", b"add", b"gets"]
        await records.close()


@pytest.mark.parametrize(
    "reply",
    [
        b"VALUE other 0 1 1\r\nx\r\nEND",  # to another request
        b"VALUE key 0 1 1\r\nxx\r\nEND",  # longer than it says
        b"VALUE key 0 x 1\r\nx\r\nEND",
        b"VALUE key\r\nEND",
        b"ERROR",
        b"STORED",
    ],
)
async def test_a_reply_that_makes_no_sense_is_an_error_and_ends_the_connection(
    reply: bytes,
) -> None:
    async with served(1) as (records, (server,)):
        server.finds = reply
        with pytest.raises(StoreUnavailable):
            await records.load("key")
        assert await records.load("key") is None
        assert server.connections == 2
