"""A user's sessions can be listed, ended, set and sent a message, with or without a request."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from tornado.web import Application

from {{cookiecutter.project_slug}}.sessions import Owner, Store
from {{cookiecutter.project_slug}}.sessions.owner_list import owner_key

from .acts import Act
from .conftest import (
    COOKIE_SECRET,
    ON_MEMORY,
    Browser,
    Clock,
    MakeBrowser,
    Page,
    Script,
    run,
    value_of,
)

pytestmark = pytest.mark.gen_test


async def login(browser: Browser, user_id: str | int = "ada") -> Page:
    def does(handler: Script) -> None:
        handler.session.regenerate()
        handler.session.owner = user_id
        handler.session["user_id"] = user_id

    return await run(browser, does, "POST", **{"User-Agent": "Firefox on Linux"})


async def is_in(browser: Browser) -> bool:
    return bool(await value_of(browser, "user_id") != "absent")


async def messages(browser: Browser) -> list[Any]:
    seen: list[Any] = []

    async def take(handler: Script) -> None:
        seen.extend(await handler.notifications.take())

    await run(browser, take)
    return seen


@pytest.mark.parametrize("user_id", [None, 7.0, b"7", (7,), True, "\ud800"], ids=repr)
async def test_what_cannot_be_a_users_id_is_refused(store: Store, user_id: Any) -> None:
    with pytest.raises(TypeError, match="Owner"):
        Owner(store, user_id)


async def test_the_category_of_a_message_is_a_str(ada: Owner) -> None:
    with pytest.raises(TypeError, match="category"):
        await ada.notify("hello", [])  # type: ignore[arg-type]


@pytest.fixture
def ada(store: Store) -> Owner:
    return Owner(store, "ada")


async def test_the_list_says_where_and_since_when(
    ada: Owner, store: Store, make_browser: MakeBrowser, clock: Clock
) -> None:
    browser = make_browser()
    await login(browser)
    (listed,) = await ada.sessions()
    assert (listed.agent, listed.address, listed.current) == (
        "Firefox on Linux",
        "127.0.0.1",
        False,
    )
    assert abs(listed.since.timestamp() - clock()) < 5
    assert listed.last_used - listed.since < timedelta(seconds=5)
    assert listed.handle not in str(browser.session_cookie)
    handles: list[str] = []
    await run(browser, lambda handler: handles.append(handler.session.handle))
    assert handles == [listed.handle]


async def test_the_last_used_is_first_and_the_current_is_marked(
    ada: Owner, make_browser: MakeBrowser, clock: Clock
) -> None:
    browsers = [make_browser(clock=clock) for _ in range(3)]
    for browser in browsers:
        await login(browser)
        clock.advance(100)
    seen: list[Any] = []

    async def look(handler: Script) -> None:
        handles.append(handler.session.handle)
        seen.extend(await ada.sessions(current=handler.session))

    handles: list[str] = []
    await run(browsers[0], look)
    assert [each.current for each in seen] == [True, False, False]
    assert seen[0].handle == handles[0]
    assert seen[0].last_used > seen[1].last_used > seen[2].last_used


@pytest.mark.parametrize("user_id", ["ada", "", "für 名前", "x" * 10_000, 7, 0, -1])
async def test_any_str_or_int_is_an_owner(
    store: Store, make_browser: MakeBrowser, user_id: str | int
) -> None:
    browser = make_browser()
    await login(browser, user_id)
    owners: list[object] = []
    await run(browser, lambda handler: owners.append(handler.session.owner))
    assert owners == [user_id]
    assert len(await Owner(store, user_id).sessions()) == 1


async def test_anything_else_is_refused_as_owner(make_browser: MakeBrowser) -> None:
    def does(handler: Script) -> None:
        wrongs: list[Any] = [1.5, b"ada", True, ["ada"], object()]
        for wrong in wrongs:
            with pytest.raises(TypeError, match="a str or an int"):
                handler.session.owner = wrong

    page = await run(make_browser(), does)
    assert (page.status, page.set_cookies) == (200, [])


async def test_an_owner_alone_begins_a_session(ada: Owner, make_browser: MakeBrowser) -> None:
    browser = make_browser()
    await run(browser, lambda handler: setattr(handler.session, "owner", "ada"))
    assert browser.session_cookie is not None
    assert len(await ada.sessions()) == 1


async def test_none_takes_the_session_off_the_list_and_another_owner_moves_it(
    ada: Owner, store: Store, make_browser: MakeBrowser
) -> None:
    browser, grace = make_browser(), Owner(store, "grace")
    await login(browser)
    await run(browser, lambda handler: setattr(handler.session, "owner", "grace"))
    assert (len(await ada.sessions()), len(await grace.sessions())) == (0, 1)
    assert await entries_of(store) == 0
    await run(browser, lambda handler: setattr(handler.session, "owner", None))
    assert (len(await ada.sessions()), len(await grace.sessions())) == (0, 0)
    assert await is_in(browser)


async def test_destroy_takes_the_session_off_the_list(
    ada: Owner, store: Store, make_browser: MakeBrowser
) -> None:
    browser = make_browser()
    await login(browser)
    await run(browser, lambda handler: handler.session.destroy())
    assert await ada.sessions() == []
    assert await entries_of(store) == 0


# --- every session can be ended


async def entries_of(store: Store) -> int:
    """Return how long the record is that lists the sessions, those that are gone included."""
    found = await store.sessions.load(owner_key(store, "ada"))
    return 0 if found is None else len(found.fields)


async def test_36_regenerate_in_a_handler_of_ones_own_keeps_the_listing(
    ada: Owner, store: Store, make_browser: MakeBrowser
) -> None:
    browser = make_browser()
    await login(browser)
    before = await ada.sessions()

    def promote(handler: Script) -> None:
        handler.session["roles"] = ["admin"]
        handler.session.regenerate()

    for _ in range(3):
        await run(browser, promote, "POST")
        (listed,) = await ada.sessions()
        assert (listed.handle, listed.since) == (before[0].handle, before[0].since)
        assert await entries_of(store) == 1
    assert await ada.end_all() == 1
    assert not await is_in(browser)


async def test_36_a_list_that_the_store_has_evicted_is_made_again_in_use(
    ada: Owner, store: Store, make_browser: MakeBrowser, clock: Clock, key_prefix: str
) -> None:
    browser = make_browser(clock=clock)
    await login(browser)
    await evict_lists(store, key_prefix)
    assert await ada.sessions() == []
    clock.advance(61)
    assert await is_in(browser)
    assert await ada.end_all() == 1
    assert not await is_in(browser)


async def evict_lists(store: Store, key_prefix: str) -> None:
    """Remove the list of each user, as a store that is full may do."""
    key = owner_key(store, "ada")
    assert key.startswith(f"{key_prefix}:owner:")
    found = await store.sessions.load(key)
    assert found is not None
    await store.sessions.write(key, dict.fromkeys(found.fields), 1, create=False)
    assert await store.sessions.load(key) is None


@pytest.mark.parametrize("when", ["before the commit", "while the old record is ended"])
async def test_36_a_session_that_is_ended_while_its_id_changes_is_dead(
    ada: Owner,
    store: Store,
    make_browser: MakeBrowser,
    monkeypatch: pytest.MonkeyPatch,
    when: str,
) -> None:
    browser = make_browser()
    await login(browser)
    before = dict(browser.cookies)
    end = store.sessions.end

    async def ended_meanwhile(key: str, why: str) -> Any:
        monkeypatch.setattr(store.sessions, "end", end)
        await ada.end_all()
        return await end(key, why)

    async def does(handler: Script) -> None:
        handler.session.regenerate()
        if when == "before the commit":
            await ada.end_all()
        else:
            monkeypatch.setattr(store.sessions, "end", ended_meanwhile)

    await run(browser, does, "POST")
    assert not await is_in(browser)
    browser.cookies = before
    assert not await is_in(browser)
    assert await ada.sessions() == []


@pytest.mark.parametrize("times", [1, 9])
async def test_36_a_session_that_moves_while_it_is_ended_is_followed(
    ada: Owner,
    store: Store,
    make_browser: MakeBrowser,
    monkeypatch: pytest.MonkeyPatch,
    times: int,
) -> None:
    browser = make_browser()
    await login(browser)
    end = store.sessions.end

    async def moves_first(key: str, why: str) -> Any:
        monkeypatch.setattr(store.sessions, "end", end)
        for _ in range(times):
            await run(browser, lambda handler: handler.session.regenerate(), "POST")
        return await end(key, why)

    monkeypatch.setattr(store.sessions, "end", moves_first)
    assert await ada.end_all() == 1
    assert not await is_in(browser)


async def test_a_session_that_is_ended_is_dead_for_requests_under_way(
    ada: Owner, make_browser: MakeBrowser
) -> None:
    browser = make_browser()
    await login(browser)
    loaded, leave = asyncio.Event(), asyncio.Event()

    async def slow(handler: Script) -> None:
        loaded.set()
        await leave.wait()
        handler.session["late"] = True

    waiting = asyncio.ensure_future(run(browser, slow, "POST"))
    await loaded.wait()
    assert await ada.end_all() == 1
    leave.set()
    assert (await waiting).status == 409
    assert not await is_in(browser)


async def test_end_all_but_this_one_keeps_it_also_while_its_id_changes(
    ada: Owner, make_browser: MakeBrowser
) -> None:
    browsers = [make_browser() for _ in range(3)]
    for browser in browsers:
        await login(browser)
    ended: list[int] = []

    async def change_password(handler: Script) -> None:
        handler.session.regenerate()
        ended.append(await ada.end_all(but=handler.session))

    await run(browsers[0], change_password, "POST")
    assert ended == [2]
    assert [await is_in(browser) for browser in browsers] == [True, False, False]


def log_in_again(handler: Script) -> None:
    handler.session.owner = None
    handler.session.regenerate()
    handler.session.owner = 7


NEW_HANDLES: dict[str, Act] = {
    "a second login": log_in_again,
    "the same id as a str": lambda handler: setattr(handler.session, "owner", "7"),
}


@pytest.mark.parametrize("change", NEW_HANDLES)
async def test_end_all_but_this_one_keeps_it_also_if_it_has_a_new_handle(
    store: Store, make_browser: MakeBrowser, change: str
) -> None:
    browsers = [make_browser() for _ in range(2)]
    for browser in browsers:
        await login(browser, 7)

    async def does(handler: Script) -> None:
        NEW_HANDLES[change](handler)
        await Owner(store, 7).end_all(but=handler.session)

    assert (await run(browsers[0], does, "POST")).status == 200
    assert [await is_in(browser) for browser in browsers] == [True, False]


@pytest.mark.parametrize("change", NEW_HANDLES)
async def test_the_current_session_is_marked_also_if_it_has_a_new_handle(
    store: Store, make_browser: MakeBrowser, change: str
) -> None:
    browser = make_browser()
    await login(browser, 7)
    seen: list[bool] = []

    async def look(handler: Script) -> None:
        NEW_HANDLES[change](handler)
        listed = await Owner(store, 7).sessions(current=handler.session)
        seen.extend(each.current for each in listed)

    await run(browser, look, "POST")
    assert seen == [True]


async def test_one_is_ended_by_its_handle_and_a_wrong_one_ends_nothing(
    ada: Owner, store: Store, make_browser: MakeBrowser
) -> None:
    browser = make_browser()
    await login(browser)
    (listed,) = await ada.sessions()
    for handle in ("", "x", listed.handle + "x", str(browser.session_cookie)):
        assert await ada.end(handle) is False
    assert await Owner(store, "grace").end(listed.handle) is False
    assert await is_in(browser)
    assert await ada.end(listed.handle) is True
    assert await ada.end(listed.handle) is False
    assert not await is_in(browser)


# --- from a job or a script, without a request


async def test_a_message_reaches_each_session_once(ada: Owner, make_browser: MakeBrowser) -> None:
    browsers = [make_browser() for _ in range(2)]
    for browser in browsers:
        await login(browser)
    assert await ada.notify("Your export is ready.", "success") == 2
    for browser in browsers:
        assert await messages(browser) == [("Your export is ready.", "success")]
        assert await messages(browser) == []


async def test_a_value_is_set_in_each_session_and_undoes_no_other(
    ada: Owner, make_browser: MakeBrowser
) -> None:
    browsers = [make_browser() for _ in range(2)]
    for browser in browsers:
        await login(browser)
        await run(browser, lambda handler: handler.session.set("cart", ["tea"]))
    assert await ada.set("plan", "paid") == 2
    for browser in browsers:
        assert (await value_of(browser, "plan"), await value_of(browser, "cart")) == (
            "paid",
            ["tea"],
        )


async def test_what_a_session_could_not_keep_is_refused(ada: Owner) -> None:
    wrongs: list[Any] = [(":created", 1), ("a", object()), (1, 1)]
    for wrong in wrongs:
        with pytest.raises((TypeError, ValueError)):
            await ada.set(*wrong)
    with pytest.raises(TypeError):
        await ada.notify(object())


async def test_a_user_without_sessions_is_no_error(ada: Owner) -> None:
    assert await ada.sessions() == []
    assert await ada.end_all() == await ada.notify("hello") == await ada.set("a", 1) == 0


async def test_a_script_reaches_a_users_sessions_with_a_store_of_its_own(
    app: Application, make_browser: MakeBrowser
) -> None:
    first, second = make_browser(), make_browser()
    await login(first)
    await login(second)
    store = Store({"pycket": app.settings["pycket"], "cookie_secret": COOKIE_SECRET})
    owner = Owner(store, "ada")
    listed = await owner.sessions()
    assert len(listed) == 2
    assert await owner.notify("hello") == await owner.set("plan", "paid") == 2
    assert await messages(first) == [("hello", "info")]
    assert await value_of(first, "plan") == "paid"
    assert await owner.end(listed[0].handle) is True
    assert sorted([await is_in(first), await is_in(second)]) == [False, True]
    assert await owner.end_all() == 1
    assert not await is_in(first) and not await is_in(second)
    await store.close()


@ON_MEMORY
async def test_a_message_does_not_keep_a_session_alive(
    ada: Owner, make_browser: MakeBrowser, clock: Clock
) -> None:
    browser = make_browser(clock=clock)
    await login(browser)
    for _ in range(3):
        clock.advance(20 * 3600)
        await ada.notify("still there?")
    assert not await is_in(browser)
