"""Which master the engine takes where the sentinels of a service do not agree, or do not answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.exceptions import ResponseError

from {{cookiecutter.project_slug}}.sessions import StoreUnavailable
from {{cookiecutter.project_slug}}.sessions.engines import ENGINES, Engine

from ..servers import HOST, free_port
from .scripted_redis import SILENCE, Reply, scripted

pytestmark = pytest.mark.gen_test
SERVICE = "mine"
TTL_S = 60.0
TIMEOUT_S = 1.0


def view(
    port: int | None,
    epoch: int = 1,
    *,
    name: str = SERVICE,
    down: int | None = None,
    flags: str = "s_down,o_down",
) -> Reply:
    """Return what a sentinel replies that takes the server at `port` for the master.

    `down`: it has seen the one at that port die, as `flags` say, and has just promoted this one.
    """

    def reply(command: list[bytes]) -> Any:
        match command:
            case [b"SENTINEL", b"MASTERS"]:
                state = {
                    "name": name,
                    "ip": HOST,
                    "port": down or port or 0,
                    "flags": f"master,{flags}" if down else "master",
                    "config-epoch": epoch,
                }
                return [[str(part).encode() for pair in state.items() for part in pair]]
            case [b"SENTINEL", *_]:
                return None if port is None else [HOST.encode(), b"%d" % port]
        return "OK"

    return reply


def silent(command: list[bytes]) -> object:
    return SILENCE if command[0] == b"SENTINEL" else "OK"


@asynccontextmanager
async def found_by(*replies: Reply, timeout_s: float = TIMEOUT_S) -> AsyncIterator[Engine]:
    """An engine that asks sentinels which reply like this."""
    async with scripted(*replies) as sentinels:
        nodes = [(HOST, each.port) for each in sentinels]
        sentinel = {"service": SERVICE, "nodes": nodes, "options": {"protocol": 2}}
        assert ENGINES["redis"].faults({"sentinel": sentinel}) == []
        records = ENGINES["redis"].open({"sentinel": sentinel}, "sessions", timeout_s)
        try:
            yield records
        finally:
            await records.close()


async def test_view_with_the_highest_epoch_counts(storage: dict[str, Any], key: str) -> None:
    old, new = view(free_port(), epoch=9), view(storage["port"], epoch=10)
    for replies in ((old, new), (new, old)):
        async with found_by(*replies) as records:
            assert await records.write(key, {"a": b"1"}, TTL_S, create=True) == {}


async def test_server_that_was_just_promoted_is_found_though_the_old_master_is_down(
    storage: dict[str, Any], key: str
) -> None:
    async with found_by(view(storage["port"], down=free_port())) as records:
        assert await records.write(key, {"a": b"1"}, TTL_S, create=True) == {}


async def test_sentinel_that_does_not_answer_is_not_waited_for(
    storage: dict[str, Any], key: str
) -> None:
    alive, loop = view(storage["port"]), asyncio.get_running_loop()
    for replies in ((silent, alive), (alive, silent)):
        async with found_by(*replies) as records:
            begin = loop.time()
            assert await records.write(key, {"a": b"1"}, TTL_S, create=True) == {}
            assert loop.time() - begin < TIMEOUT_S / 2


@pytest.mark.parametrize("other", [view(1, name="another"), view(None)], ids=["name", "address"])
async def test_sentinel_that_knows_no_master_is_outvoted_by_one_that_does(
    storage: dict[str, Any], key: str, other: Reply
) -> None:
    async with found_by(other, view(storage["port"], epoch=0)) as records:
        assert await records.write(key, {"a": b"1"}, TTL_S, create=True) == {}
    async with found_by(other) as records:
        with pytest.raises(StoreUnavailable) as caught:
            await records.load(key)
        assert "no sentinel knows a master" in caught.value.cause
        assert SERVICE in caught.value.cause


async def test_a_sentinel_that_refuses_is_asked_once(key: str) -> None:
    refuses = ResponseError("LOADING Redis is loading the dataset in memory")
    asked: list[list[bytes]] = []

    def reply(command: list[bytes]) -> Any:
        if command[0] == b"SENTINEL":
            asked.append(command)
            return refuses
        return "OK"

    async with found_by(reply) as records:
        with pytest.raises(StoreUnavailable):
            await records.load(key)
        assert len(asked) == 1


async def test_sentinels_that_do_not_answer_in_time_are_an_error_in_bounded_time(key: str) -> None:
    async with found_by(silent, silent, timeout_s=0.1) as records:
        begin = asyncio.get_running_loop().time()
        with pytest.raises(StoreUnavailable):
            await records.load(key)
        assert asyncio.get_running_loop().time() - begin < 0.5


async def test_sentinels_are_hung_up_on_when_the_engine_is_closed(
    storage: dict[str, Any], key: str
) -> None:
    async with scripted(view(storage["port"])) as (sentinel,):
        nodes = [(HOST, sentinel.port)]
        settings = {"service": SERVICE, "nodes": nodes, "options": {"protocol": 2}}
        records = ENGINES["redis"].open({"sentinel": settings}, "sessions", TIMEOUT_S)
        await records.load(key)
        assert sentinel.connections > 0
        await records.close()
        async with asyncio.timeout(5):
            while sentinel.connections:
                await asyncio.sleep(0)


async def test_server_that_becomes_the_master_is_found_while_the_old_one_still_answers(
    storage: dict[str, Any], key: str
) -> None:
    async with scripted(lambda command: [] if command[0] == b"HGETALL" else "OK") as (new,):
        port = storage["port"]
        async with found_by(lambda command: view(port)(command)) as records:
            await records.write(key, {"a": b"1"}, TTL_S, create=True)
            port = new.port
            async with asyncio.timeout(5):
                while await records.load(key) is not None:
                    await asyncio.sleep(0.01)
                assert "HGETALL" in new.commands
                port = storage["port"]  # and back, so that the order of their ports plays no part
                while await records.load(key) is None:
                    await asyncio.sleep(0.01)


@pytest.mark.parametrize("flags", ["s_down", "s_down,o_down"])
async def test_master_that_a_sentinel_knows_to_be_down_is_not_tried(
    storage: dict[str, Any], key: str, flags: str
) -> None:
    port = storage["port"]
    async with found_by(view(port, down=port, flags=flags)) as records:
        with pytest.raises(StoreUnavailable, match="it is down"):
            await records.load(key)
