"""How the engine reaches Redis, and what it makes of replies that are errors or no sense at all."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ResponseError

from {{cookiecutter.project_slug}}.sessions import StoreUnavailable
from {{cookiecutter.project_slug}}.sessions.engines import ENGINES, Engine
from {{cookiecutter.project_slug}}.sessions.engines.connection import (
    Connections,
)
from {{cookiecutter.project_slug}}.sessions.engines.redis_connection import (
    RedisConnection,
)

from ..servers import HOST
from .scripted_redis import SILENCE, Scripted, scripted

pytestmark = pytest.mark.gen_test
TTL_S = 60.0


def opened(settings: dict[str, Any], timeout_s: float = 1.0) -> Engine:
    assert ENGINES["redis"].faults(settings) == []
    return ENGINES["redis"].open(settings, "sessions", timeout_s)


def on(server: Scripted, timeout_s: float = 1.0) -> Engine:
    return opened({"host": HOST, "port": server.port}, timeout_s)


@pytest.mark.parametrize("protocol", [2, 3])
async def test_both_protocols_keep_a_record(
    storage: dict[str, Any], key: str, protocol: int
) -> None:
    records = opened({**storage, "protocol": protocol})
    assert await records.load(key) is None
    assert await records.write(key, {"a": b"1", "b": b"2"}, TTL_S, create=True) == {}
    found = await records.load(key)
    assert found is not None and found.fields == {"a": b"1", "b": b"2"}
    assert await records.write(key, {"a": None}, TTL_S, create=False) == {"a": b"1"}
    assert await records.end(key, "ended") == {"b": b"2"}
    found = await records.load(key)
    assert found is not None and found.ended == "ended"
    await records.close()


async def test_a_server_is_reached_on_a_socket(
    storage: dict[str, Any], key: str, tmp_path: Path
) -> None:
    async def serve(near: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far, to_server = await asyncio.open_connection(storage["host"], storage["port"])
        await asyncio.gather(forward(near, to_server), forward(far, writer))

    async def forward(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            target.write(data)
        target.close()

    server = await asyncio.start_unix_server(serve, tmp_path / "redis.sock")
    records = opened({"unix_socket_path": str(tmp_path / "redis.sock")})
    assert await records.write(key, {"a": b"1"}, TTL_S, create=True) == {}
    assert await records.load(key) is not None
    await records.close()
    server.close()


async def test_a_server_that_lets_nobody_in_is_left_alone_for_a_while() -> None:
    says = ResponseError("ERR max number of clients reached")
    async with scripted(lambda command: says) as (server,):
        records = opened({"host": HOST, "port": server.port, "client_name": "app"})
        for _ in range(3):
            with pytest.raises(StoreUnavailable, match="too many clients") as caught:
                await records.load("key")
            assert caught.value.cure == "raise its maxclients"
        assert server.accepted == 1
        await records.close()


async def test_a_password_that_is_refused_is_told_whatever_else_the_server_permits() -> None:
    error = ResponseError("WRONGPASS invalid username-password pair or user is disabled.")
    async with scripted(lambda command: error if command[0] == b"AUTH" else []) as (server,):
        records = opened({"host": HOST, "port": server.port, "password": "wrong"})
        with pytest.raises(StoreUnavailable, match="it refuses the password"):
            await records.load("key")
        assert "HGETALL" not in server.commands
        await records.close()


@pytest.mark.parametrize(
    ("says", "cause", "cure"),
    [
        ("OOM command not allowed", "it is full", "maxmemory"),
        ("NOPERM this user has no permissions", "does not permit", "permit the user"),
        ("MISCONF Redis is configured to save", "cannot write to its disk", "free its disk"),
        ("LOADING Redis is loading the dataset in memory", "is loading", "wait"),
        ("NOAUTH Authentication required.", "wants a password", "'password'"),
        ("CLUSTERDOWN Hash slot not served", "the cluster is down", "CLUSTER INFO"),
        ("ERR something nobody has seen", "something nobody has seen", ""),
    ],
)
async def test_a_request_that_is_refused_fails_with_what_to_do(
    says: str, cause: str, cure: str
) -> None:
    error = ResponseError(says)
    async with scripted(lambda command: error if command[0] == b"EVAL" else "OK") as (server,):
        records = on(server)
        with pytest.raises(StoreUnavailable) as caught:
            await records.write("key", {"a": b"1"}, TTL_S, create=True)
        assert cause in caught.value.cause
        assert cure in caught.value.cure
        assert caught.value.address == f"redis://{HOST}:{server.port}"
        await records.close()


async def test_a_server_that_says_nothing_is_no_reason_to_guess_at_a_cure() -> None:
    async with scripted(lambda command: SILENCE) as (server,):
        records = on(server, timeout_s=0.1)
        for _ in range(2):  # the second one while the server is left alone
            with pytest.raises(StoreUnavailable, match="no reply within") as caught:
                await records.load("key")
            assert caught.value.cure == ""
            await asyncio.sleep(0.02)  # until the connection is lost
        await records.close()


@pytest.mark.parametrize("says", [5, "OK", b"text"])
async def test_a_reply_of_another_kind_ends_the_connection(says: Any) -> None:
    replies = [says]
    async with scripted(
        lambda command: (replies.pop() if replies else []) if command[0] == b"HGETALL" else "OK"
    ) as (server,):
        records = on(server)
        with pytest.raises(StoreUnavailable, match="a reply to another request"):
            await records.load("key")
        assert await records.load("key") is None
        assert server.accepted == 2
        await records.close()


@pytest.mark.parametrize("says", ["READONLY You can't write against a read only replica.", ""])
async def test_a_master_that_became_a_replica_is_left_and_any_other_error_is_not(
    says: str,
) -> None:
    error = ResponseError(says or "ERR something else")
    async with scripted(lambda command: error if command[0] == b"EVAL" else []) as (server,):
        records = on(server)
        with pytest.raises(StoreUnavailable):
            await records.write("key", {"a": b"1"}, TTL_S, create=True)
        assert await records.load("key") is None
        assert server.accepted == (2 if says else 1)
        await records.close()


async def test_a_read_is_answered_though_every_change_beside_it_is_refused() -> None:
    error = ResponseError("NOREPLICAS Not enough good replicas to write.")
    refused = asyncio.Event()
    reads = 0

    async def reply(command: list[bytes]) -> Any:
        nonlocal reads
        if command[0] == b"HGETALL":
            reads += 1
            if reads == 1:
                await refused.wait()
        return error if command[0] == b"EVAL" else []

    async with scripted(reply) as (server,):
        records = on(server)
        changes = [asyncio.ensure_future(records.end(f"key{n}", "ended")) for n in range(3)]
        read = asyncio.ensure_future(records.load("key"))
        for change in await asyncio.gather(*changes, return_exceptions=True):
            assert isinstance(change, StoreUnavailable)
        refused.set()
        assert await read is None
        assert (reads, server.accepted) == (2, 2)
        await records.close()


async def test_a_request_that_is_asked_late_fails_alone_and_its_reply_is_nobody_elses() -> None:
    comes = asyncio.Event()

    async def reply(command: list[bytes]) -> Any:
        if command[0] == b"GET":
            await comes.wait()
        return command[1] if command[0] == b"GET" else "OK"

    async with scripted(reply) as (server,):
        options = {"host": HOST, "port": server.port, "protocol": 2, "db": 0}
        connections = Connections(lambda node: RedisConnection("address", 10.0, options))

        def get(key: bytes, for_s: float) -> asyncio.Future[Any]:
            due = asyncio.get_running_loop().time() + for_s
            command = b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(key), key)
            return connections.request("node", command, (bytes,), due)

        await asyncio.wait([late := get(b"late", 0.2), in_time := get(b"in time", 10)], timeout=0.3)
        with pytest.raises(StoreUnavailable, match="no time is left"):
            await late
        comes.set()
        assert await in_time == b"in time"
        assert server.accepted == 1
        await connections.close()


async def test_a_server_that_answers_everything_too_late_is_left_alone() -> None:
    async def reply(command: list[bytes]) -> Any:
        if command[0] == b"HGETALL":
            await asyncio.sleep(0.05)
        return [] if command[0] == b"HGETALL" else "OK"

    async with scripted(reply) as (server,):
        records = on(server, timeout_s=0.5)
        loads = [asyncio.ensure_future(records.load(f"key{number}")) for number in range(40)]
        await asyncio.wait(loads)  # twice as many as it can answer in time
        with pytest.raises(StoreUnavailable, match="no reply within"):
            await records.load("key")
        assert server.accepted == 1
        await asyncio.sleep(0.6)
        assert await records.load("key") is None
        assert server.accepted == 2
        await records.close()


async def test_a_request_that_is_not_answered_fails_in_time_and_the_others_with_it() -> None:
    async with scripted(lambda command: SILENCE if command[0] == b"EVAL" else []) as (server,):
        records, loop = on(server, timeout_s=0.1), asyncio.get_running_loop()
        begin = loop.time()
        ends = [asyncio.ensure_future(records.end(f"key{n}", "ended")) for n in range(3)]
        await asyncio.sleep(0)
        results = await asyncio.gather(*ends, return_exceptions=True)
        assert 0.09 < loop.time() - begin < 0.5
        for each in results:
            assert isinstance(each, StoreUnavailable)
            assert each.cause == "no reply within 0.1 s"
        await records.close()


async def test_a_connection_on_which_replies_come_is_kept_however_long_one_of_them_takes() -> None:
    comes = {b"first": asyncio.Event(), b"second": asyncio.Event()}

    async def reply(command: list[bytes]) -> Any:
        if command[0] == b"HGETALL":
            await comes[command[1]].wait()
        return [] if command[0] == b"HGETALL" else "OK"

    timeout_s = 2.0  # after a quarter of it, a connection without any reply counts as forgotten
    async with scripted(reply) as (server,):
        records = on(server, timeout_s)
        first = asyncio.ensure_future(records.load("first"))
        second = asyncio.ensure_future(records.load("second"))
        await asyncio.sleep(timeout_s * 0.15)
        comes[b"first"].set()
        assert await first is None
        await asyncio.sleep(timeout_s * 0.15)
        assert server.accepted == 1
        comes[b"second"].set()
        assert await second is None
        await records.close()
