"""A user's list of sessions: it has those that are the user's, and stays short and readable."""

from __future__ import annotations

from typing import Any

import pytest

from {{cookiecutter.project_slug}}.sessions import (
    Owner,
    SessionTooLarge,
    Store,
    StoreUnavailable,
    owner_list,
)

from .conftest import (
    ON_MEMORY,
    Browser,
    Clock,
    MakeBrowser,
    Script,
    messages_of,
    run,
    value_of,
)

pytestmark = pytest.mark.gen_test


async def login(browser: Browser, user_id: str | int = "ada") -> None:
    def does(handler: Script) -> None:
        handler.session.owner = user_id
        handler.session["user_id"] = user_id

    assert (await run(browser, does, "POST")).status == 200


async def is_in(browser: Browser) -> bool:
    return bool(await value_of(browser, "user_id") != "absent")


@pytest.fixture
def ada(store: Store) -> Owner:
    return Owner(store, "ada")


# --- an owner that is assigned again

AGAIN: dict[str, tuple[str | int, list[str | int | None]]] = {
    "None between": ("ada", [None, "ada"]),
    "another one between": ("ada", ["bob", "ada"]),
    "an int for a str": ("7", [7]),
    "a str for an int": (7, ["7"]),
}
"""The owner that is stored, and what one request assigns after it."""


@pytest.mark.parametrize("case", AGAIN)
async def test_an_owner_that_is_assigned_again_can_still_end_the_session(
    store: Store, make_browser: MakeBrowser, case: str
) -> None:
    stored, assigned = AGAIN[case]

    def does(handler: Script) -> None:
        for user_id in assigned:
            handler.session.owner = user_id

    browser = make_browser()
    await login(browser, stored)
    assert (await run(browser, does, "POST")).status == 200
    owner = Owner(store, stored)
    assert len(await owner.sessions()) == 1
    assert await owner.end_all() == 1
    assert not await is_in(browser)


@pytest.mark.parametrize("user_id", ["\ud800", 2**70], ids=["half a character", "too large"])
async def test_an_owner_that_could_not_be_stored_is_refused_where_it_is_assigned(
    make_browser: MakeBrowser, user_id: Any
) -> None:
    def does(handler: Script) -> None:
        with pytest.raises(TypeError, match=r"session\.owner holds"):
            handler.session.owner = user_id

    page = await run(make_browser(), does)
    assert (page.status, page.set_cookies) == (200, [])


# --- how long the list may become


async def entries_of(store: Store) -> int:
    """Return how many entries the list has, those of sessions that are gone included."""
    found = await store.sessions.load(owner_list.owner_key(store, "ada"))
    return 0 if found is None else len(found.fields)


@ON_MEMORY
async def test_a_login_takes_sessions_that_are_over_off_the_list(
    make_browser: MakeBrowser, store: Store, clock: Clock
) -> None:
    for _ in range(3):
        await login(make_browser(clock=clock))
        clock.advance(25 * 3600)
    in_use = make_browser(clock=clock)
    await login(in_use)
    assert await entries_of(store) == 1
    assert await is_in(in_use)


