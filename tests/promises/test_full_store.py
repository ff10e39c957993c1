"""A Redis that takes nothing more (noeviction), and a record that is too large: pages can be read,
a logout logs out, and nobody is told that something was saved which was not.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest
from promised.sessions import Owner

from .browser import Browser
from .servers import Server, started
from .site import Page, Site, site

USER = "ada"


class Full(NamedTuple):
    server: Server
    running: Site
    visitor: Browser
    """Has a session with an owner and a message that waits."""

    def make_room(self) -> None:
        assert self.server.ask("CONFIG SET maxmemory 0") == "+OK\r\n"


@asynccontextmanager
async def full_redis() -> AsyncIterator[Full]:
    """A site whose store became full when its visitor had a session."""
    with started("redis", "--maxmemory-policy", "noeviction") as server:
        async with site("redis", server.storage) as running:
            visitor = running.browser()

            def begin(page: Page) -> None:
                page.session["name"] = "ada"
                page.session.owner = USER
                page.notifications.add("hello")

            assert (await running.do(visitor, begin)).status == 200
            assert server.ask("CONFIG SET maxmemory 1") == "+OK\r\n"
            page = await running.do(running.browser(), lambda page: page.session.update(a=1))
            assert page.status == 503, "the test is blunt: Redis still takes records"
            assert not page.cookies
            yield Full(server, running, visitor)


async def show(page: Page) -> None:
    page.write(dict(page.session))


async def show_messages(page: Page) -> None:
    messages = await page.notifications.take()
    page.write({"session": dict(page.session), "messages": [each.value for each in messages]})


async def test_pages_can_be_read() -> None:
    async with full_redis() as (_, running, visitor):
        for ahead_s in (0, 120):  # when its use is to be noted, too
            running.store.clock = lambda ahead_s=ahead_s: time.time() + ahead_s  # type: ignore[misc]
            page = await running.do(visitor, show)
            assert page.status == 200
            assert page.json == {"name": "ada"}
            assert not page.cookies


async def test_a_message_is_shown_once() -> None:
    async with full_redis() as (_, running, visitor):
        page = await running.do(visitor, show_messages)
        assert page.status == 200
        assert page.json == {"session": {"name": "ada"}, "messages": ["hello"]}
        page = await running.do(visitor, show_messages)
        assert page.json == {"session": {"name": "ada"}, "messages": []}


@pytest.mark.parametrize("act", ["change", "regenerate", "notify", "modify"])
async def test_what_needs_room_is_a_503_and_the_session_stays(act: str) -> None:
    async def do(page: Page) -> None:
        match act:
            case "change":
                page.session["more"] = 1
            case "regenerate":
                page.session.regenerate()
            case "notify":
                page.notifications.add("saved")
            case "modify":
                await page.session.modify("more", lambda n: n + 1, default=0)
        page.write("saved")

    async with full_redis() as full:
        page = await full.running.do(full.visitor, do)
        assert page.status == 503
        assert not page.cookies
        assert "saved" not in page.text
        full.make_room()
        page = await full.running.do(full.visitor, show_messages)
        assert page.json == {"session": {"name": "ada"}, "messages": ["hello"]}
        assert len(await Owner(full.running.store, USER).sessions()) == 1


async def test_a_logout_logs_out() -> None:
    async with full_redis() as (_, running, visitor):
        stolen = running.browser(visitor)

        async def leave(page: Page) -> None:
            await page.notifications.take()
            page.session.destroy()

        page = await running.do(visitor, leave)
        assert page.status == 200
        assert list(page.cookies.values()) == [""]
        assert (await running.do(stolen, show)).json == {}
        assert await Owner(running.store, USER).sessions() == []


async def test_a_logout_beside_a_message_logs_out_and_loses_only_the_message() -> None:
    """The session that the message needs does not fit, and the one that ends has gone."""
    async with full_redis() as (_, running, visitor):
        stolen = running.browser(visitor)

        def leave(page: Page) -> None:
            page.session.destroy()
            page.notifications.add("You are logged out.")

        page = await running.do(visitor, leave)
        assert page.status == 200
        assert list(page.cookies.values()) == [""]
        assert (await running.do(stolen, show)).json == {}


async def test_a_session_can_be_ended_from_elsewhere() -> None:
    async with full_redis() as (_, running, visitor):
        assert await Owner(running.store, USER).end_all() == 1
        assert (await running.do(visitor, show)).json == {}


@pytest.mark.parametrize("begins", [True, False], ids=["first request", "later request"])
async def test_a_record_that_is_too_large_is_refused_with_the_message_beside_it(
    begins: bool,
) -> None:
    with started("memcached") as server:
        async with site(server.engine, server.storage) as running:
            visitor = running.browser()
            if not begins:
                await running.do(visitor, lambda page: page.session.update(name="ada"))

            def save(page: Page) -> None:
                page.session["large"] = secrets.token_bytes(2_000_000)
                page.notifications.add("Your note is saved.")
                page.write("Your note is saved.")

            page = await running.do(visitor, save)
            assert page.status == 500
            assert "saved" not in page.text
            assert not page.cookies
            page = await running.do(visitor, show_messages)
            expected = {} if begins else {"name": "ada"}
            assert page.json == {"session": expected, "messages": []}
