"""A user's sessions: listed, ended and reached, with or without a request."""

from __future__ import annotations

from typing import Any

import pytest
from tornado.web import Application

from {{cookiecutter.project_slug}}.sessions import Owner, Store
from {{cookiecutter.project_slug}}.sessions.engines.memory import MemoryEngine
from {{cookiecutter.project_slug}}.sessions.record import owner_key

from ..browser import Browser
from ..conftest import MakeBrowser
from .conftest import Clock, Routes
from .script import ROUTES, do, show

pytestmark = pytest.mark.gen_test


@pytest.fixture
def handlers() -> Routes:
    return ROUTES


@pytest.fixture
def owner(store: Store) -> Owner:
    return Owner(store, "ada")


def _login(handler: Any) -> None:
    handler.session.regenerate()
    handler.session["name"] = "ada"
    handler.session.owner = "ada"


async def _logged_in(make_browser: MakeBrowser, **headers: str) -> Browser:
    browser: Browser = make_browser()
    await do(browser, _login, method="POST", **headers)
    return browser


async def _is_in(browser: Browser) -> bool:
    return "ada" in (await do(browser, show)).text


async def test_24_a_users_sessions_are_listed_with_where_they_are(
    make_browser: MakeBrowser, owner: Owner
) -> None:
    await _logged_in(make_browser, **{"User-Agent": "first"})
    await _logged_in(make_browser, **{"User-Agent": "second"})
    listed = await owner.sessions()
    assert {session.agent for session in listed} == {"first", "second"}
    assert {session.address for session in listed} == {"127.0.0.1"}
    assert not any(session.current for session in listed)
    assert len({session.handle for session in listed}) == 2


async def test_the_session_of_this_request_is_marked(
    make_browser: MakeBrowser, owner: Owner
) -> None:
    browser = await _logged_in(make_browser)
    await _logged_in(make_browser)

    async def current(handler: Any) -> object:
        listed = await owner.sessions(current=handler.session)
        return [each.handle == handler.session.handle for each in listed if each.current]

    assert (await do(browser, current)).text == '{"result": [true]}'


async def test_36_regenerate_keeps_a_session_on_the_list(
    make_browser: MakeBrowser, owner: Owner
) -> None:
    browser = await _logged_in(make_browser)
    (before,) = await owner.sessions()

    def change_rights(handler: Any) -> None:
        handler.session["roles"] = ["editor"]
        handler.session.regenerate()

    await do(browser, change_rights)
    (after,) = await owner.sessions()
    assert after.handle == before.handle
    assert await owner.end(before.handle)
    assert not await _is_in(browser)


async def test_36_a_list_that_the_store_evicted_is_made_again_when_the_session_is_used(
    make_browser: MakeBrowser, owner: Owner, store: Store, clock: Clock
) -> None:
    browser = await _logged_in(make_browser)
    key = owner_key(store, "ada")
    snapshot = await store.sessions.load(key)
    assert snapshot is not None
    await store.sessions.write(key, dict.fromkeys(snapshot.fields), 60, create=False)
    assert await owner.sessions() == []
    clock.advance(61)
    await do(browser, show)
    assert await owner.end_all() == 1
    assert not await _is_in(browser)


async def test_one_session_is_ended_by_its_handle(make_browser: MakeBrowser, owner: Owner) -> None:
    first, second = await _logged_in(make_browser), await _logged_in(make_browser)
    handles: list[str] = []
    await do(first, lambda handler: handles.append(handler.session.handle))
    assert await owner.end(handles[0])
    assert not await owner.end(handles[0])
    assert not await owner.end("none of the user's")
    assert not await _is_in(first)
    assert await _is_in(second)


async def test_all_others_are_ended_and_this_one_stays(
    make_browser: MakeBrowser, owner: Owner
) -> None:
    mine, other = await _logged_in(make_browser), await _logged_in(make_browser)

    async def end_others(handler: Any) -> object:
        return await owner.end_all(but=handler.session)

    assert (await do(mine, end_others)).text == '{"result": 1}'
    assert await _is_in(mine)
    assert not await _is_in(other)


async def test_a_session_that_moves_while_it_is_ended_is_ended(
    make_browser: MakeBrowser, owner: Owner
) -> None:
    browser = await _logged_in(make_browser)

    async def end_and_regenerate(handler: Any) -> None:
        handler.session["roles"] = ["editor"]
        handler.session.regenerate()
        await owner.end_all()

    await do(browser, end_and_regenerate)
    assert not await _is_in(browser)
    assert await owner.sessions() == []


async def test_a_message_reaches_each_of_the_users_sessions_once(
    make_browser: MakeBrowser, owner: Owner
) -> None:
    browsers = [await _logged_in(make_browser), await _logged_in(make_browser)]
    assert await owner.notify("Your export is ready.", "success") == 2

    async def take(handler: Any) -> object:
        return [[each.value, each.category] for each in await handler.notifications.take()]

    for browser in browsers:
        page = await do(browser, take)
        assert page.text == '{"result": [["Your export is ready.", "success"]]}'
        assert (await do(browser, take)).text == '{"result": []}'


async def test_a_value_is_set_in_each_of_the_users_sessions(
    make_browser: MakeBrowser, owner: Owner
) -> None:
    browser, other = await _logged_in(make_browser), make_browser()
    assert await owner.set("role", "admin") == 1
    assert (await do(browser, show)).text == '{"result": {"name": "ada", "role": "admin"}}'
    assert (await do(other, show)).text == '{"result": {}}'
    with pytest.raises(TypeError, match=r"session\['role'\]"):
        await owner.set("role", object())


async def test_a_script_without_an_application_reaches_a_user(
    make_browser: MakeBrowser, app: Application, store: Store
) -> None:
    browser = await _logged_in(make_browser)
    script = Store(app.settings)
    if isinstance(script.sessions, MemoryEngine):
        script.sessions = store.sessions  # the records of this process are in no other
    assert await Owner(script, "ada").end_all() == 1
    assert not await _is_in(browser)
    await script.close()


async def test_nobodys_session_and_that_of_a_former_owner_are_on_no_list(
    make_browser: MakeBrowser, owner: Owner, store: Store
) -> None:
    browser = await _logged_in(make_browser)

    def hand_over(handler: Any) -> None:
        handler.session.owner = 7

    def give_up(handler: Any) -> None:
        handler.session.owner = None

    await do(browser, hand_over)
    assert await owner.sessions() == []
    assert len(await Owner(store, 7).sessions()) == 1
    await do(browser, give_up)
    assert await Owner(store, 7).sessions() == []
    assert await _is_in(browser)


async def test_an_owner_that_is_no_id_is_refused(make_browser: MakeBrowser) -> None:
    def assign(handler: Any) -> None:
        with pytest.raises(TypeError, match="write the user's id"):
            handler.session.owner = ["ada"]

    assert (await do(make_browser(), assign)).status == 200


async def test_a_session_that_was_logged_out_is_not_listed(
    make_browser: MakeBrowser, owner: Owner
) -> None:
    browser = await _logged_in(make_browser)
    await do(browser, lambda handler: handler.session.destroy())
    assert await owner.sessions() == []
    assert await owner.end_all() == 0