async def test_a_login_ends_the_oldest_of_too_many_sessions(
    ada: Owner,
    make_browser: MakeBrowser,
    store: Store,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(owner_list, "MOST_LISTED", 3)
    browsers = [make_browser(clock=clock) for _ in range(4)]
    for browser in browsers:
        await login(browser)
        clock.advance(1)
    assert [await is_in(browser) for browser in browsers] == [False, True, True, True]
    assert await entries_of(store) == len(await ada.sessions()) == 3


async def test_a_login_ends_old_sessions_where_the_list_outgrows_the_store(
    ada: Owner,
    make_browser: MakeBrowser,
    store: Store,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write, listed = store.sessions.write, owner_list.owner_key(store, "ada")

    async def limited(key: str, changes: Any, *args: Any, **options: Any) -> Any:
        if key == listed:
            found = await store.sessions.load(key)
            after = {**(found.fields if found is not None else {}), **changes}
            if (count := sum(raw is not None for raw in after.values())) > 2:
                raise SessionTooLarge(count, 2)
        return await write(key, changes, *args, **options)

    monkeypatch.setattr(store.sessions, "write", limited)
    browsers = [make_browser(clock=clock) for _ in range(4)]
    for browser in browsers:
        await login(browser)
        clock.advance(1)
    assert [await is_in(browser) for browser in browsers] == [False, False, True, True]
    assert await ada.end_all() == 2


@ON_MEMORY
async def test_what_is_over_makes_room_before_a_session_has_to_end(
    make_browser: MakeBrowser, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner_list, "MOST_LISTED", 3)
    lasting = make_browser(clock=clock)

    def remembered(handler: Script) -> None:
        handler.session.owner = "ada"
        handler.session.remember(20)
        handler.session["user_id"] = "ada"

    await run(lasting, remembered)
    for _ in range(2):
        await login(make_browser(clock=clock))
    clock.advance(25 * 3600)
    await login(make_browser(clock=clock))
    assert await is_in(lasting)


@ON_MEMORY
@pytest.mark.parametrize("sooner_s", [0, 30], ids=["at its login", "when its use was last noted"])
async def test_a_session_that_gets_a_longer_life_stays_on_the_list(
    ada: Owner, make_browser: MakeBrowser, clock: Clock, sooner_s: float
) -> None:
    browser = make_browser(clock=clock)
    await login(browser)
    clock.advance(sooner_s)
    await run(browser, lambda handler: handler.session.remember(20), "POST")
    clock.advance(25 * 3600)
    await login(make_browser(clock=clock))
    assert await ada.end_all() == 2
    assert not await is_in(browser)


@ON_MEMORY
async def test_a_session_that_was_used_since_its_use_was_noted_is_not_over(
    ada: Owner, make_browser: MakeBrowser, clock: Clock
) -> None:
    browser = make_browser(clock=clock)
    await login(browser)
    clock.advance(30)
    await run(browser, lambda handler: handler.session.set("seen", 1), "POST")
    clock.advance(24 * 3600 - 15)
    await login(make_browser(clock=clock))
    assert await ada.end_all() == 2


@ON_MEMORY
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_no_session_outlives_its_entry_on_a_list_that_was_out_of_reach(
    ada: Owner,
    make_browser: MakeBrowser,
    store: Store,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
) -> None:
    browser, write = make_browser(clock=clock), store.sessions.write
    await login(browser)
    clock.advance(20 * 3600)

    async def fail(key: str, *args: Any, **options: Any) -> Any:
        if key == owner_list.owner_key(store, "ada"):
            raise StoreUnavailable("another server", "no answer")
        return await write(key, *args, **options)

    def use(handler: Script) -> None:
        handler.notifications.add("hello")
        if method == "POST":
            handler.session["seen"] = True

    with monkeypatch.context() as patch:
        patch.setattr(store.sessions, "write", fail)
        assert (await run(browser, use, method)).status == 200
    assert await is_in(make_browser()) is False
    clock.advance(4 * 3600 + 90)
    await login(make_browser(clock=clock))
    assert await ada.end_all() == 1
    assert not await is_in(browser)


async def test_a_session_that_is_listed_again_is_none_of_too_many(
    ada: Owner, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner_list, "MOST_LISTED", 1)
    await login(browser)
    await login(browser)
    assert await is_in(browser)
    assert len(await ada.sessions()) == 1


@pytest.mark.parametrize("beside", ["nothing", "change"])
async def test_a_session_whose_id_changes_ends_none_of_just_enough(
    ada: Owner, make_browser: MakeBrowser, monkeypatch: pytest.MonkeyPatch, beside: str
) -> None:
    monkeypatch.setattr(owner_list, "MOST_LISTED", 3)
    browsers = [make_browser() for _ in range(3)]
    for browser in browsers:
        await login(browser)

    def move(handler: Script) -> None:
        handler.session.regenerate()
        if beside == "change":
            handler.session["checked"] = True

    for browser in browsers:
        assert (await run(browser, move, "POST")).status == 200
    assert [await is_in(browser) for browser in browsers] == [True, True, True]
    assert await ada.end_all() == 3


# --- a record that is not ours


async def test_a_record_that_cannot_be_read_hides_no_other_session(
    ada: Owner, make_browser: MakeBrowser, store: Store
) -> None:
    broken, sound = make_browser(), make_browser()
    await login(broken)
    await login(sound)
    ids: list[str] = []
    await run(broken, lambda handler: ids.append(handler.session.id))
    key = store.key("session", ids[0])
    assert await store.sessions.write(key, {"name": b"\xc1"}, 60, create=False) == {}
    assert len(await ada.sessions()) == 1
    assert await ada.notify("hello") == await ada.set("plan", "paid") == 1
    assert await messages_of(sound) == ["hello"]
    assert await value_of(sound, "plan") == "paid"
