"""Entries on the list of a user's sessions: when they are removed, and their content."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from {{cookiecutter.project_slug}}.sessions import Owner, Store
from {{cookiecutter.project_slug}}.sessions.codec import encode
from {{cookiecutter.project_slug}}.sessions.owner_list import owner_key

from .conftest import Browser, Clock, MakeBrowser, Script, run

pytestmark = pytest.mark.gen_test


@pytest.fixture
def ada(store: Store) -> Owner:
    return Owner(store, "ada")


async def login(browser: Browser, agent: str = "Firefox") -> str:
    """Begin a session of the user's, and return the key of its record."""
    keys: list[str] = []

    async def does(handler: Script) -> None:
        handler.session.owner = "ada"
        await handler.session.save()
        keys.append(handler.session.store.key("session", str(handler.session.id)))

    await run(browser, does, "POST", **{"User-Agent": agent})
    return keys[0]


async def expire(store: Store, key: str) -> None:
    """Remove a record, as the store does when its time is over."""
    found = await store.sessions.load(key)
    assert found is not None
    await store.sessions.write(key, dict.fromkeys(found.fields), 1, create=False)


async def length(store: Store) -> int:
    """Return how many entries the list has, those of sessions that are gone included."""
    found = await store.sessions.load(owner_key(store, "ada"))
    return 0 if found is None else len(found.fields)


async def test_an_entry_whose_session_has_expired_goes_when_it_is_a_minute_old(
    ada: Owner, store: Store, make_browser: MakeBrowser, clock: Clock
) -> None:
    expired, alive = make_browser(clock=clock), make_browser(clock=clock)
    key = await login(expired)
    await login(alive)
    await expire(store, key)
    for seconds, left in ((0, 2), (58, 2), (2.5, 1), (60, 1)):
        clock.advance(seconds)
        assert len(await ada.sessions()) == 1
        assert await length(store) == left


async def test_an_expired_session_is_neither_reached_nor_counted(
    ada: Owner, store: Store, make_browser: MakeBrowser
) -> None:
    key = await login(make_browser())
    await login(make_browser())
    await expire(store, key)
    assert await ada.notify("hello") == 1
    assert await ada.set("plan", "paid") == 1
    assert await store.sessions.load(key) is None
    assert await ada.end_all() == 1
    assert await length(store) == 0


async def test_an_entry_keeps_the_first_300_characters_of_the_agent(
    ada: Owner, make_browser: MakeBrowser
) -> None:
    for size, kept in ((300, 300), (301, 300)):
        browser = make_browser()
        await login(browser, "x" * (size - 1) + "y")
        (listed,) = await ada.sessions()
        assert listed.agent == ("x" * (size - 1) + "y")[:kept]
        await ada.end_all()


async def test_moments_are_in_utc(ada: Owner, make_browser: MakeBrowser, clock: Clock) -> None:
    await login(make_browser())
    (listed,) = await ada.sessions()
    now = datetime.fromtimestamp(clock(), UTC)
    for moment in (listed.since, listed.last_used):
        assert moment.tzinfo is UTC
        assert 0 <= (now - moment).total_seconds() < 5


@pytest.mark.parametrize(
    "entry",
    [b"", b"\xc1", b"\x01", b"\x90", b"\x91\x01", encode("abcde"), encode([5, 6, 7, "x", "y"])],
)
async def test_an_entry_that_is_none_of_ours_is_passed_over(
    ada: Owner, store: Store, make_browser: MakeBrowser, entry: bytes
) -> None:
    await login(make_browser())
    changes = {"0" * 64: entry}
    await store.sessions.write(owner_key(store, "ada"), changes, 60, create=False)
    assert len(await ada.sessions()) == 1
    await login(make_browser())
    assert await ada.end_all() == 2
