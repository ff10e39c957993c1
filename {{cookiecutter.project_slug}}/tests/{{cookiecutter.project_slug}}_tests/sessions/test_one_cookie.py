"""One person has one cookie: no response takes away the session that another one has given.

A browser's second tab sends the id that it had before a login or logout. Within a minute such a
request finds nobody; it sets no cookie, clears none, and stores nothing.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.httputil import HTTPHeaders

from {{cookiecutter.project_slug}}.sessions import Store
from {{cookiecutter.project_slug}}.sessions.engines.base import TOMBSTONE_S

from .acts import Act, act
from .conftest import (
    ON_MEMORY,
    Browser,
    Clock,
    MakeBrowser,
    Pause,
    Script,
    messages_of,
    run,
    value_of,
)

pytestmark = pytest.mark.gen_test


def login(handler: Script) -> None:
    handler.session.regenerate()
    handler.session["user"] = "ada"


def logout(handler: Script) -> None:
    handler.session.destroy()


ENDINGS = {"login": login, "logout": logout}


@pytest.fixture(params=ENDINGS)
def ends(request: pytest.FixtureRequest) -> Act:
    return ENDINGS[request.param]


async def second_tab(make_browser: MakeBrowser, ends: Act) -> tuple[Browser, Browser]:
    """Return a browser, and its second tab which still sends the id from before it was ended."""
    browser, tab = make_browser(), make_browser()
    await run(browser, lambda handler: handler.session.set("visits", 1))
    tab.cookies = dict(browser.cookies)
    await run(browser, ends)
    return browser, tab


async def test_37_a_get_with_an_older_id_sees_nobody_and_sets_no_cookie(
    make_browser: MakeBrowser, store: Store, ends: Act
) -> None:
    browser, tab = await second_tab(make_browser, ends)
    seen: list[object] = []
    for does in (
        lambda handler: seen.append(dict(handler.session)),
        lambda handler: handler.session.set("visits", 2),
        lambda handler: handler.session.update(a=1, b=2),
        lambda handler: setattr(handler.session, "owner", 1),
        lambda handler: handler.session.destroy(),
        lambda handler: handler.session.save(),
    ):
        page = await run(tab, does)
        assert (page.status, page.set_cookies) == (200, [])
    assert seen == [{}]
    old = tab.session_cookie
    assert old is not None
    unknown = store.signer.sign("A" * 43)
    for pair in ((old.value, unknown), (unknown, old.value)):
        header = "; ".join(f"{old.name}={value}" for value in pair)
        assert (await run(tab, lambda handler: None, Cookie=header)).set_cookies == []
    assert await value_of(browser, "user") == ("ada" if ends is login else "absent")
    assert await value_of(browser, "visits") == (1 if ends is login else "absent")


@pytest.mark.parametrize(
    "does",
    [
        lambda handler: handler.session.set("visits", 2),
        lambda handler: setattr(handler.session, "owner", 1),
        lambda handler: handler.session.modify("visits", lambda visits: visits + 1, 0),
    ],
    ids=["set", "owner", "modify"],
)
async def test_37_a_post_that_stores_with_an_older_id_is_a_409_in_words(
    make_browser: MakeBrowser, ends: Act, does: Act
) -> None:
    browser, tab = await second_tab(make_browser, ends)
    page = await run(tab, does, "POST")
    assert (page.status, page.set_cookies) == (409, [])
    assert "load the page again" in page.text
    assert await value_of(browser, "visits") == (1 if ends is login else "absent")


async def test_37_a_post_that_stores_nothing_with_an_older_id_is_answered_as_ever(
    make_browser: MakeBrowser, ends: Act
) -> None:
    browser, tab = await second_tab(make_browser, ends)
    for does in (lambda handler: handler.write("done"), logout, logout):  # logout clicked twice
        page = await run(tab, does, "POST")
        assert (page.status, page.set_cookies) == (200, [])
    assert await value_of(browser, "user") == ("ada" if ends is login else "absent")


async def test_37_a_login_with_an_older_id_begins_a_session_of_its_own(
    make_browser: MakeBrowser, ends: Act
) -> None:
    browser, tab = await second_tab(make_browser, ends)
    page = await run(tab, login, "POST")
    assert (page.status, len(page.set_cookies)) == (200, 1)
    assert await value_of(tab, "user") == "ada"
    assert await value_of(tab, "visits") == "absent"
    assert await value_of(browser, "user") == ("ada" if ends is login else "absent")


async def test_a_message_with_an_older_id_is_a_409_and_reaches_nobody(
    make_browser: MakeBrowser, ends: Act
) -> None:
    browser, tab = await second_tab(make_browser, ends)
    page = await run(tab, lambda handler: handler.notifications.add("saved"), "POST")
    assert (page.status, page.set_cookies) == (409, [])
    assert await messages_of(browser) == []


async def test_a_get_whose_change_is_dropped_leaves_a_line_in_the_log(
    make_browser: MakeBrowser, ends: Act, caplog: pytest.LogCaptureFixture
) -> None:
    _, tab = await second_tab(make_browser, ends)
    with caplog.at_level(logging.INFO):
        await run(tab, lambda handler: handler.session.set("visits", 2))
    assert "dropped what a request changed" in caplog.text


@ON_MEMORY
async def test_after_a_minute_an_older_id_is_an_unknown_one(
    make_browser: MakeBrowser, clock: Clock, ends: Act
) -> None:
    _, tab = await second_tab(make_browser, ends)
    clock.advance(TOMBSTONE_S + 1)
    page = await run(tab, lambda handler: handler.session.set("visits", 2))
    assert len(page.set_cookies) == 1
    assert await value_of(tab, "visits") == 2


@pytest.mark.parametrize("how", ["set", "modify", "regenerate", "message"])
async def test_a_request_that_was_loaded_before_the_id_changed_sets_no_cookie(
    make_browser: MakeBrowser, ends: Act, how: str
) -> None:
    browser, tab = make_browser(), make_browser()
    await run(browser, lambda handler: handler.session.set("visits", 1))
    tab.cookies = dict(browser.cookies)
    loaded, leave = asyncio.Event(), asyncio.Event()

    async def slow(handler: Script) -> None:
        loaded.set()
        await leave.wait()
        match how:
            case "set":
                handler.session["visits"] = 2
            case "modify":
                await handler.session.modify("visits", lambda visits: visits + 1)
            case "regenerate":
                handler.session.regenerate()
            case "message":
                handler.notifications.add("hello")

    waiting = asyncio.ensure_future(run(tab, slow, "POST"))
    await loaded.wait()
    await run(browser, ends)
    leave.set()
    page = await waiting
    assert page.set_cookies == []
    assert page.status == (200 if how == "regenerate" or (how, ends) == ("message", login) else 409)
    assert await value_of(browser, "user") == ("ada" if ends is login else "absent")
    assert await value_of(browser, "visits") == (1 if ends is login else "absent")


async def save(handler: Script) -> None:
    await handler.session.save()


async def modify(handler: Script) -> None:
    await handler.session.modify("visits", lambda visits: visits + 1)


async def look(handler: Script) -> None:
    await handler.session.reload(touch=False)


async def change(handler: Script) -> None:
    handler.session["visits"] = 9


async def take_long(handler: Any) -> None:
    handler.session.store.clock.advance(2.1)


@pytest.mark.parametrize("pycket", [{"cookies": {"expires_days": 20}}], ids=["20 days"])
@pytest.mark.parametrize("early", [save, modify])
@pytest.mark.parametrize("late", [look, change, take_long])
async def test_a_slow_request_renews_no_cookie_once_the_id_has_changed(
    make_browser: MakeBrowser, clock: Clock, ends: Act, early: Act, late: Act
) -> None:
    browser, tab = make_browser(clock=clock), make_browser(clock=clock)
    await run(browser, lambda handler: handler.session.set("visits", 1))
    clock.advance(120)  # its use is to be noted, and the cookie renewed
    tab.cookies = dict(browser.cookies)
    saved, leave = asyncio.Event(), asyncio.Event()

    async def slow(handler: Script) -> None:
        await act(early, handler)
        saved.set()
        await leave.wait()
        await act(late, handler)

    waiting = asyncio.ensure_future(run(tab, slow, "POST"))
    await saved.wait()
    await run(browser, ends)
    leave.set()
    page = await waiting
    assert (page.set_cookies, page.status) == ([], 409 if late is change else 200)


@pytest.mark.parametrize("times", [1, 9])
@pytest.mark.parametrize("beside", ["nothing", "change"])
async def test_a_message_follows_the_id_that_moved_unless_a_change_beside_it_is_refused(
    make_browser: MakeBrowser, beside: str, times: int
) -> None:
    browser, tab = make_browser(), make_browser()
    await run(browser, lambda handler: handler.session.set("visits", 1))
    tab.cookies = dict(browser.cookies)
    loaded, leave = asyncio.Event(), asyncio.Event()

    async def slow(handler: Script) -> None:
        loaded.set()
        await leave.wait()
        handler.notifications.add("saved")
        if beside == "change":
            handler.session["visits"] = 2

    waiting = asyncio.ensure_future(run(tab, slow, "POST"))
    await loaded.wait()
    for _ in range(times):
        await run(browser, login)
    leave.set()
    kept = beside == "nothing"
    assert (await waiting).status == (200 if kept else 409)
    assert await messages_of(browser) == (["saved"] if kept else [])


# --- several cookies of one name


async def test_the_living_session_is_found_among_several_cookies(
    make_browser: MakeBrowser, store: Store
) -> None:
    good, ended = make_browser(), make_browser()
    for each in (good, ended):
        await run(each, lambda handler: handler.session.set("name", "ada"))
    assert good.session_cookie is not None and ended.session_cookie is not None
    name, alive, dead = (
        good.session_cookie.name,
        good.session_cookie.value,
        ended.session_cookie.value,
    )
    await run(ended, logout)
    unknown = store.signer.sign("A" * 43)
    for others in (
        [dead],
        ["planted"],
        [unknown],
        [dead, "", unknown],
        ["x" * 5000, '"', "2|1:0|"],
    ):
        for values in ([*others, alive], [alive, *others]):
            header = "; ".join(f"{name}={value}" for value in values)
            seen: list[object] = []
            page = await run(
                make_browser(),
                lambda handler, seen=seen: seen.append(handler.session.get("name")),  # type: ignore[misc]
                Cookie=header,
            )
            assert (seen, page.set_cookies) == (["ada"], [])


async def test_the_living_session_is_found_in_a_second_cookie_header(
    make_browser: MakeBrowser, http_client: AsyncHTTPClient, base_url: str
) -> None:
    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("name", "ada"))
    cookie = browser.session_cookie
    assert cookie is not None
    seen: list[object] = []
    headers = HTTPHeaders()
    headers.add("Cookie", f"theme=dark; {cookie.name}=planted")
    headers.add("Cookie", f"{cookie.name}={cookie.value}")
    Script.does = staticmethod(lambda handler: seen.append(handler.session.get("name")))
    await http_client.fetch(base_url + "/", headers=headers)
    assert seen == ["ada"]


async def test_a_cookie_that_opens_nothing_is_cleared_once_a_new_one_is_not_set(
    make_browser: MakeBrowser, store: Store
) -> None:
    header = f"__Host-sid={store.signer.sign('A' * 43)}"
    (cleared,) = (await run(make_browser(), lambda handler: None, Cookie=header)).set_cookies
    assert cleared.value == "" and cleared.expires is not None
    begin = lambda handler: handler.session.set("a", 1)  # noqa: E731
    (begun,) = (await run(make_browser(), begin, Cookie=header)).set_cookies
    assert begun.value and begun.expires is None


# --- what a first request leaves


async def test_a_session_that_began_and_ended_in_one_request_leaves_no_cookie(
    make_browser: MakeBrowser,
) -> None:
    async def does(handler: Script) -> None:
        handler.session["a"] = 1
        await handler.session.save()
        handler.session.destroy()

    browser = make_browser()
    page = await run(browser, does)
    assert page.status == 200
    assert browser.session_cookie is None
    assert all(cookie.value == "" for cookie in page.set_cookies)


async def test_set_save_destroy_and_set_again_leaves_the_last_session(
    make_browser: MakeBrowser,
) -> None:
    async def does(handler: Script) -> None:
        for value in (1, 2, 3):
            handler.session["a"] = value
            await handler.session.save()
            handler.session.destroy()
        handler.session["b"] = 4

    browser = make_browser()
    page = await run(browser, does)
    assert len(page.set_cookies) == 1
    assert await value_of(browser, "a") == "absent"
    assert await value_of(browser, "b") == 4


@pytest.mark.parametrize("pycket", [{"cookies": {"expires_days": 20}}], ids=["20 days"])
async def test_a_session_that_is_destroyed_while_it_is_saved_is_answered_without_a_cookie(
    make_browser: MakeBrowser, clock: Clock, pause: Pause
) -> None:
    browser = make_browser(clock=clock)
    await run(browser, lambda handler: handler.session.set("visits", 1))
    clock.advance(120)
    written = pause("write sessions")

    async def does(handler: Script) -> None:
        saving = asyncio.create_task(handler.session.save())
        await written.begun()
        handler.session.destroy()
        written.go_on()
        await saving

    page = await run(browser, does)
    assert page.status == 200
    assert browser.session_cookie is None


async def test_regenerate_twice_in_one_request_sets_one_cookie(make_browser: MakeBrowser) -> None:
    async def does(handler: Script) -> None:
        handler.session.regenerate()
        handler.session.regenerate()
        await handler.session.save()
        handler.session.regenerate()

    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("a", 1))
    page = await run(browser, does)
    assert len(page.set_cookies) == 1
    assert await value_of(browser, "a") == 1
