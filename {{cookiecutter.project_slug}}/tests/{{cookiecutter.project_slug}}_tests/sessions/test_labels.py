"""The labels in a session's record: what waits is found by them, and nothing else is looked for."""

from __future__ import annotations

from typing import Any

import pytest
from tornado.web import HTTPError

from {{cookiecutter.project_slug}}.sessions import Owner, Store
from {{cookiecutter.project_slug}}.sessions.engines import Snapshot
from {{cookiecutter.project_slug}}.sessions.record import (
    MOVED,
    new_field,
    renamed,
)

from .conftest import Browser, MakeBrowser, Script, messages_of, run, value_of

pytestmark = pytest.mark.gen_test


async def labels_of(browser: Browser) -> list[Any]:
    """Return name and category of what waits for the browser, oldest first."""
    found: list[Any] = []
    await run(browser, lambda handler: found.extend(handler.session.waiting().values()))
    return found


async def two_kinds(browser: Browser) -> None:
    def add(handler: Script) -> None:
        handler.notifications.add("saved", "success")
        handler.notifications.add("careful", "warning")
        handler.notifications.set("step", 2)

    await run(browser, add)


async def test_fields_of_one_moment_keep_their_order_and_their_place_when_they_are_renamed() -> (
    None
):
    fields = [new_field(1.5) for _ in range(50)]
    assert sorted(fields) == fields
    again = [renamed(field) for field in fields]
    assert sorted(again) == again
    assert not set(again) & set(fields)


@pytest.mark.parametrize("how", ["take", "peek"])
async def test_messages_are_read_by_category(make_browser: MakeBrowser, how: str) -> None:
    browser, seen = make_browser(), list[Any]()
    await two_kinds(browser)

    async def read(handler: Script) -> None:
        for category in ("warning", "error"):
            seen.extend(await getattr(handler.notifications, how)(category))

    await run(browser, read)
    assert seen == [("careful", "warning")]
    left = [[None, "success"], [None, "warning"], ["step", ""]]
    assert await labels_of(browser) == (left if how == "peek" else [left[0], left[2]])


async def test_what_was_read_leaves_no_label(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    await two_kinds(browser)
    assert await messages_of(browser) == ["saved", "careful"]
    assert await labels_of(browser) == [["step", ""]]
    await run(browser, lambda handler: handler.notifications.delete("step"))
    assert await labels_of(browser) == []


async def test_what_is_added_and_read_in_one_request_leaves_no_label(
    make_browser: MakeBrowser,
) -> None:
    async def both(handler: Script) -> None:
        handler.session["seen"] = 1
        handler.notifications.add("at once")
        handler.notifications.set("step", 2)
        assert [each.value for each in await handler.notifications.take()] == ["at once"]
        assert await handler.notifications.get("step") == 2

    browser = make_browser()
    await run(browser, both)
    assert await labels_of(browser) == []


@pytest.mark.parametrize("how", ["reload", "modify"])
async def test_what_is_added_outlasts_a_look_at_the_store(
    make_browser: MakeBrowser, how: str
) -> None:
    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("count", 1))

    async def add(handler: Script) -> None:
        handler.notifications.add("hello")
        if how == "reload":
            await handler.session.reload()
        else:
            await handler.session.modify("count", lambda count: count + 1)

    await run(browser, add)
    assert await messages_of(browser) == ["hello"]


async def test_a_failure_puts_back_no_label_of_what_another_request_has_read(
    make_browser: MakeBrowser,
) -> None:
    browser = make_browser()
    await two_kinds(browser)

    async def take(handler: Script) -> None:
        assert await messages_of(browser) == ["saved", "careful"]
        assert await handler.notifications.take() == []
        raise HTTPError(500)

    tab = make_browser()
    tab.cookies = dict(browser.cookies)
    assert (await run(tab, take)).status == 500
    assert await labels_of(browser) == [["step", ""]]


async def test_a_message_begins_no_record_where_the_store_has_just_lost_it(
    make_browser: MakeBrowser, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = make_browser()
    await run(browser, lambda handler: setattr(handler.session, "owner", "ada"))
    load = store.sessions.load

    async def evicts(key: str) -> Any:
        found = await load(key)
        if ":session:" in key and found is not None:
            await store.sessions.write(key, dict.fromkeys(found.fields), 1, create=False)
        return found

    monkeypatch.setattr(store.sessions, "load", evicts)
    assert await Owner(store, "ada").notify("hello") == 0
    monkeypatch.undo()
    assert await value_of(browser, "name") == "absent"
    assert await Owner(store, "ada").sessions() == []


async def test_a_message_gives_up_on_a_session_that_moves_without_end(
    make_browser: MakeBrowser, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run(make_browser(), lambda handler: setattr(handler.session, "owner", "ada"))
    load, seen = store.sessions.load, list[str]()

    async def moves(key: str) -> Any:
        if ":session:" not in key:
            return await load(key)
        seen.append(key)
        return Snapshot({}, ended=f"{MOVED}{len(seen):064x}")

    monkeypatch.setattr(store.sessions, "load", moves)
    assert await Owner(store, "ada").notify("hello") == 0
    assert len(seen) == len(set(seen)) == 10
