"""Requests that change one session at the same time keep each other's changes."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from {{cookiecutter.project_slug}}.sessions import (
    Owner,
    Store,
    StoreUnavailable,
)

from .conftest import ON_MEMORY, Browser, Clock, MakeBrowser, Pause, Script, run, value_of

pytestmark = pytest.mark.gen_test


async def visitor(make_browser: MakeBrowser, **values: Any) -> tuple[Browser, Browser]:
    """Return a browser whose session has these values, and another tab of it."""
    browser, tab = make_browser(), make_browser()
    await run(browser, lambda handler: handler.session.update(values))
    tab.cookies = dict(browser.cookies)
    return browser, tab


async def test_two_requests_that_modify_two_lists_keep_all_items(make_browser: MakeBrowser) -> None:
    browser, tab = await visitor(make_browser, a=[], b=[])

    async def both(handler: Script) -> None:
        for name in ("a", "b"):
            await handler.session.modify(name, lambda items: [*items, "other"])

    async def one_before_and_one_after(handler: Script) -> None:
        await handler.session.modify("a", lambda items: [*items, "mine"])
        await run(tab, both)
        await handler.session.modify("b", lambda items: [*items, "mine"])

    await run(browser, one_before_and_one_after)
    assert await value_of(browser, "a") == ["mine", "other"]
    assert await value_of(browser, "b") == ["other", "mine"]


async def test_a_list_that_was_only_read_is_not_written_back(make_browser: MakeBrowser) -> None:
    browser, tab = await visitor(make_browser, cart=[], count=0)

    async def does(handler: Script) -> None:
        assert handler.session["cart"] == []
        await run(tab, lambda other: other.session.update(cart=["book"], count=5))
        assert await handler.session.modify("count", lambda count: count + 1) == 6

    await run(browser, does)
    assert await value_of(browser, "cart") == ["book"]


async def test_an_id_that_could_not_change_changes_at_the_next_commit_with_what_was_set(
    make_browser: MakeBrowser, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser, tab = await visitor(make_browser, user="ada")

    async def fail(*args: Any) -> None:
        raise StoreUnavailable("the store", "no answer")

    async def does(handler: Script) -> None:
        handler.session["user"] = "bob"
        handler.session.regenerate()
        with monkeypatch.context() as patch:
            patch.setattr(store.sessions, "end", fail)
            with pytest.raises(StoreUnavailable):
                await handler.session.save()

    assert (await run(browser, does)).status == 200
    assert await value_of(browser, "user") == "bob"
    assert await value_of(tab, "user") == "absent"


async def test_a_reload_that_fails_leaves_what_was_there(
    make_browser: MakeBrowser, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser, _ = await visitor(make_browser, user="ada")
    load = store.sessions.load

    async def away(key: str) -> Any:
        monkeypatch.setattr(store.sessions, "load", load)
        raise StoreUnavailable("the store", "no answer")

    async def does(handler: Script) -> None:
        monkeypatch.setattr(store.sessions, "load", away)
        with pytest.raises(StoreUnavailable):
            await handler.session.reload()
        handler.write(handler.session["user"])

    assert (await run(browser, does)).text == "ada"


async def test_another_coroutine_sees_the_session_while_it_is_read_again(
    make_browser: MakeBrowser, pause: Pause
) -> None:
    browser, _ = await visitor(make_browser, user="ada")

    async def does(handler: Script) -> None:
        loads = pause("load sessions")
        reads = asyncio.create_task(handler.session.reload())
        await loads.begun()
        handler.write(handler.session["user"])
        loads.go_on()
        await reads

    assert (await run(browser, does)).text == "ada"


async def test_a_block_that_fails_takes_back_its_own_changes_alone(
    make_browser: MakeBrowser,
) -> None:
    browser, tab = await visitor(make_browser, items=[1])

    async def does(handler: Script) -> None:
        handler.session["before"] = "kept"
        handler.session.regenerate()
        with contextlib.suppress(ZeroDivisionError):
            async with handler.session as session:
                session["inside"] = "dropped"
                session["items"].append(2)
                session.destroy()
                raise ZeroDivisionError
        handler.session["after"] = "kept"

    assert (await run(browser, does)).status == 200
    names = ("before", "after", "inside", "items")
    assert [await value_of(browser, name) for name in names] == ["kept", "kept", "absent", [1]]
    assert await value_of(tab, "items") == "absent"  # the id has changed


@ON_MEMORY
async def test_a_session_that_changes_all_the_time_stays_on_its_owners_list(
    make_browser: MakeBrowser, store: Store, clock: Clock
) -> None:
    browser, other = make_browser(), make_browser()

    def login(handler: Script) -> None:
        handler.session.expire(100)
        handler.session.owner = "ada"
        handler.session["count"] = 0

    def change(handler: Script) -> None:
        handler.session["count"] += 1

    await run(browser, login)
    for _ in range(120):  # longer than the limit, and never so seldom that a use has to be noted
        clock.advance(0.9)
        await run(browser, change)
    await run(other, login)
    assert await Owner(store, "ada").end_all() == 2
    assert await value_of(browser, "count") == "absent"
