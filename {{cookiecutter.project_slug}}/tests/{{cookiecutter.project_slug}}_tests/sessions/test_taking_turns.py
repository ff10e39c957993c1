"""Coroutines of one request that use its session at once take turns at the store.

A trip is held up while a test does something else; see `Paused` in trips.py.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tornado.web import HTTPError

from {{cookiecutter.project_slug}}.sessions import Store, StoreUnavailable

from .conftest import Browser, MakeBrowser, Pause, Script, messages_of, run, value_of

pytestmark = pytest.mark.gen_test


async def notification(browser: Browser, name: str) -> Any:
    """Read the notification `name`, and return its value; "absent" if there is none."""
    seen: list[Any] = []

    async def get(handler: Script) -> None:
        seen.append(await handler.notifications.get(name, "absent"))

    await run(browser, get)
    return seen[0]


async def visitor(make_browser: MakeBrowser) -> Browser:
    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("count", 1))
    return browser


# --- modify


@pytest.mark.parametrize("moves", [False, True], ids=["", "with regenerate"])
async def test_modify_that_has_to_try_again_keeps_what_its_request_did_meanwhile(
    make_browser: MakeBrowser, pause: Pause, moves: bool
) -> None:
    browser, other = await visitor(make_browser), make_browser()
    other.cookies = before = dict(browser.cookies)
    results: list[Any] = []

    async def does(handler: Script) -> None:
        writes = pause("write sessions")
        modifies = asyncio.create_task(handler.session.modify("count", lambda count: count + 1))
        await writes.begun()
        await run(other, lambda handler: handler.session.set("count", 10))
        handler.session["mine"] = "kept"
        if moves:
            handler.session.regenerate()
        writes.go_on()
        results.append(await modifies)

    assert (await run(browser, does, "POST")).status == 200
    assert results == [11]
    assert (await value_of(browser, "count"), await value_of(browser, "mine")) == (11, "kept")
    assert (browser.cookies != before) is moves


# --- destroy


@pytest.fixture
def keys(store: Store, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The keys of all records of sessions that are written from now on."""
    written: set[str] = set()
    write = store.sessions.write

    async def noted(key: str, *args: Any, **options: Any) -> Any:
        written.add(key)
        return await write(key, *args, **options)

    monkeypatch.setattr(store.sessions, "write", noted)
    return written


async def alive(store: Store, keys: set[str]) -> list[str]:
    """Return those of the keys that have a record."""
    found = {key: await store.sessions.load(key) for key in keys}
    return [key for key, record in found.items() if record is not None and record.ended is None]


@pytest.mark.parametrize("owner", [None, "ada"])
async def test_a_session_that_is_destroyed_while_it_begins_is_gone(
    make_browser: MakeBrowser, store: Store, keys: set[str], pause: Pause, owner: str | None
) -> None:
    async def does(handler: Script) -> None:
        writes = pause("write sessions")  # with an owner, that of the owner's list
        handler.session["name"] = "ada"
        handler.session.owner = owner
        saves = asyncio.create_task(handler.session.save())
        await writes.begun()
        handler.session.destroy()
        writes.go_on()
        await saves

    browser = make_browser()
    assert (await run(browser, does)).status == 200
    assert browser.session_cookie is None
    assert keys and await alive(store, keys) == []


@pytest.mark.parametrize("trip", ["write sessions", "end sessions"])
async def test_a_session_that_is_destroyed_while_its_id_changes_is_gone(
    make_browser: MakeBrowser, store: Store, keys: set[str], pause: Pause, trip: str
) -> None:
    browser = await visitor(make_browser)

    async def does(handler: Script) -> None:
        moves = pause(trip)
        handler.session.regenerate()
        saves = asyncio.create_task(handler.session.save())
        await moves.begun()
        handler.session.destroy()
        moves.go_on()
        await saves

    assert (await run(browser, does, "POST")).status == 200
    assert browser.session_cookie is None
    assert len(keys) == 2 and await alive(store, keys) == []


# --- messages


@pytest.mark.parametrize("trip", ["write notifications", "write sessions"])
@pytest.mark.parametrize("how", ["save", "flush"])
async def test_a_message_that_is_taken_while_it_is_saved_is_shown_once(
    make_browser: MakeBrowser, pause: Pause, how: str, trip: str
) -> None:
    browser = await visitor(make_browser)
    saves: list[asyncio.Future[None]] = []
    seen: list[Any] = []

    async def does(handler: Script) -> None:
        writes = pause(trip)
        handler.notifications.add("hello")
        handler.notifications.set("named", "value")
        saves.append(
            asyncio.ensure_future(handler.session.save() if how == "save" else handler.flush())
        )
        await writes.begun()
        asyncio.get_running_loop().call_soon(writes.go_on)
        seen.extend([await handler.notifications.take(), await handler.notifications.get("named")])

    assert (await run(browser, does)).status == 200
    await saves[0]
    assert seen == [[("hello", "info")], "value"]
    assert await messages_of(browser) == []
    assert await notification(browser, "named") == "absent"


