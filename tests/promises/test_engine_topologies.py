"""Several servers, some of which die: Sentinel, a cluster, three memcached.

Each test drives an engine on real servers.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from promised.sessions.engines import ENGINES, Engine
from promised.sessions.errors import StoreUnavailable
from redis.crc import key_slot

from .proxy import before
from .redis_servers import SERVICE, cluster, offset, replicated, sentinels
from .servers import HOST, Server, free_port, started, wait_for

TTL_S = 60.0
VISITORS = 30


@pytest.fixture
def key() -> str:
    """A key that no other test uses."""
    return f"t{secrets.token_hex(8)}:session"


@asynccontextmanager
async def opened(engine: str, timeout_s: float = 2.0, **storage: Any) -> AsyncIterator[Engine]:
    """An engine for the length of a block."""
    assert not ENGINES[engine].faults(storage)
    made = ENGINES[engine].open(storage, "sessions", timeout_s)
    try:
        yield made
    finally:
        await made.close()


async def fill(records: Engine, key: str) -> None:
    for number in range(VISITORS):
        fields = {"value": b"%d" % number}
        assert await records.write(f"{key}:{number}", fields, TTL_S, create=True) == {}


async def served(records: Engine, key: str, timeout_s: float) -> set[int]:
    """The visitors who find their record, and can change it. The others learn so in time."""

    async def visit(number: int) -> bool:
        begun = time.monotonic()
        try:
            found = await records.load(f"{key}:{number}")
            assert found is not None
            assert found.fields["value"] == b"%d" % number
            changes = {"seen": b"x"}
            assert await records.write(f"{key}:{number}", changes, TTL_S, create=False) == {}
        except StoreUnavailable:
            return False
        finally:
            assert time.monotonic() - begun < 2 * timeout_s + 0.3
        return True

    results = await asyncio.gather(*(visit(number) for number in range(VISITORS)))
    return {number for number, result in enumerate(results) if result}


async def all_served(records: Engine, key: str, timeout_s: float, within_s: float) -> float:
    """Return how long it took until everybody was served again."""
    begun = time.monotonic()
    async with asyncio.timeout(within_s):
        while len(await served(records, key, timeout_s)) < VISITORS:
            await asyncio.sleep(0.05)
    return time.monotonic() - begun


# --- Sentinel ---------------------------------------------------------------------------------


@pytest.mark.parametrize("fate", ["dead", "frozen"])
async def test_first_sentinel_of_the_list_is_not_waited_for(
    tmp_path: Path, key: str, fate: str
) -> None:
    with started("redis") as master, sentinels(tmp_path, master, 3) as three:
        sentinel = {"service": SERVICE, "nodes": [(HOST, each.port) for each in three]}
        if fate == "dead":
            three[0].kill()
        else:
            three[0].freeze()
        for _ in range(2):
            async with opened("redis", 1.0, sentinel=sentinel) as records:
                begun = time.monotonic()
                await records.write(key, {"a": b"1"}, TTL_S, create=True)
                assert time.monotonic() - begun < 0.5
        if fate == "frozen":
            three[0].thaw()


async def test_sentinels_that_answer_too_late_are_hung_up_on(tmp_path: Path, key: str) -> None:
    """Three answer at nearly the same time. A connection that is forgotten warns, and so fails."""
    with started("redis") as master, sentinels(tmp_path, master, 3) as three:
        sentinel = {"service": SERVICE, "nodes": [(HOST, each.port) for each in three]}
        for _ in range(50):
            async with opened("redis", sentinel=sentinel) as records:
                await records.load(key)


async def test_no_sentinel_at_all_is_said_in_time(key: str) -> None:
    nodes = [(HOST, free_port()), (HOST, free_port())]
    async with opened("redis", 1.0, sentinel={"service": SERVICE, "nodes": nodes}) as records:
        with pytest.raises(StoreUnavailable, match="no sentinel") as caught:
            await records.load(key)
        assert SERVICE in caught.value.address


async def test_sentinel_that_wants_a_password_is_told_it_and_nobody_else(
    tmp_path: Path, key: str
) -> None:
    with (
        started("redis") as master,
        sentinels(tmp_path, master, 1, "requirepass secret") as (one,),
    ):
        nodes = [(HOST, one.port)]
        for password, works in (("secret", True), ("secret-but-wrong", False)):
            options = {"password": password}
            sentinel = {"service": SERVICE, "nodes": nodes, "options": options}
            async with opened("redis", 1.0, sentinel=sentinel) as records:
                if works:
                    await records.ping()
                else:
                    with pytest.raises(StoreUnavailable) as caught:
                        await records.ping()
                    assert password not in str(caught.value)


async def test_service_that_no_sentinel_knows_is_named(tmp_path: Path, key: str) -> None:
    with started("redis") as master, sentinels(tmp_path, master, 1) as (one,):
        sentinel = {"service": "unknown", "nodes": [(HOST, one.port)]}
        async with opened("redis", 1.0, sentinel=sentinel) as records:
            with pytest.raises(StoreUnavailable, match="'unknown'"):
                await records.load(key)


@pytest.mark.parametrize("fate", ["dead", "frozen"])
async def test_new_master_is_found_after_a_fail_over(tmp_path: Path, key: str, fate: str) -> None:
    with replicated() as (master, replica), sentinels(tmp_path, master, 1) as (one,):
        # Sentinel asks the master for its replicas every ten seconds, and once at the start.
        await asyncio.to_thread(wait_for, lambda: one.knows(replica), "the replica to be known")
        sentinel = {"service": SERVICE, "nodes": [(HOST, free_port()), (HOST, one.port)]}
        async with opened("redis", 0.5, sentinel=sentinel) as records:
            await fill(records, key)
            await asyncio.to_thread(
                wait_for, lambda: offset(master) == offset(replica), "replication"
            )
            if fate == "dead":
                master.kill()
            else:
                master.freeze()
            assert len(await served(records, key, 0.5)) < VISITORS
            await all_served(records, key, 0.5, within_s=20)


async def test_master_that_became_a_replica_is_left_for_the_new_one(key: str) -> None:
    with started("redis") as old, started("redis") as new:
        async with (
            before(old.port) as proxy,
            opened("redis", host=HOST, port=proxy.port) as records,
        ):
            await records.write(key, {"a": b"1"}, TTL_S, create=True)
            old.ask(f"REPLICAOF {HOST} {free_port()}")
            proxy.lead_to(new.port)
            with pytest.raises(StoreUnavailable, match="replica"):
                await records.write(key, {"a": b"2"}, TTL_S, create=True)
            assert await records.write(key, {"a": b"3"}, TTL_S, create=True) == {}


# --- a cluster --------------------------------------------------------------------------------


@pytest.mark.parametrize("full_coverage", ["yes", "no"])
async def test_cluster_serves_everybody_again_after_a_master_has_died(
    tmp_path: Path, key: str, full_coverage: str
) -> None:
    """Without full coverage, the masters that live go on, and nothing they say tells of a change."""
    with cluster(tmp_path, "--cluster-require-full-coverage", full_coverage) as nodes:
        start = {"nodes": [(HOST, nodes[0].port), (HOST, nodes[1].port)], "cluster": True}
        async with opened("redis", 1.0, **start) as records:
            await fill(records, key)
            await records.ping()
            assert await all_served(records, key, 1.0, within_s=5) < 1
            await asyncio.to_thread(wait_for, lambda: _replicated(nodes), "replication")
            nodes[0].kill()  # one of the start nodes, too
            if full_coverage == "yes":  # soon nobody is served
                assert len(await served(records, key, 1.0)) < VISITORS
            else:
                some, lost = await asyncio.gather(served(records, key, 1.0), records.ping())
                assert 0 < len(some) < VISITORS
                assert [str(nodes[0].port) in str(each) for each in lost] == [True]
            await asyncio.to_thread(wait_for, lambda: _masters(nodes[1:]) == 3, "fail-over")
            await all_served(records, key, 1.0, within_s=5)
            await records.ping()
        async with opened("redis", 1.0, **start) as records:
            await all_served(records, key, 1.0, within_s=3)


async def test_slot_that_moves_to_another_master_is_followed(tmp_path: Path) -> None:
    with cluster(tmp_path) as nodes:
        source, target = nodes[:2]
        key = next(key for key in map(str, range(1000)) if key_slot(key.encode()) in _slots(source))
        slot, names = key_slot(key.encode()), [_name(source), _name(target)]
        async with opened("redis", host=HOST, port=source.port, cluster=True) as records:
            # While a slot moves, its master points to the other for a record that it does not have.
            await records.load(key)
            assert "+OK" in target.ask(f"CLUSTER SETSLOT {slot} IMPORTING {names[0]}")
            assert "+OK" in source.ask(f"CLUSTER SETSLOT {slot} MIGRATING {names[1]}")
            assert await records.write(key, {"a": b"1"}, TTL_S, create=True) == {}
            assert await records.write(key, {"b": b"2"}, TTL_S, create=False) == {}
            found = await records.load(key)
            assert found is not None
            assert found.fields == {"a": b"1", "b": b"2"}
            # Now it has moved, and the engine does not know yet.
            for node in (target, source):
                assert "+OK" in node.ask(f"CLUSTER SETSLOT {slot} NODE {names[1]}")
            assert await records.write(key, {"c": b"3"}, TTL_S, create=False) == {}
            assert await records.end(key, "ended") == {"a": b"1", "b": b"2", "c": b"3"}


async def test_cluster_that_storage_does_not_mention_is_recognised(
    tmp_path: Path, key: str
) -> None:
    with cluster(tmp_path) as nodes:
        async with opened("redis", host=HOST, port=nodes[0].port) as records:
            loads = (records.load(f"{key}:{number}") for number in range(VISITORS))
            results = await asyncio.gather(*loads, return_exceptions=True)
            refused = [each for each in results if isinstance(each, StoreUnavailable)]
            assert 0 < len(refused) < VISITORS
            assert all("is a cluster" in each.cause for each in refused)
            assert all("'cluster': True" in each.cure for each in refused)


def _masters(nodes: list[Server]) -> int:
    return sum("role:master" in node.ask("INFO replication") for node in nodes)


def _slots(node: Server) -> range:
    """The slots of a master, which it has in one piece."""
    line = next(line for line in node.ask("CLUSTER NODES").splitlines() if "myself" in line)
    first, _, last = line.split()[8].partition("-")
    return range(int(first), int(last) + 1)


def _name(node: Server) -> str:
    return node.ask("CLUSTER MYID").splitlines()[1]


def _replicated(nodes: list[Server]) -> bool:
    by_role = [node.ask("INFO replication") for node in nodes]
    return all(
        f"offset={said.partition('master_repl_offset:')[2].split()[0]}," in said
        for said in by_role
        if "role:master" in said
    )


# --- several memcached servers -----------------------------------------------------------------


async def test_dead_memcached_server_is_felt_by_its_own_visitors_alone(key: str) -> None:
    with started("memcached") as one, started("memcached") as two, started("memcached") as three:
        servers = [f"{HOST}:{each.port}" for each in (one, two, three)]
        async with opened("memcached", servers=servers) as records:
            await fill(records, key)
            await records.ping()
            before_it = await served(records, key, 2.0)
            assert len(before_it) == VISITORS
            two.kill()
            some = await served(records, key, 2.0)
            assert VISITORS / 4 < len(some) < VISITORS
            begun = time.monotonic()
            assert await served(records, key, 2.0) == some
            assert time.monotonic() - begun < 0.5
            (lost,) = await records.ping()
            assert lost.address == f"memcached://{servers[1]}"
            two.start()
            async with asyncio.timeout(3):
                while await records.ping():
                    await asyncio.sleep(0.05)


@pytest.mark.parametrize("fate", ["dead", "frozen"])
@pytest.mark.parametrize(("weight", "enough"), [(1, False), (2, True)])
async def test_store_is_of_use_while_it_serves_half_of_the_visitors(
    weight: int, enough: bool, fate: str
) -> None:
    with started("memcached") as one, started("memcached") as two, started("memcached") as three:
        servers = [f"{HOST}:{each.port}" for each in (one, two, three)]
        lost = [f"memcached://{each}" for each in servers[1:]]
        first = (servers[0], weight)
        async with opened("memcached", servers=[first, *servers[1:]]) as records:
            for each in (two, three):
                each.kill() if fate == "dead" else each.freeze()
            begun = time.monotonic()
            if enough:
                assert {each.address for each in await records.ping(within_s=0.5)} == set(lost)
            else:
                with pytest.raises(StoreUnavailable) as caught:
                    await records.ping(within_s=0.5)
                assert set(caught.value.address.split(", ")) == set(lost)
            assert time.monotonic() - begun < 1


async def test_frozen_memcached_server_does_not_slow_the_other_visitors(key: str) -> None:
    with started("memcached") as one, started("memcached") as two:
        servers = [f"{HOST}:{each.port}" for each in (one, two)]
        async with opened("memcached", 1.0, servers=servers) as records:
            await fill(records, key)
            two.freeze()
            some = await served(records, key, 1.0)
            assert 0 < len(some) < VISITORS
            begun = time.monotonic()
            assert {
                number for number in some if await records.load(f"{key}:{number}") is not None
            } == some
            assert time.monotonic() - begun < 0.5
            two.thaw()


async def test_all_records_of_a_visitor_are_on_one_server(key: str) -> None:
    with started("memcached") as one, started("memcached") as two, started("memcached") as three:
        three_servers = (one, two, three)
        servers = [f"{HOST}:{each.port}" for each in three_servers]
        async with opened("memcached", servers=servers) as records:
            for number in range(VISITORS):
                visitor = f"{secrets.token_hex(8)}"
                for kind in ("session", "notifications", "other:kind"):
                    await records.write(f"app:{kind}:{visitor}", {"a": b"1"}, TTL_S, create=True)
                held = [_items(server) for server in three_servers]
                assert sum(held) == 3 * (number + 1)
                assert all(count % 3 == 0 for count in held)


async def test_added_memcached_server_takes_over_its_share_and_moves_no_other_record(
    key: str,
) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(started("memcached")) for _ in range(3)]
        names = [f"{HOST}:{each.port}" for each in servers]
        async with opened("memcached", servers=names[:2]) as records:
            for number in range(300):
                await records.write(f"{key}:{number}", {"a": b"1"}, TTL_S, create=True)
        async with opened("memcached", servers=names) as records:
            found = [await records.load(f"{key}:{number}") for number in range(300)]
        kept = sum(each is not None for each in found)
        assert 150 < kept < 250  # two of three


async def test_memcached_servers_share_the_visitors_by_weight(key: str) -> None:
    with started("memcached") as small, started("memcached") as large:
        servers = [f"{HOST}:{small.port}", (f"{HOST}:{large.port}", 3)]
        async with opened("memcached", servers=servers) as records:
            for number in range(400):
                await records.write(f"{key}:{number}", {"a": b"1"}, TTL_S, create=True)
        assert _items(small) + _items(large) == 400
        assert 60 < _items(small) < 140  # a quarter


async def test_memcached_is_reached_on_a_socket(tmp_path: Path, key: str) -> None:
    path = tmp_path / "memcached.sock"
    process = await asyncio.create_subprocess_exec(
        "memcached", "-s", str(path), *(["-u", "root"] if os.geteuid() == 0 else [])
    )
    try:
        await asyncio.to_thread(wait_for, path.exists, "memcached")
        async with opened("memcached", servers=[f"unix:{path}"]) as records:
            await records.ping()
            await records.write(key, {"a": b"1"}, TTL_S, create=True)
            assert await records.load(key) is not None
    finally:
        process.kill()
        await process.wait()


def _items(server: Server) -> int:
    stats = dict(line.split()[1:3] for line in server.ask("stats").splitlines() if "STAT" in line)
    return int(stats["curr_items"])
