"""What every engine promises. One suite for all of them: memory, and the real server."""

from __future__ import annotations

import asyncio
import logging
import pickle
import random
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from {{cookiecutter.project_slug}}.sessions.engines import (
    ENGINES,
    Engine,
    Snapshot,
)
from {{cookiecutter.project_slug}}.sessions.engines.base import TOMBSTONE_S
from {{cookiecutter.project_slug}}.sessions.engines.memory import MemoryEngine
from {{cookiecutter.project_slug}}.sessions.errors import StoreUnavailable

pytestmark = pytest.mark.gen_test
ON_A_SERVER = pytest.mark.parametrize("engine", ["{{cookiecutter.engine}}"])
TTL_S = 60.0
Changes = dict[str, bytes | None]


@pytest.fixture(params=["memory", "{{cookiecutter.engine}}"])
def engine(request: pytest.FixtureRequest) -> str:
    """All of this holds on either engine."""
    return str(request.param)


async def create(records: Engine, key: str, **fields: bytes) -> None:
    assert await records.write(key, fields, TTL_S, create=True) == {}


async def fields_of(records: Engine, key: str) -> dict[str, bytes] | None:
    """What the record holds, or None if there is none, not even an ended one."""
    found = await records.load(key)
    return None if found is None else found.fields


async def test_record_never_written_is_not_there(records: Engine, key: str) -> None:
    assert await records.load(key) is None


async def test_what_is_written_is_loaded(records: Engine, key: str) -> None:
    await create(records, key, a=b"1", b=b"\x00\xff\r\nEND\r\n")
    found = await records.load(key)
    assert found is not None
    assert found.fields == {"a": b"1", "b": b"\x00\xff\r\nEND\r\n"}
    assert found.ended is None


async def test_name_may_be_any_text(records: Engine, key: str) -> None:
    names: Changes = {"": b"1", " \r\n": b"2", "für 名前 🍪": b"3", "x" * 300: b"4", "ÿ": b"5"}
    await records.write(key, names, TTL_S, create=True)
    assert await fields_of(records, key) == names
    assert await records.write(key, dict.fromkeys(names), TTL_S, create=False) == names


async def test_key_may_be_any_text(records: Engine, key: str) -> None:
    for odd in (f"{key} \r\n", f"{key}ü", f"{key}{'x' * 300}", f"{key}{'x' * 300}y"):
        await create(records, odd, a=odd.encode())
        assert await fields_of(records, odd) == {"a": odd.encode()}


async def test_empty_value_is_a_value(records: Engine, key: str) -> None:
    await create(records, key, a=b"")
    assert await fields_of(records, key) == {"a": b""}


async def test_write_merges_and_none_removes(records: Engine, key: str) -> None:
    await create(records, key, a=b"1", b=b"2", c=b"3")
    changes: Changes = {"a": b"new", "b": None, "absent": None}
    assert await records.write(key, changes, TTL_S, create=False) == {"b": b"2"}
    assert await fields_of(records, key) == {"a": b"new", "c": b"3"}


async def test_write_without_create_writes_nothing_if_there_is_no_record(
    records: Engine, key: str
) -> None:
    assert await records.write(key, {"a": b"1"}, TTL_S, create=False) is None
    assert await records.load(key) is None


async def test_removal_from_no_record_finds_nothing(records: Engine, key: str) -> None:
    assert await records.write(key, {"a": None}, TTL_S, create=True) == {}
    assert await records.write(key, {"a": None}, TTL_S, create=False) is None
    assert await records.load(key) is None


async def test_record_without_fields_is_gone(records: Engine, key: str) -> None:
    await create(records, key, a=b"1")
    assert await records.write(key, {"a": None}, TTL_S, create=False) == {"a": b"1"}
    assert await records.load(key) is None
    assert await records.write(key, {"b": b"2"}, TTL_S, create=False) is None
    await create(records, key, c=b"3")
    assert await fields_of(records, key) == {"c": b"3"}


async def test_thousands_of_fields_are_written_and_removed(records: Engine, key: str) -> None:
    fields: Changes = {str(number): b"x" for number in range(5000)}
    await records.write(key, fields, TTL_S, create=True)
    assert await fields_of(records, key) == fields
    assert await records.write(key, dict.fromkeys(fields), TTL_S, create=False) == fields


async def test_large_value_is_kept(records: Engine, key: str) -> None:
    large = random.randbytes(800_000)
    await create(records, key, large=large, small=b"1")
    assert await records.write(key, {"small": b"2"}, TTL_S, create=False) == {}
    assert await fields_of(records, key) == {"large": large, "small": b"2"}


