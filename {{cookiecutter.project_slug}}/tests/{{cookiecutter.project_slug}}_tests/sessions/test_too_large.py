"""A record that is too large for the store: its change is refused, and nothing else is lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from {{cookiecutter.project_slug}}.sessions import (
    Owner,
    SessionTooLarge,
    Store,
)

from .conftest import Browser, MakeBrowser, Script, messages_of, run, value_of

pytestmark = pytest.mark.gen_test

LIMIT_BYTES = 1000
HALF = "x" * 600
"""One of these fits into a record, two do not."""


@pytest.fixture(autouse=True)
def limited(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the store refuse larger records of sessions, as some do above 1 MiB."""
    write = store.sessions.write

    async def limited(key: str, changes: Any, *args: Any, **options: Any) -> Any:
        if ":session:" in key:
            found = await store.sessions.load(key)
            fields = {**(found.fields if found is not None else {}), **changes}
            size_bytes = sum(len(raw) for raw in fields.values() if raw is not None)
            if size_bytes > LIMIT_BYTES:
                raise SessionTooLarge(size_bytes, LIMIT_BYTES)
        return await write(key, changes, *args, **options)

    monkeypatch.setattr(store.sessions, "write", limited)


async def visitor(make_browser: MakeBrowser) -> Browser:
    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("name", "ada"))
    return browser


async def test_a_new_id_that_has_no_room_for_a_change_keeps_what_another_request_stored(
    make_browser: MakeBrowser,
) -> None:
    browser, tab = await visitor(make_browser), make_browser()
    tab.cookies = before = dict(browser.cookies)
    loaded, leave = asyncio.Event(), asyncio.Event()

    async def slow(handler: Script) -> None:
        handler.session.regenerate()
        handler.session["own"] = HALF
        loaded.set()
        await leave.wait()

    moving = asyncio.ensure_future(run(browser, slow, "POST"))
    await loaded.wait()
    assert (await run(tab, lambda handler: handler.session.set("other", HALF))).status == 200
    leave.set()
    page = await moving
    assert (page.status, len(page.set_cookies)) == (500, 1)
    assert browser.cookies != before
    held: list[dict[str, Any]] = []
    await run(browser, lambda handler: held.append(dict(handler.session)))
    assert held == [{"name": "ada", "other": HALF}]


@pytest.mark.parametrize("owner", [None, "ada"])
async def test_a_user_whose_login_was_refused_does_not_reach_the_session(
    make_browser: MakeBrowser, store: Store, owner: str | None
) -> None:
    browser, bob = await visitor(make_browser), Owner(store, "bob")
    await run(browser, lambda handler: setattr(handler.session, "owner", owner))

    def login(handler: Script) -> None:
        handler.session.owner = "bob"
        handler.session["large"] = 2 * HALF

    assert (await run(browser, login, "POST")).status == 500
    assert await bob.sessions() == []
    assert await bob.notify("for bob") == await bob.set("plan", "paid") == 0
    assert await messages_of(browser) == []
    assert await value_of(browser, "plan") == "absent"
    if owner is not None:
        assert len(await Owner(store, owner).sessions()) == 1


async def test_a_message_that_fits_into_one_session_and_not_into_another_reaches_the_first(
    make_browser: MakeBrowser, store: Store
) -> None:
    def login(handler: Script) -> None:
        handler.session.owner = "ada"

    full, roomy = make_browser(), make_browser()
    for browser in (full, roomy):
        await run(browser, login)
    await run(full, lambda handler: handler.session.set("much", "x" * 700))
    with pytest.raises(SessionTooLarge):
        await Owner(store, "ada").set("more", HALF)
    assert await value_of(roomy, "more") == HALF
    assert await value_of(full, "more") == "absent"
