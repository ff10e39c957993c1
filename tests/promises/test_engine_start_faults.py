"""What is wrong with a store is told apart, in words, with what to do about it.

`ping` is what the app asks at its start and at /readyz. Each server here is a real one that is
wrong in one way.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from promised.sessions.engines import ENGINES, Engine
from promised.sessions.errors import SessionTooLarge, StoreUnavailable

from .servers import HOST, free_port, started, storage, wait_for

Storage = dict[str, Any]
TIMEOUT_S = 1.0


async def complaint(engine: str, given: Storage, role: str = "sessions") -> StoreUnavailable:
    """What `ping` raises, within its time."""
    assert not ENGINES[engine].faults(given)
    records = ENGINES[engine].open(given, role, TIMEOUT_S)
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable) as caught:
        await records.ping()
    assert time.monotonic() - begun < TIMEOUT_S + 0.3
    await records.close()
    assert "secret" not in str(caught.value)
    return caught.value


@contextmanager
def redis(*options: str, **more: Any) -> Iterator[Storage]:
    with started("redis", *options) as server:
        yield {**server.storage, **more}


@contextmanager
def without_hello() -> Iterator[Storage]:
    with redis("--rename-command", "HELLO", "", protocol=3) as given:
        yield given


@contextmanager
def permitting(*rules: str) -> Iterator[Storage]:
    user = ["--user", "app", "on", ">secret", *rules]
    with redis(*user, username="app", password="secret") as given:
        yield given


@contextmanager
def full() -> Iterator[Storage]:
    with redis("--maxmemory", "1", "--maxmemory-policy", "noeviction") as given:
        yield given


@contextmanager
def a_cluster_node(folder: Path, **more: Any) -> Iterator[Storage]:
    options = ["--cluster-enabled", "yes", "--cluster-port", str(free_port())]
    with started("redis", *options, "--dir", str(folder)) as server:
        assert server.ask("CLUSTER ADDSLOTSRANGE 0 16383").startswith("+OK")
        wait_for(lambda: "cluster_state:ok" in server.ask("CLUSTER INFO"), "the cluster")
        yield {**server.storage, **more}


@contextmanager
def crowded() -> Iterator[Storage]:
    with (
        started("redis", "--maxclients", "1") as server,
        socket.create_connection((HOST, server.port)) as only,
    ):
        only.sendall(b"PING\r\n")
        assert only.recv(100).startswith(b"+PONG")
        yield server.storage


REDIS: dict[str, tuple[Callable[[Path], AbstractContextManager[Storage]], str, str]] = {
    # what is wrong: a server like that, a part of the cause, a part of the cure
    "HELLO": (lambda folder: without_hello(), "refuses HELLO", "'protocol': 2"),
    "password missing": (
        lambda folder: redis("--requirepass", "secret"),
        "wants a password",
        "'password'",
    ),
    "password missing, RESP3": (
        lambda folder: redis("--requirepass", "secret", protocol=3),
        "wants a password",
        "'password'",
    ),
    "password wrong": (
        lambda folder: redis("--requirepass", "other", password="secret"),
        "refuses the password",
        "correct",
    ),
    "password wrong, RESP3": (
        lambda folder: redis("--requirepass", "other", password="secret", protocol=3),
        "refuses the password",
        "correct",
    ),
    "password for nothing": (
        lambda folder: redis(password="secret"),
        "has no password",
        "leave 'password' out",
    ),
    "EVAL renamed": (
        lambda folder: redis("--rename-command", "EVAL", ""),
        "forbids EVAL",
        "permit scripts",
    ),
    "EVAL not permitted": (
        lambda folder: permitting("~*", "+@all", "-eval"),
        "does not permit",
        "+@scripting",
    ),
    "HSET not permitted": (
        lambda folder: permitting("~*", "+@all", "-hset"),
        "does not permit",
        "+@hash",
    ),
    "keys not permitted": (lambda folder: permitting("~x*", "+@all"), "does not permit", "~*"),
    "full": (lambda folder: full(), "is full", "maxmemory"),
    "replica": (
        lambda folder: redis("--replicaof", HOST, str(free_port())),
        "replica",
        "master's address",
    ),
    "no cluster": (
        lambda folder: redis(cluster=True),
        "is not a cluster",
        "leave 'cluster' out",
    ),
    "too many clients": (
        lambda folder: crowded(),
        "hung up",
        "maxclients",
    ),
}


@pytest.mark.parametrize("kind", REDIS)
async def test_redis_that_cannot_serve_says_why(tmp_path: Path, kind: str) -> None:
    server, cause, cure = REDIS[kind]
    with server(tmp_path) as given:
        error = await complaint("redis", given)
        assert cause in error.cause
        assert cure in error.cure
        assert error.address == f"redis://{given['host']}:{given['port']}"


async def test_redis_with_one_database_says_so_for_notifications_alone() -> None:
    with redis("--databases", "1") as given:
        error = await complaint("redis", given, "notifications")
        assert "no such database" in error.cause
        assert "'db_notifications': 0" in error.cure
        for role in ("sessions", "notifications"):
            await _works(ENGINES["redis"].open({**given, "db_notifications": 0}, role, TIMEOUT_S))


async def test_cluster_that_storage_does_not_mention_is_recognised(tmp_path: Path) -> None:
    with a_cluster_node(tmp_path) as given:
        error = await complaint("redis", given, "notifications")
        assert "is a cluster" in error.cause
        assert "'cluster': True" in error.cure


async def test_redis_that_is_loading_says_so(tmp_path: Path) -> None:
    options = ["--dir", str(tmp_path), "--enable-debug-command", "yes"]
    with started("redis", *options) as server:
        assert server.ask("DEBUG POPULATE 20000 filler 100").startswith("+OK")
        assert server.ask("SAVE").startswith("+OK")
    slow = ["--key-load-delay", "200", "--loading-process-events-interval-bytes", "1024"]
    with started("redis", *options, *slow) as server:
        error = await complaint("redis", server.storage)
        assert "loading" in error.cause
        assert error.cure


async def test_redis_that_refuses_hello_works_as_it_is(tmp_path: Path) -> None:
    with without_hello() as given:
        del given["protocol"]
        await _works(ENGINES["redis"].open(given, "sessions", TIMEOUT_S))


async def test_redis_permits_what_the_cure_says() -> None:
    rules = ["+@hash", "+@scripting", "+type", "+del", "+pexpire", "+select", "~*"]
    with permitting(*rules) as given:
        await _works(ENGINES["redis"].open(given, "sessions", TIMEOUT_S))
        await _works(ENGINES["redis"].open(given, "notifications", TIMEOUT_S))


@pytest.mark.parametrize("engine", ["redis", "memcached"])
async def test_store_that_is_not_there_and_one_that_is_silent_are_told_apart(engine: str) -> None:
    error = await complaint(engine, storage(engine, free_port()))
    assert "not there" in error.cause
    assert "start" in error.cure
    with started(engine) as server:
        server.freeze()
        error = await complaint(engine, server.storage)
        assert "no reply within 1 s" in error.cause
        server.thaw()


async def test_host_without_an_address_is_not_there() -> None:
    error = await complaint("redis", {"host": "no-such-host.invalid"})
    assert "not there" in error.cause
    error = await complaint("memcached", {"servers": ["no-such-host.invalid:11211"]})
    assert "not there" in error.cause


async def test_tls_to_a_server_without_it_is_no_endless_wait() -> None:
    with redis(ssl=True, ssl_check_hostname=False, ssl_cert_reqs="none") as given:
        error = await complaint("redis", given)
        assert error.cause


# --- full ------------------------------------------------------------------------------------


async def test_full_redis_still_ends_sessions_and_hands_out_messages() -> None:
    with started("redis", "--maxmemory-policy", "noeviction") as server:
        records = ENGINES["redis"].open(server.storage, "sessions", TIMEOUT_S)
        key, other = secrets.token_hex(8), secrets.token_hex(8)
        await records.write(key, {"a": b"1", "b": b"2"}, 60, create=True)
        assert server.ask("CONFIG SET maxmemory 1").startswith("+OK")
        for create in (True, False):
            with pytest.raises(StoreUnavailable, match="full"):
                await records.write(key, {"a": b"3"}, 60, create=create)
        with pytest.raises(StoreUnavailable, match="full"):
            await records.write(other, {"a": b"3"}, 60, create=True)
        assert await records.write(key, {"a": None}, 60, create=False) == {"a": b"1"}
        assert await records.end(key, "ended") == {"b": b"2"}
        found = await records.load(key)
        assert found is not None
        assert found.ended == "ended"
        assert await records.end(other, "ended") == {}
        await records.close()


@pytest.mark.plain_loop
async def test_full_memcached_still_ends_sessions() -> None:
    with started("memcached", "-M", "-m", "2") as server:
        records = ENGINES["memcached"].open(server.storage, "sessions", TIMEOUT_S)
        written: list[str] = []

        async def fill_up() -> None:
            while len(written) < 100_000:
                key = secrets.token_hex(8)
                await records.write(key, {"a": secrets.token_bytes(20_000)}, 60, create=True)
                written.append(key)

        with pytest.raises(StoreUnavailable, match="out of memory") as caught:
            await fill_up()
        assert caught.value.cure
        # Small items, such as that of a tombstone, lie in pages of their own.
        results: list[object] = []
        for batch in range(40):
            keys = (f"small{batch}-{number}" for number in range(500))
            writes = (records.write(key, {"a": b"1"}, 60, create=True) for key in keys)
            results += await asyncio.gather(*writes, return_exceptions=True)
        assert any(isinstance(result, StoreUnavailable) for result in results)
        for key in written:
            assert len(await records.end(key, "ended")) == 1
            found = await records.load(key)
            assert found is None or found.ended == "ended"
        await records.close()


async def test_record_too_large_for_memcached_leaves_the_old_one() -> None:
    with started("memcached") as server:
        key = secrets.token_hex(8)
        for given in ({}, {"max_item_bytes": 4 * 1024 * 1024}):
            # In the second case the server itself refuses: its limit is lower than the settings say.
            records = ENGINES["memcached"].open({**server.storage, **given}, "sessions", TIMEOUT_S)
            await records.write(key, {"a": b"1"}, 60, create=True)
            with pytest.raises(SessionTooLarge) as caught:
                await records.write(key, {"b": b"x" * 2_000_000}, 60, create=False)
            assert caught.value.size_bytes > 2_000_000
            found = await records.load(key)
            assert found is not None
            assert found.fields == {"a": b"1"}
            await records.close()


async def test_limit_in_the_settings_holds_where_the_server_would_take_more() -> None:
    with started("memcached") as server:
        given = {**server.storage, "max_item_bytes": 10_000}
        records = ENGINES["memcached"].open(given, "sessions", TIMEOUT_S)
        await records.write("key", {"a": b"x" * 9_000}, 60, create=True)
        with pytest.raises(SessionTooLarge) as caught:
            await records.write("key", {"a": b"x" * 10_000}, 60, create=True)
        assert caught.value.size_bytes > 10_000 > caught.value.limit_bytes
        await records.close()


async def test_sessions_and_notifications_are_in_the_databases_of_the_settings() -> None:
    with started("redis") as server:
        port = server.port
        for given, databases in (
            ({"host": HOST, "port": port}, (0, 1)),
            ({"host": HOST, "port": port, "db_sessions": 2, "db_notifications": 3}, (2, 3)),
            ({"url": f"redis://{HOST}:{port}", "db_notifications": 4}, (0, 4)),
            ({"url": f"redis://{HOST}:{port}/5"}, (5, 5)),
        ):
            key = secrets.token_hex(8)
            for role, database in zip(("sessions", "notifications"), databases, strict=True):
                records = ENGINES["redis"].open(given, role, TIMEOUT_S)
                await records.write(f"{key}:{role}", {"a": b"1"}, 60, create=True)
                await records.close()
                found = server.ask(f"SELECT {database}\r\nEXISTS {key}:{role}")
                assert found.splitlines() == ["+OK", ":1"]


async def _works(records: Engine) -> None:
    key = secrets.token_hex(8)
    await records.ping()
    assert await records.write(key, {"a": b"1", "b": b"2"}, 60, create=True) == {}
    assert await records.write(key, {"a": None}, 60, create=False) == {"a": b"1"}
    assert await records.load(key) is not None
    assert await records.end(key, "ended") == {"b": b"2"}
    await records.close()
    await asyncio.sleep(0)
