"""How the engine finds the node of a Redis Cluster that keeps a key, and what a ping makes of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import pytest
from redis.crc import key_slot

from {{cookiecutter.project_slug}}.sessions import StoreUnavailable
from {{cookiecutter.project_slug}}.sessions.engines import ENGINES, Engine

from ..servers import HOST
from .scripted_redis import SLOTS, Cluster, cluster

pytestmark = pytest.mark.gen_test
TTL_S = 60.0


@asynccontextmanager
async def served(
    storage: dict[str, Any], *, role: str = "sessions", known: int = 2
) -> AsyncIterator[tuple[Engine, Cluster]]:
    """An engine on a cluster that keeps its records in the suite's real server.

    `known`: of how many nodes the settings know.
    """
    async with cluster(storage) as made:
        nodes = [(HOST, node.port) for node in made.nodes[:known]]
        settings = {"cluster": True, "nodes": nodes}
        assert ENGINES["redis"].faults(settings) == []
        records = ENGINES["redis"].open(settings, role, 1.0)
        try:
            yield records, made
        finally:
            await records.close()


def key_in(slot: int, prefix: str) -> str:
    """Return a key of that slot."""
    keys = (f"{prefix}:session:{number}" for number in count())
    return next(key for key in keys if key_slot(key.encode()) == slot)


async def test_each_key_is_asked_of_the_node_that_keeps_its_slot(
    storage: dict[str, Any], key_prefix: str
) -> None:
    async with served(storage) as (records, made):
        for slot, number in ((0, 0), (SLOTS // 2 - 1, 0), (SLOTS // 2, 1), (SLOTS - 1, 1)):
            key = key_in(slot, key_prefix)
            assert await records.write(key, {"a": b"1"}, TTL_S, create=True) == {}
            assert await records.load(key) is not None
            got = made.got()
            assert got[number] == ["EVAL", "HGETALL"]
            assert got[not number] == []


@pytest.mark.parametrize("role", ["sessions", "notifications"])
async def test_everything_is_in_database_0_as_a_cluster_has_no_other(
    storage: dict[str, Any], key: str, role: str
) -> None:
    async with served(storage, role=role) as (records, made):
        assert await records.write(key, {"a": b"1"}, TTL_S, create=True) == {}
        assert {*made.nodes[0].selected, *made.nodes[1].selected} <= {b"0"}


@pytest.mark.parametrize("host", [None, b"", b"?"])
async def test_node_that_does_not_know_its_host_is_where_it_was_asked(
    storage: dict[str, Any], key: str, host: bytes | None
) -> None:
    async with served(storage) as (records, made):
        made.host = host
        assert await records.write(key, {"a": b"1"}, TTL_S, create=True) == {}
        assert sorted(made.got()) == [[], ["EVAL"]]


async def test_slot_that_has_moved_is_followed_and_remembered(
    storage: dict[str, Any], key_prefix: str
) -> None:
    key = key_in(0, key_prefix)
    async with served(storage) as (records, made):
        await records.write(key, {"a": b"1"}, TTL_S, create=True)
        made.got()
        made.swapped = True
        assert await records.load(key) is not None
        assert made.got() == [["HGETALL"], ["ASKING", "HGETALL"]]
        assert await records.load(key) is not None
        assert made.got() == [[], ["HGETALL"]]


async def test_redirect_leads_to_the_host_that_it_names_or_the_same_if_it_names_none(
    storage: dict[str, Any], key_prefix: str
) -> None:
    key = key_in(0, key_prefix)
    async with served(storage) as (records, made):
        await records.write(key, {"a": b"1"}, TTL_S, create=True)
        made.asks = True
        for made.other_host in ("", "?"):
            assert await records.load(key) is not None
        made.other_host = "::1"  # where the nodes do not listen
        with pytest.raises(StoreUnavailable):
            await records.load(key)


async def test_slot_on_its_way_is_asked_of_both_until_it_has_arrived(
    storage: dict[str, Any], key_prefix: str
) -> None:
    key = key_in(0, key_prefix)
    async with served(storage) as (records, made):
        made.asks = True
        for _ in range(2):
            assert await records.write(key, {"a": b"1"}, TTL_S, create=True) == {}
            assert made.got() == [["EVAL"], ["ASKING", "EVAL"]]


async def test_node_that_the_settings_do_not_know_takes_over_for_the_one_that_they_do(
    storage: dict[str, Any], key_prefix: str
) -> None:
    key = key_in(0, key_prefix)
    async with served(storage, known=1) as (records, made):
        await records.write(key, {"a": b"1"}, TTL_S, create=True)
        made.swapped = True
        await made.nodes[0].stop()
        with pytest.raises(StoreUnavailable):
            await records.write(key, {"a": b"2"}, TTL_S, create=False)
        assert await records.write(key, {"a": b"2"}, TTL_S, create=False) == {}


async def test_node_that_has_left_is_not_asked_where_keys_are(
    storage: dict[str, Any], key_prefix: str
) -> None:
    key = key_in(SLOTS - 1, key_prefix)
    async with served(storage, known=1) as (records, made):
        await records.write(key, {"a": b"1"}, TTL_S, create=True)
        assert made.got() == [[], ["EVAL"]]
        made.left, made.first_keeps = made.nodes[1], SLOTS
        for _ in range(2):
            assert await records.load(key) is not None  # it has moved: asks where keys are now
        for asked in (True, False):
            made.nodes[1].commands.clear()
            made.outside = [made.nodes[0]]
            with pytest.raises(StoreUnavailable):
                await records.load(key)
            made.outside = []
            assert await records.load(key) is not None
            assert asked or made.nodes[1].commands == []


async def test_nodes_that_send_a_request_in_a_circle_end_it_after_four_redirects(
    storage: dict[str, Any], key: str
) -> None:
    async with served(storage) as (records, made):
        made.disagree = True
        with pytest.raises(StoreUnavailable):
            await records.load(key)
        assert sum(got.count("HGETALL") for got in made.got()) == 5


async def test_cluster_that_storage_does_not_mention_is_named_and_not_followed(
    storage: dict[str, Any], key_prefix: str
) -> None:
    async with cluster(storage) as made:
        single = {"host": HOST, "port": made.nodes[0].port}
        records = ENGINES["redis"].open(single, "sessions", 1.0)
        with pytest.raises(StoreUnavailable) as caught:
            await records.load(key_in(SLOTS - 1, key_prefix))
        assert "'cluster': True" in caught.value.cure
        assert "CLUSTER" not in made.nodes[0].commands
        assert made.got() == [["HGETALL"], []]
        await records.close()


async def test_node_that_is_in_no_cluster_is_passed_over(storage: dict[str, Any], key: str) -> None:
    async with served(storage) as (records, made):
        made.outside, made.first_keeps = [made.nodes[0]], 0
        assert await records.write(key, {"a": b"1"}, TTL_S, create=True) == {}
        assert made.got() == [[], ["EVAL"]]


async def test_cluster_without_slots_is_down(storage: dict[str, Any], key: str) -> None:
    async with served(storage) as (records, made):
        made.outside = made.nodes
        for call in (records.ping(), records.load(key)):
            with pytest.raises(StoreUnavailable, match="the cluster is down"):
                await call


@pytest.mark.parametrize("number", [0, 1])
async def test_ping_names_a_node_that_is_frozen_and_raises_if_it_keeps_more_than_half(
    storage: dict[str, Any], number: int
) -> None:
    for more in (0, 1):
        async with served(storage) as (records, made):
            made.first_keeps += -more if number else more
            assert await records.ping() == []
            made.frozen = made.nodes[number]
            try:
                (error,) = await records.ping(within_s=0.05)
            except StoreUnavailable as raised:
                error = raised
                assert more
            else:
                assert not more
            assert error.address == f"redis://{HOST}:{made.frozen.port}"