@pytest.mark.parametrize(
    ("expect", "holds"),
    [
        ({"a": b"1"}, True),
        ({"a": b"1", "b": b""}, True),
        ({"absent": None}, True),
        ({"a": b"2"}, False),
        ({"a": b"1", "b": b"1"}, False),
        ({"a": None}, False),
        ({"b": None}, False),
        ({"absent": b""}, False),
    ],
)
async def test_write_happens_only_if_the_fields_hold_what_is_expected(
    records: Engine, key: str, expect: Changes, holds: bool
) -> None:
    await create(records, key, a=b"1", b=b"")
    removed = await records.write(key, {"a": None, "c": b"3"}, TTL_S, create=False, expect=expect)
    assert removed == ({"a": b"1"} if holds else None)
    after = {"b": b"", "c": b"3"} if holds else {"a": b"1", "b": b""}
    assert await fields_of(records, key) == after


async def test_expectation_of_a_value_creates_no_record(records: Engine, key: str) -> None:
    write = records.write
    assert await write(key, {"a": b"2"}, TTL_S, create=True, expect={"a": b"1"}) is None
    assert await records.load(key) is None
    assert await write(key, {"a": b"1"}, TTL_S, create=True, expect={"a": None}) == {}
    assert await write(key, {"a": b"2"}, TTL_S, create=True, expect={"a": b"1"}) == {}
    assert await fields_of(records, key) == {"a": b"2"}


async def test_ended_record_is_a_tombstone(records: Engine, key: str) -> None:
    await create(records, key, a=b"1", b=b"2")
    assert await records.end(key, "moved") == {"a": b"1", "b": b"2"}
    found = await records.load(key)
    assert found is not None
    assert (found.fields, found.ended) == ({}, "moved")


async def test_no_write_brings_an_ended_record_back(records: Engine, key: str) -> None:
    await create(records, key, a=b"1")
    seen = await records.load(key)
    assert seen is not None
    await records.end(key, "ended")
    for may_create in (False, True):
        for changes in ({"a": b"1"}, {"a": None}, {}):
            for version in (None, seen.version):
                assert (
                    await records.write(key, changes, TTL_S, create=may_create, seen=version)
                    is None
                )
    expect: Changes = {"a": None}
    assert await records.write(key, {"a": b"1"}, TTL_S, create=True, expect=expect) is None
    assert await records.load(key) == Snapshot({}, _version(await records.load(key)), "ended")


async def test_record_that_never_was_can_be_ended(records: Engine, key: str) -> None:
    assert await records.end(key, "ended") == {}
    assert await records.write(key, {"a": b"1"}, TTL_S, create=True) is None


async def test_first_reason_of_an_end_stays(records: Engine, key: str) -> None:
    await create(records, key, a=b"1")
    await records.end(key, "moved")
    assert await records.end(key, "ended") == {}
    found = await records.load(key)
    assert found is not None
    assert found.ended == "moved"


async def test_one_of_many_that_end_a_record_gets_what_it_held(records: Engine, key: str) -> None:
    await create(records, key, a=b"1")
    held = await asyncio.gather(*(records.end(key, str(number)) for number in range(30)))
    assert [each for each in held if each] == [{"a": b"1"}]


async def test_write_that_meets_an_end_is_before_it_or_not_at_all(
    records: Engine, key: str
) -> None:
    await create(records, key, start=b"")
    writes = [records.write(key, {str(n): b"x"}, TTL_S, create=True) for n in range(20)]
    results = await asyncio.gather(*writes[:10], records.end(key, "ended"), *writes[10:])
    held = results[10]
    written = [n for n, result in enumerate([*results[:10], *results[11:]]) if result is not None]
    assert held is not None
    assert held.keys() == {"start", *map(str, written)}
    found = await records.load(key)
    assert found is not None
    assert found.ended == "ended"


async def test_one_of_many_that_remove_a_field_gets_its_value(records: Engine, key: str) -> None:
    await create(records, key, a=b"1", b=b"2")
    removed = await asyncio.gather(
        *(records.write(key, {"a": None}, TTL_S, create=False) for _ in range(50))
    )
    assert [each for each in removed if each] == [{"a": b"1"}]


