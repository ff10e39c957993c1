"""Handlers without the mixins: what a block of theirs does at once, and how it fails."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tornado.web import Application
from tornado.websocket import WebSocketHandler

from {{cookiecutter.project_slug}}.sessions import (
    NotificationManager,
    SessionManager,
    Store,
    StoreUnavailable,
)

from .acts import Act
from .conftest import MakeBrowser, Plain, messages_of, plain, run, value_of
from .sockets import connect

pytestmark = pytest.mark.gen_test


@pytest.mark.parametrize("visit", ["first", "second"])
async def test_two_blocks_at_once_are_both_saved(
    app: Application, make_browser: MakeBrowser, store: Store, visit: str
) -> None:
    async def block(handler: Plain, name: str) -> None:
        async with SessionManager(handler) as session:
            session[name] = "stored"
            await store.sessions.load("nothing")  # the other one begins meanwhile

    async def does(handler: Plain) -> None:
        await asyncio.gather(block(handler, "first"), block(handler, "second"))

    browser = make_browser()
    if visit == "second":
        await run(browser, lambda handler: handler.session.set("a", 1))
    page = await plain(browser, app, does)
    assert (page.status, len(page.set_cookies)) == (200, int(visit == "first"))
    assert await value_of(browser, "first") == await value_of(browser, "second") == "stored"


async def test_a_block_that_answers_with_an_error_puts_back_what_it_took(
    app: Application, make_browser: MakeBrowser
) -> None:
    taken: list[Any] = []
    left = asyncio.Event()

    async def does(handler: Plain) -> None:
        async with NotificationManager(handler) as notifications:
            taken.extend(await notifications.take())
            handler.send_error(500)
        left.set()

    browser = make_browser()
    await run(browser, lambda handler: handler.notifications.add("hello"))
    assert (await plain(browser, app, does)).status == 500
    async with asyncio.timeout(5):  # the response leaves first
        await left.wait()
    assert taken == [("hello", "info")]
    assert await messages_of(browser) == ["hello"]


@pytest.mark.parametrize("operation", ["load", "write"])
async def test_a_store_that_does_not_answer_asks_the_client_to_come_back(
    app: Application,
    make_browser: MakeBrowser,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
) -> None:
    async def unavailable(*args: object, **kwargs: object) -> None:
        raise StoreUnavailable("the store", "no answer")

    async def does(handler: Plain) -> None:
        async with SessionManager(handler) as session:
            session["name"] = "grace"

    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("name", "ada"))
    with monkeypatch.context() as patch:
        patch.setattr(store.sessions, operation, unavailable)
        page = await plain(browser, app, does)
    assert (page.status, page.headers.get("Retry-After")) == (503, "1")
    assert await value_of(browser, "name") == "ada"


CHANGES: dict[str, Act] = {
    "session": lambda handler: SessionManager(handler).set("outside", 1),
    "notifications": lambda handler: NotificationManager(handler).add("outside"),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_after_the_block_is_refused_because_it_is_outside(
    app: Application, make_browser: MakeBrowser, change: str
) -> None:
    async def does(handler: Plain) -> None:
        async with SessionManager(handler) as session:
            session["inside"] = 1
        with pytest.raises(RuntimeError, match="outside of its block would be lost"):
            CHANGES[change](handler)

    assert (await plain(make_browser(), app, does)).status == 200


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_after_the_block_of_a_websocket_is_refused(
    app: Application, make_browser: MakeBrowser, base_url: str, change: str
) -> None:
    class Socket(WebSocketHandler):
        async def on_message(self, message: str | bytes) -> None:
            async with SessionManager(self) as session:
                session["inside"] = 1
            try:
                CHANGES[change](self)
            except RuntimeError as error:
                await self.write_message(str(error))
            else:
                await self.write_message("not refused")

    app.add_handlers(".*", [("/plain-socket", Socket)])
    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("a", 1))
    connection = await connect(browser, base_url, "/plain-socket")
    await connection.write_message("go")
    assert "outside of its block would be lost" in str(await connection.read_message())
    connection.close()
    assert await value_of(browser, "inside") == 1