@pytest.mark.parametrize("readers", [2, 3])
async def test_messages_that_several_take_at_once_are_put_back_once_if_the_response_fails(
    make_browser: MakeBrowser, caplog: pytest.LogCaptureFixture, readers: int
) -> None:
    browser = make_browser()
    taken: list[list[Any]] = []

    def add(handler: Script) -> None:
        handler.notifications.add("first")
        handler.notifications.add("second")

    async def fail(handler: Script) -> None:
        taken.extend(await asyncio.gather(*(handler.notifications.take() for _ in range(readers))))
        raise HTTPError(500)

    await run(browser, add)
    caplog.clear()
    assert (await run(browser, fail)).status == 500
    assert [text for messages in taken for text, _ in messages] == ["first", "second"]
    assert not [record for record in caplog.records if record.exc_info]
    assert await messages_of(browser) == ["first", "second"]
    assert await messages_of(browser) == []


@pytest.mark.parametrize(
    ("what", "trip"),
    [
        ("a value", "write sessions"),
        ("a notification", "write sessions"),
        ("a notification", "write notifications"),
    ],
)
async def test_what_is_deleted_while_it_is_saved_is_gone(
    make_browser: MakeBrowser, pause: Pause, what: str, trip: str
) -> None:
    browser = await visitor(make_browser)
    saves: list[asyncio.Task[None]] = []

    async def does(handler: Script) -> None:
        kept = handler.session if what == "a value" else handler.notifications
        writes = pause(trip)
        kept.set("named", "value")
        saves.append(asyncio.create_task(handler.session.save()))
        await writes.begun()
        kept.delete("named")
        asyncio.get_running_loop().call_soon(writes.go_on)

    assert (await run(browser, does)).status == 200
    await saves[0]
    assert await notification(browser, "named") == "absent"
    assert await value_of(browser, "named") == "absent"


async def test_modify_is_not_undone_by_a_coroutine_that_reads_the_value_meanwhile(
    make_browser: MakeBrowser, pause: Pause
) -> None:
    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("list", [0]))
    seen: list[Any] = []

    async def does(handler: Script) -> None:
        writes = pause("write sessions")
        modifies = asyncio.create_task(handler.session.modify("list", lambda old: [*old, 1]))
        await writes.begun()
        assert handler.session["list"] == [0]
        writes.go_on()
        seen.extend([await modifies, handler.session["list"]])

    assert (await run(browser, does)).status == 200
    assert seen == [[0, 1], [0, 1]]
    assert await value_of(browser, "list") == [0, 1]


# --- what is cancelled halfway


@pytest.mark.parametrize("together", ["gather", "TaskGroup"])
@pytest.mark.parametrize("on_its_way_back", [False, True])
async def test_a_page_that_fails_while_messages_are_taken_puts_them_back(
    make_browser: MakeBrowser, pause: Pause, together: str, on_its_way_back: bool
) -> None:
    browser = make_browser()
    await run(browser, lambda handler: handler.notifications.add("once"))

    async def does(handler: Script) -> None:
        trip = pause("write notifications", on_its_way_back=on_its_way_back)

        async def fail() -> None:
            await trip.begun()
            asyncio.get_running_loop().call_later(0.05, trip.go_on)
            raise OSError("the database has gone")

        if together == "gather":
            await asyncio.gather(handler.notifications.take(), fail())
        else:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(handler.notifications.take())
                tasks.create_task(fail())

    assert (await run(browser, does)).status == 500
    assert await messages_of(browser) == ["once"]
    assert await messages_of(browser) == []


@pytest.mark.parametrize("on_its_way_back", [False, True])
@pytest.mark.parametrize("act", ["regenerate", "destroy"])
async def test_a_save_that_is_cancelled_halfway_loses_nothing(
    make_browser: MakeBrowser, pause: Pause, act: str, on_its_way_back: bool
) -> None:
    browser = make_browser()

    def begin(handler: Script) -> None:
        handler.session["cart"] = ["book"]
        handler.notifications.add("once")

    async def does(handler: Script) -> None:
        trip = pause("end sessions", on_its_way_back=on_its_way_back)
        getattr(handler.session, act)()
        save = asyncio.create_task(handler.session.save())
        await trip.begun()
        save.cancel()
        asyncio.get_running_loop().call_later(0.05, trip.go_on)

    await run(browser, begin)
    assert (await run(browser, does, "POST")).status == 200
    kept = ["book"] if act == "regenerate" else "absent"
    assert await value_of(browser, "cart") == kept
    assert await messages_of(browser) == ["once"]


@pytest.mark.parametrize("visit", ["first", "later"])
async def test_modify_that_failed_changes_nothing(
    make_browser: MakeBrowser, store: Store, monkeypatch: pytest.MonkeyPatch, visit: str
) -> None:
    browser = make_browser() if visit == "first" else await visitor(make_browser)

    async def fail(*args: Any, **options: Any) -> None:
        raise StoreUnavailable("the store", "no answer")

    async def does(handler: Script) -> None:
        modify = handler.session.modify
        with monkeypatch.context() as patch:
            patch.setattr(store.sessions, "write", fail)
            with pytest.raises(StoreUnavailable):
                await modify("times", lambda times: times + 1, default=0)
        assert "times" not in handler.session
        assert await modify("times", lambda times: times + 1, default=0) == 1

    assert (await run(browser, does, "POST")).status == 200
    assert await value_of(browser, "times") == 1