async def test_each_of_20_messages_reaches_one_of_10_takers(records: Engine, key: str) -> None:
    messages: Changes = {str(number): b"%d" % number for number in range(20)}
    await records.write(key, messages, TTL_S, create=True)
    taken: list[bytes] = []

    async def take() -> None:
        while (found := await records.load(key)) is not None:
            changes = dict.fromkeys(found.fields)
            removed = await records.write(key, changes, TTL_S, create=False, seen=found.version)
            taken.extend((removed or {}).values())

    await asyncio.gather(*(take() for _ in range(10)))
    assert sorted(taken) == sorted(value for value in messages.values() if value is not None)


async def test_200_concurrent_writes_of_different_fields_are_all_kept(
    records: Engine, key: str
) -> None:
    await create(records, key, start=b"")
    found = await records.load(key)
    assert found is not None
    results = await asyncio.gather(
        *(
            records.write(key, {str(n): b"x"}, TTL_S, create=False, seen=found.version)
            for n in range(200)
        )
    )
    assert results == [{}] * 200
    assert len(await fields_of(records, key) or {}) == 201


async def test_concurrent_first_writes_are_all_kept(records: Engine, key: str) -> None:
    await asyncio.gather(
        *(records.write(key, {str(n): b"x"}, TTL_S, create=True) for n in range(50))
    )
    assert len(await fields_of(records, key) or {}) == 50


async def test_read_modify_writes_at_once_lose_nothing(records: Engine, key: str) -> None:
    await create(records, key, count=b"0")

    async def increment() -> None:
        while True:
            found = await records.load(key)
            assert found is not None
            old = found.fields["count"]
            changes = {"count": b"%d" % (int(old) + 1)}
            expect = {"count": old}
            if (
                await records.write(
                    key, changes, TTL_S, create=False, expect=expect, seen=found.version
                )
                is not None
            ):
                return

    await asyncio.gather(*(increment() for _ in range(40)))
    assert await fields_of(records, key) == {"count": b"40"}


async def test_version_that_is_out_of_date_does_no_harm(records: Engine, key: str) -> None:
    await create(records, key, a=b"1")
    seen = await records.load(key)
    assert seen is not None
    await records.write(key, {"b": b"2"}, TTL_S, create=False)
    assert await records.write(key, {"c": b"3"}, TTL_S, create=False, seen=seen.version) == {}
    assert await fields_of(records, key) == {"a": b"1", "b": b"2", "c": b"3"}
    changes: Changes = {"a": b"2"}
    await records.write(key, changes, TTL_S, create=False)
    expect: Changes = {"a": b"2"}
    write = records.write
    changes = {"a": b"3"}
    assert await write(key, changes, TTL_S, create=False, expect=expect, seen=seen.version) == {}
    await records.write(key, {"a": None, "b": None, "c": None}, TTL_S, create=False)
    changes = {"d": b"4"}
    assert await records.write(key, changes, TTL_S, create=False, seen=seen.version) is None
    assert await records.load(key) is None


async def test_loaded_record_is_a_copy(records: Engine, key: str) -> None:
    await create(records, key, a=b"1")
    found = await records.load(key)
    assert found is not None
    found.fields["a"] = b"2"
    assert await records.write(key, {"b": b"3"}, TTL_S, create=False, seen=found.version) == {}
    assert await fields_of(records, key) == {"a": b"1", "b": b"3"}


async def test_record_lives_as_long_as_its_last_write_said(records: Engine, key: str) -> None:
    """All cases in one test, because servers have a clock of their own, to be waited for."""
    life_s = 0.3
    for name in ("left", "looked", "longer", "removed", "refused"):
        await records.write(f"{key}-{name}", {"a": b"1", "b": b"2"}, life_s, create=True)
    await records.write(f"{key}-shorter", {"a": b"1"}, TTL_S, create=True)
    await records.write(f"{key}-shorter", {"a": b"2"}, life_s, create=False)
    await records.load(f"{key}-looked")
    await records.write(f"{key}-longer", {}, TTL_S, create=False)
    await records.write(f"{key}-removed", {"a": None}, TTL_S, create=False)
    refused = await records.write(
        f"{key}-refused", {"a": b"3"}, TTL_S, create=False, expect={"a": b"0"}
    )
    assert refused is None
    async with asyncio.timeout(4):
        for name in ("left", "looked", "shorter", "refused"):
            while await records.load(f"{key}-{name}") is not None:
                await asyncio.sleep(0.02)
    assert await records.write(f"{key}-left", {"a": b"1"}, TTL_S, create=False) is None
    assert await fields_of(records, f"{key}-longer") == {"a": b"1", "b": b"2"}
    assert await fields_of(records, f"{key}-removed") == {"b": b"2"}


