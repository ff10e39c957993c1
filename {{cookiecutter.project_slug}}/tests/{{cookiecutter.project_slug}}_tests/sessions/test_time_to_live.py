"""How long the store keeps a record, and when a use is noted, to the second."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from {{cookiecutter.project_slug}}.sessions import Owner, Store

from .conftest import ON_MEMORY, Clock, MakeBrowser, Script, messages_of, run, value_of

pytestmark = pytest.mark.gen_test
DAY_S = 24 * 3600
KINDS = ("session", "notice", "owner")


@pytest.fixture
def lives(store: Store, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[float]]:
    """For how many seconds each kind of record was told to live, one number for each write."""
    lives: dict[str, list[float]] = {kind: [] for kind in KINDS}

    def watched(write: Callable[..., Any]) -> Callable[..., Any]:
        async def watch(key: str, changes: Any, ttl: float, **options: Any) -> Any:
            lives[key.split(":")[1]].append(ttl)
            return await write(key, changes, ttl, **options)

        return watch

    for records in (store.sessions, store.notifications):
        monkeypatch.setattr(records, "write", watched(records.write))
    return lives


def change(handler: Script) -> None:
    handler.session["n"] = handler.session.get("n", 0) + 1


def tell(handler: Script) -> None:
    handler.notifications.add("hello")


async def begin(handler: Script) -> None:
    handler.session.owner = "ada"
    change(handler)


async def test_records_live_for_the_idle_timeout_and_the_list_for_the_longest_session(
    make_browser: MakeBrowser, lives: dict[str, list[float]]
) -> None:
    browser = make_browser()
    await run(browser, begin)
    await run(browser, tell)
    assert lives == {"session": [DAY_S] * 2, "notice": [DAY_S], "owner": [30 * DAY_S]}


async def test_a_record_lives_no_longer_than_what_is_left_of_the_absolute_limit(
    make_browser: MakeBrowser, clock: Clock, lives: dict[str, list[float]]
) -> None:
    browser = make_browser(clock=clock)

    def remembered(handler: Script) -> None:
        change(handler)
        handler.session.remember(30)

    await run(browser, remembered)
    clock.advance(30 * DAY_S - 100)
    lives["session"].clear()
    await run(browser, change)
    await run(browser, tell)
    assert [*lives["session"], *lives["notice"]] == pytest.approx([100] * 3, abs=2)
    cookie = browser.session_cookie
    assert cookie is not None and cookie.expires == pytest.approx(clock() + 100, abs=2)


@ON_MEMORY
@pytest.mark.parametrize("lengthens", ["use", "a longer life"])
async def test_a_message_waits_as_long_as_its_session_lives(
    make_browser: MakeBrowser, clock: Clock, lengthens: str
) -> None:
    browser = make_browser(clock=clock)
    await run(browser, tell)
    if lengthens == "use":
        for _ in range(30):
            clock.advance(3600)
            await run(browser, lambda handler: handler.write("no look for messages"))
    else:
        await run(browser, lambda handler: handler.session.remember(20))
        clock.advance(3 * DAY_S)
    assert await messages_of(browser) == ["hello"]


async def test_a_session_with_less_than_a_second_left_is_written_for_one(
    make_browser: MakeBrowser, clock: Clock, lives: dict[str, list[float]]
) -> None:
    browser = make_browser()
    await run(browser, change)

    def late(handler: Script) -> None:
        clock.advance(30 * DAY_S - 0.5)
        change(handler)

    lives["session"].clear()
    assert (await run(browser, late)).status == 200
    assert lives["session"] == [1]


async def test_a_session_is_over_at_the_very_moment_of_the_absolute_limit(
    make_browser: MakeBrowser, store: Store
) -> None:
    begun = store.clock()
    for age_s, kept in ((30 * DAY_S - 1, 1), (30 * DAY_S, "absent")):
        browser = make_browser()
        store.clock = lambda: begun
        await run(browser, change)
        store.clock = lambda age_s=age_s: begun + age_s  # type: ignore[misc]
        assert await value_of(browser, "n") == kept


async def test_what_comes_from_elsewhere_leaves_a_session_the_life_it_has(
    make_browser: MakeBrowser, store: Store, clock: Clock, lives: dict[str, list[float]]
) -> None:
    await run(make_browser(), begin)
    clock.advance(DAY_S - 1000)
    for kind in KINDS:
        lives[kind].clear()
    await Owner(store, "ada").notify("hello")
    assert [*lives["session"], *lives["notice"]] == pytest.approx([1000] * 2, abs=2)
    clock.advance(29 * DAY_S)  # the store still has it: it was our clock that was set
    await Owner(store, "ada").set("plan", "paid")
    assert lives["session"][1:] == pytest.approx([1000], abs=2)


@pytest.mark.parametrize(
    ("idle_s", "every_s"),
    [(None, 60), (20 * DAY_S, 60), (6000, 60), (5900, 59), (1000, 10), (150, 1.5), (50, 0.5)],
)
async def test_a_use_is_noted_once_a_minute_or_in_a_hundredth_of_the_idle_limit(
    make_browser: MakeBrowser,
    store: Store,
    lives: dict[str, list[float]],
    idle_s: float | None,
    every_s: float,
) -> None:
    now = store.clock()
    store.clock = lambda: now
    browser = make_browser()

    def first(handler: Script) -> None:
        change(handler)
        handler.session.expire(idle_s)

    await run(browser, first)
    for ahead_s, noted in ((every_s - 0.01, 0), (0.02, 1), (every_s - 0.01, 0)):
        lives["session"].clear()
        now += ahead_s
        await run(browser, lambda handler: handler.session.get("n"))
        assert len(lives["session"]) == noted
