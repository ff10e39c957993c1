"""What every engine promises. One suite for all of them: memory, and the real server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from {{cookiecutter.project_slug}}.sessions import StoreUnavailable
from {{cookiecutter.project_slug}}.sessions.engines import ENGINES, Engine

pytestmark = pytest.mark.gen_test
TTL_S = 60.0


async def test_a_record_that_was_never_saved_is_empty(records: Engine, key: str) -> None:
    assert await records.load(key) == {}


async def test_what_is_saved_is_loaded(records: Engine, key: str) -> None:
    assert await records.save(key, {"a": b"1", "b": b"\x00\xff\r\n"}, TTL_S, create=True)
    assert await records.load(key) == {"a": b"1", "b": b"\x00\xff\r\n"}


async def test_a_name_may_be_any_text(records: Engine, key: str) -> None:
    names = {"": b"1", " \r\n": b"2", "für 名前 🍪": b"3", "x" * 300: b"4"}
    await records.save(key, names, TTL_S, create=True)
    assert await records.load(key) == names


async def test_an_empty_value_is_a_value(records: Engine, key: str) -> None:
    await records.save(key, {"a": b""}, TTL_S, create=True)
    assert await records.load(key) == {"a": b""}


async def test_save_merges_and_none_removes(records: Engine, key: str) -> None:
    await records.save(key, {"a": b"1", "b": b"2", "c": b"3"}, TTL_S, create=True)
    assert await records.save(key, {"a": b"new", "b": None, "absent": None}, TTL_S, create=False)
    assert await records.load(key) == {"a": b"new", "c": b"3"}


async def test_save_without_create_writes_nothing_where_nothing_is(
    records: Engine, key: str
) -> None:
    assert not await records.save(key, {"a": b"1"}, TTL_S, create=False)
    assert await records.load(key) == {}


async def test_save_takes_thousands_of_fields(records: Engine, key: str) -> None:
    fields: dict[str, bytes | None] = {str(number): b"x" for number in range(5000)}
    await records.save(key, fields, TTL_S, create=True)
    assert await records.load(key) == fields


LONG: dict[str, bytes | None] = {f"part{number}": b"x" * 500 for number in range(20)}


async def test_many_small_changes_of_a_long_record_are_all_kept(records: Engine, key: str) -> None:
    await records.save(key, LONG, TTL_S, create=True)
    for number in range(200):
        assert await records.load(key, TTL_S)
        change = {f"small{number % 7}": b"%d" % number}
        assert await records.save(key, change, TTL_S, create=False)
    small = {f"small{number % 7}": b"%d" % number for number in range(200)}
    assert await records.load(key) == {**LONG, **small}


async def test_a_long_record_is_changed_like_any_other(records: Engine, key: str) -> None:
    await records.save(key, LONG, TTL_S, create=True)
    await records.load(key)
    assert await records.save(key, {"a": b"1", "b": b"2"}, TTL_S, create=False)
    assert await records.swap(key, "a", b"1", b"3", TTL_S, create=False)
    await records.load(key)
    assert await records.save(key, {"a": b"4"}, TTL_S, create=False)
    assert not await records.swap(key, "a", b"3", b"5", TTL_S, create=False)
    assert await records.take(key, "a") == {"a": b"4"}
    await records.load(key)
    assert await records.save(key, {"b": None}, TTL_S, create=False)
    assert await records.load(key) == LONG
    await records.load(key)
    assert await records.save(key, {"c": b"6"}, TTL_S, create=False)
    assert await records.take(key) == {**LONG, "c": b"6"}


async def test_a_long_record_that_has_ended_is_not_brought_back(records: Engine, key: str) -> None:
    await records.save(key, LONG, TTL_S, create=True)
    await records.load(key)
    await records.take(key)
    assert not await records.save(key, {"a": b"1"}, TTL_S, create=False)
    assert await records.load(key) == {}


async def test_concurrent_changes_of_a_long_record_keep_all(records: Engine, key: str) -> None:
    await records.save(key, LONG, TTL_S, create=True)

    async def change(name: str) -> None:
        await records.load(key)
        assert await records.save(key, {name: b"x"}, TTL_S, create=False)

    await asyncio.gather(*(change(str(number)) for number in range(50)))
    assert len(await records.load(key)) == len(LONG) + 50


async def test_a_record_without_fields_is_gone(records: Engine, key: str) -> None:
    await records.save(key, {"a": b"1"}, TTL_S, create=True)
    await records.save(key, {"a": None}, TTL_S, create=False)
    assert not await records.save(key, {"b": b"2"}, TTL_S, create=False)


async def test_a_deleted_record_stays_deleted(records: Engine, key: str) -> None:
    await records.save(key, {"a": b"1"}, TTL_S, create=True)
    await records.delete(key)
    assert not await records.save(key, {"b": b"2"}, TTL_S, create=False)
    assert await records.load(key) == {}


async def test_deleting_nothing_is_no_error(records: Engine, key: str) -> None:
    await records.delete(key)


async def test_take_removes_what_it_returns(records: Engine, key: str) -> None:
    await records.save(key, {"a": b"1", "b": b"2"}, TTL_S, create=True)
    assert await records.take(key, "a", "absent") == {"a": b"1"}
    assert await records.take(key, "a") == {}
    assert await records.load(key) == {"b": b"2"}


async def test_take_without_names_removes_everything(records: Engine, key: str) -> None:
    await records.save(key, {"a": b"1", "b": b"2"}, TTL_S, create=True)
    assert await records.take(key) == {"a": b"1", "b": b"2"}
    assert await records.load(key) == {}
    assert await records.take(key) == {}


async def test_one_of_many_takers_gets_a_field(records: Engine, key: str) -> None:
    await records.save(key, {"a": b"1", "b": b"2"}, TTL_S, create=True)
    taken = await asyncio.gather(*(records.take(key, "a") for _ in range(50)))
    assert [each for each in taken if each] == [{"a": b"1"}]


async def test_swap_sets_a_field_that_holds_what_was_expected(records: Engine, key: str) -> None:
    await records.save(key, {"a": b"1"}, TTL_S, create=True)
    assert await records.swap(key, "a", b"1", b"2", TTL_S, create=False)
    assert not await records.swap(key, "a", b"1", b"3", TTL_S, create=False)
    assert await records.load(key) == {"a": b"2"}


async def test_swap_knows_absent_from_empty(records: Engine, key: str) -> None:
    await records.save(key, {"a": b""}, TTL_S, create=True)
    assert not await records.swap(key, "a", None, b"1", TTL_S, create=False)
    assert not await records.swap(key, "b", b"", b"1", TTL_S, create=False)
    assert await records.swap(key, "b", None, b"1", TTL_S, create=False)
    assert await records.swap(key, "a", b"", None, TTL_S, create=False)
    assert await records.load(key) == {"b": b"1"}


async def test_swap_makes_a_record_only_when_told_to(records: Engine, key: str) -> None:
    assert not await records.swap(key, "a", None, b"1", TTL_S, create=False)
    assert await records.swap(key, "a", None, b"1", TTL_S, create=True)
    assert await records.load(key) == {"a": b"1"}


async def test_concurrent_swaps_lose_nothing(records: Engine, key: str) -> None:
    await records.save(key, {"count": b"0"}, TTL_S, create=True)

    async def increment() -> None:
        while True:
            old = (await records.load(key))["count"]
            if await records.swap(key, "count", old, b"%d" % (int(old) + 1), TTL_S, create=False):
                return

    await asyncio.gather(*(increment() for _ in range(30)))
    assert await records.load(key) == {"count": b"30"}


async def test_concurrent_saves_of_different_fields_keep_all(records: Engine, key: str) -> None:
    await records.save(key, {"begin": b""}, TTL_S, create=True)
    saves = (records.save(key, {str(n): b"x"}, TTL_S, create=False) for n in range(100))
    assert all(await asyncio.gather(*saves))
    assert len(await records.load(key)) == 101


async def test_a_record_lives_as_long_as_it_was_last_told(records: Engine, key: str) -> None:
    """All in one, because servers keep a time of their own, for which a test must wait."""
    # servers may count in whole seconds
    life_s = 0.3 if records.name == "memory" else 1.0
    short = ["left", "looked", "extended", "saved", "swapped"]
    for name in short:
        await records.save(f"{key}-{name}", {"a": b"1", "b": b"2"}, life_s, create=True)
    await records.save(f"{key}-taken", {"a": b"1", "b": b"2"}, TTL_S, create=True)
    await records.load(f"{key}-looked")
    await records.load(f"{key}-extended", TTL_S)
    await records.save(f"{key}-saved", {"c": b"3"}, TTL_S, create=False)
    await records.swap(f"{key}-swapped", "a", b"1", b"2", TTL_S, create=False)
    await records.take(f"{key}-taken", "a")
    await records.load(f"{key}-absent", TTL_S)
    await records.save(f"{key}-long", LONG, life_s, create=True)
    await records.load(f"{key}-long")
    await records.save(f"{key}-long", {"a": b"1"}, TTL_S, create=False)
    await records.take(f"{key}-long", "a")
    async with asyncio.timeout(4):
        while await records.load(f"{key}-left") or await records.load(f"{key}-looked"):
            await asyncio.sleep(0.02)
    assert not await records.save(f"{key}-left", {"a": b"1"}, TTL_S, create=False)
    assert not await records.save(f"{key}-absent", {"a": b"1"}, TTL_S, create=False)
    assert await records.load(f"{key}-extended") == {"a": b"1", "b": b"2"}
    assert await records.load(f"{key}-saved") == {"a": b"1", "b": b"2", "c": b"3"}
    assert await records.load(f"{key}-swapped") == {"a": b"2", "b": b"2"}
    assert await records.load(f"{key}-taken") == {"b": b"2"}
    assert await records.load(f"{key}-long") == LONG


async def test_a_life_above_30_days_is_no_date_in_1970(records: Engine, key: str) -> None:
    await records.save(key, {"a": b"1"}, 90 * 24 * 3600.0, create=True)
    assert await records.load(key, 90 * 24 * 3600.0) == {"a": b"1"}
    assert await records.load(key) == {"a": b"1"}


async def test_calls_of_one_tick_fail_and_succeed_each_for_itself(
    records: Engine, key: str
) -> None:
    results = await asyncio.gather(
        records.save(key, {"a": b"1"}, TTL_S, create=True),
        records.load(key + "-none"),
        records.swap(key + "-none", "a", b"1", b"2", TTL_S, create=False),
        records.save(key + "-none", {"a": b"1"}, TTL_S, create=False),
    )
    assert list(results) == [True, {}, False, False]


async def test_what_another_process_has_stored_meanwhile_is_found(
    records: Engine, key: str, engine: str, storage: dict[str, Any]
) -> None:
    if engine == "memory":
        return  # there is no other process
    other = ENGINES[engine].open(storage, "sessions", 2.0)
    await records.save(key, {"old": b"1"}, TTL_S, create=True)
    await records.load(key)
    await other.save(key, {"new": b"2"}, TTL_S, create=False)
    taken = await asyncio.gather(records.take(key, "new"), records.take(key, "old"))
    assert list(taken) == [{"new": b"2"}, {"old": b"1"}]
    await other.close()


async def test_ping_answers(records: Engine) -> None:
    await records.ping()


@pytest.mark.parametrize("call", ["load", "save", "take", "swap", "delete", "ping"])
async def test_a_server_that_is_not_there_is_an_error_not_an_absence(
    engine: str, call: str, unused_storage: dict[str, Any]
) -> None:
    if engine == "memory":
        return  # it is always there
    lonely = ENGINES[engine].open(unused_storage, "sessions", 2.0)
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "load": lambda: lonely.load("k", TTL_S),
        "save": lambda: lonely.save("k", {"a": b"1"}, TTL_S, create=True),
        "take": lambda: lonely.take("k"),
        "swap": lambda: lonely.swap("k", "a", None, b"1", TTL_S, create=True),
        "delete": lambda: lonely.delete("k"),
        "ping": lambda: lonely.ping(),
    }
    with pytest.raises(StoreUnavailable):
        await calls[call]()
    await lonely.close()