async def test_life_above_30_days_is_no_date_in_1970(records: Engine, key: str) -> None:
    await records.write(key, {"a": b"1"}, 90 * 24 * 3600.0, create=True)
    assert await records.write(key, {"b": b"2"}, 90 * 24 * 3600.0, create=False) == {}
    assert await fields_of(records, key) == {"a": b"1", "b": b"2"}


async def test_requests_of_one_tick_succeed_and_fail_each_for_itself(
    records: Engine, key: str
) -> None:
    results = await asyncio.gather(
        records.write(key, {"a": b"1"}, TTL_S, create=True),
        records.load(f"{key}-none"),
        records.write(f"{key}-none", {"a": b"2"}, TTL_S, create=False, expect={"a": b"1"}),
        records.end(f"{key}-none", "ended"),
    )
    assert [*results] == [{}, None, None, {}]


async def test_cancelled_callers_do_not_disturb_the_others(records: Engine, key: str) -> None:
    for number in range(20):
        await create(records, f"{key}-{number}", value=b"%d" % number)
    for _ in range(5):
        loads = [asyncio.ensure_future(records.load(f"{key}-{n}")) for n in range(20)]
        await asyncio.sleep(0)
        for each in loads[::2]:
            each.cancel()
        found = await asyncio.gather(*loads, return_exceptions=True)
        for number, each_found in enumerate(found):
            if isinstance(each_found, Snapshot):
                assert each_found.fields == {"value": b"%d" % number}
            else:
                assert number % 2 == 0
                assert isinstance(each_found, asyncio.CancelledError)


async def test_engine_can_be_used_after_close(records: Engine, key: str) -> None:
    await create(records, key, a=b"1")
    await records.close()
    await records.close()
    assert await fields_of(records, key) == {"a": b"1"}


async def test_close_waits_for_the_requests_under_way(records: Engine, key: str) -> None:
    writes = [
        asyncio.ensure_future(records.write(key, {str(n): b"x"}, TTL_S, create=True))
        for n in range(5)
    ]
    await asyncio.sleep(0)
    await records.close()
    assert await asyncio.gather(*writes) == [{}] * 5


@ON_A_SERVER
async def test_what_another_process_wrote_meanwhile_is_found(
    records: Engine, key: str, engine: str, storage: dict[str, Any]
) -> None:
    other = ENGINES[engine].open(storage, "sessions", 2.0)
    await create(records, key, old=b"1")
    seen = await records.load(key)
    assert seen is not None
    await other.write(key, {"new": b"2"}, TTL_S, create=False)
    changes: Changes = {"new": None, "old": None}
    removed = await records.write(key, changes, TTL_S, create=False, seen=seen.version)
    assert removed == {"new": b"2", "old": b"1"}
    await other.close()


async def test_ping_answers(records: Engine) -> None:
    await records.ping()


FOREIGN = {
    "text": b"hello",
    "pickle": pickle.dumps({"a": b"1"}),
    "empty": b"",
    "map": b"\x81\xa1a",
    "flagged": b"\x92\x81\xa1a\xc4\x011\xc0",  # like a record, were it not for the item's flags
}


@ON_A_SERVER
@pytest.mark.parametrize("kind", FOREIGN)
async def test_foreign_content_is_not_there_and_can_be_replaced(
    records: Engine, key: str, storage: dict[str, Any], kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    await put_foreign(storage, key, FOREIGN[kind], flags=int(kind == "flagged"))
    with caplog.at_level(logging.WARNING):
        assert await records.load(key) is None
    assert len(caplog.records) == 1
    assert await records.write(key, {"a": b"1"}, TTL_S, create=False) is None
    assert await records.write(key, {"a": b"1"}, TTL_S, create=True, expect={"a": b"0"}) is None
    assert await records.load(key) is None
    assert await records.write(key, {"a": b"1"}, TTL_S, create=True, expect={"a": None}) == {}
    assert await fields_of(records, key) == {"a": b"1"}


@ON_A_SERVER
async def test_foreign_content_can_be_ended(
    records: Engine, key: str, storage: dict[str, Any]
) -> None:
    await put_foreign(storage, key, b"hello")
    assert await records.end(key, "ended") == {}
    assert await records.write(key, {"a": b"1"}, TTL_S, create=True) is None


@ON_A_SERVER
@pytest.mark.parametrize("call", ["load", "write", "end", "ping"])
async def test_server_that_is_not_there_is_an_error_not_an_absence(
    engine: str, call: str, unused_storage: dict[str, Any]
) -> None:
    lonely = ENGINES[engine].open(unused_storage, "sessions", 2.0)
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "load": lambda: lonely.load("k"),
        "write": lambda: lonely.write("k", {"a": b"1"}, TTL_S, create=True),
        "end": lambda: lonely.end("k", "ended"),
        "ping": lambda: lonely.ping(),
    }
    for _ in range(2):  # the second at once: it does not wait again
        with pytest.raises(StoreUnavailable) as caught:
            await calls[call]()
        assert "not there" in caught.value.cause
        assert "start" in caught.value.cure
    await lonely.close()


def _version(found: Snapshot | None) -> Any:
    assert found is not None
    return found.version


async def put_foreign(storage: dict[str, Any], key: str, value: bytes, flags: int = 0) -> None:
    """Store what another program might, in the server's own language."""
    if "servers" in storage:
        host, port = storage["servers"][0].rsplit(":", 1)
        command = b"set %b %d 60 %d\r\n%b\r\n" % (key.encode(), flags, len(value), value)
    else:
        host, port = storage["host"], storage["port"]
        command = b"*3\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (
            len(key),
            key.encode(),
            len(value),
            value,
        )
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(command)
    assert await reader.readline() in (b"STORED\r\n", b"+OK\r\n")
    writer.close()
    await writer.wait_closed()


class Clock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


async def test_memory_forgets_a_tombstone_after_its_time() -> None:
    clock = Clock()
    records = MemoryEngine(clock)
    await create(records, "key", a=b"1")
    await records.end("key", "ended")
    clock.now_s += TOMBSTONE_S - 1
    assert await records.write("key", {"a": b"1"}, TTL_S, create=True) is None
    clock.now_s += 1
    assert await records.load("key") is None
    await create(records, "key", a=b"1")


async def test_memory_lets_go_of_what_has_expired() -> None:
    clock = Clock()
    records = MemoryEngine(clock)
    value = random.randbytes(100)
    references = sys.getrefcount(value)
    await create(records, "key", a=value)
    assert sys.getrefcount(value) > references
    clock.now_s += TTL_S + 1
    await records.load("another key")  # any request does, once a minute
    assert sys.getrefcount(value) == references


async def test_2000_random_interleavings_keep_every_promise_on_memory() -> None:
    """Actors that load, then write what they have seen: the sum of all that succeeded is there."""
    for seed in range(2000):
        dice = random.Random(seed)
        records = MemoryEngine(Clock())
        await create(records, "key", count=b"0", message=b"m")
        done: list[str] = []
        actors = [
            _actor(records, dice.choice(["count", "set", "take", "end"]), number, done)
            for number in range(4)
        ]
        while actors:
            actor = dice.choice(actors)
            try:
                actor.send(None)
            except StopIteration:
                actors.remove(actor)
        found = await records.load("key")
        assert found is not None
        assert done.count("end") <= 1 and done.count("take") <= 1
        if found.ended is not None:
            assert "end" in done and not found.fields
        else:
            assert found.fields["count"] == b"%d" % done.count("count")
            assert ("message" in found.fields) != ("take" in done)
            assert {n for n in done if n.startswith("set")} == {
                n for n in found.fields if n.startswith("set")
            }


def _actor(records: MemoryEngine, kind: str, number: int, done: list[str]) -> Any:
    """A coroutine that stops between its trips, as one on a server does."""

    class Trip:
        def __await__(self) -> Any:
            yield

    async def act() -> None:
        await Trip()
        found = await records.load("key")
        await Trip()
        if found is None or found.ended is not None:
            return
        changes: Changes
        if kind == "end":
            if await records.end("key", "ended"):
                done.append("end")
        elif kind == "count":
            expect = {"count": found.fields["count"]}
            changes = {"count": b"%d" % (int(found.fields["count"]) + 1)}
            result = await records.write("key", changes, TTL_S, create=False, expect=expect)
            done.extend(["count"] * (result is not None))
        elif kind == "take":
            done.extend(
                ["take"] * bool(await records.write("key", {"message": None}, TTL_S, create=False))
            )
        else:
            changes = {f"set{number}": b"x"}
            result = await records.write("key", changes, TTL_S, create=False)
            done.extend([f"set{number}"] * (result is not None))

    return act()


def test_memory_engine_has_no_settings() -> None:
    assert MemoryEngine.faults({}) == []
    assert "'host'" in MemoryEngine.faults({"host": "store"})[0]
