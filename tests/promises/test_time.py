"""Idle and absolute limits hold, whatever the clocks do."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from .browser import Browser
from .servers import Server
from .site import Page, Site, site

DAY_S = 24 * 60 * 60


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += seconds


@asynccontextmanager
async def clocked(server: Server, **pycket: Any) -> AsyncIterator[tuple[Site, Clock, Browser]]:
    """A site with a clock of ours, and a visitor with a session."""
    async with site(server.engine, server.storage, **pycket) as running:
        clock = running.store.clock = Clock()
        visitor = running.browser()
        page = await running.do(visitor, lambda page: page.session.update(name="ada"))
        assert page.status == 200
        yield running, clock, visitor


def show(page: Page) -> None:
    page.write({"session": dict(page.session)})


def ttl_s(server: Server, key: str, database: int = 0) -> float:
    """How long the server will keep a record; negative where there is none."""
    if server.engine == "redis":
        answer = server.ask(f"SELECT {database}\r\nPTTL {key}")
        return int(answer.rpartition(":")[2]) / 1000
    answer = server.ask(f"mg {key} t")  # "HD t86400"
    return float(answer.split()[1][1:]) if answer.startswith("HD") else -2


async def test_the_server_ends_a_session_that_nobody_uses(server: Server) -> None:
    async with clocked(server, idle_timeout=3) as (running, _, visitor):
        assert (await running.do(visitor, show)).json["session"] == {"name": "ada"}
        await asyncio.sleep(4.2)  # memcached counts whole seconds
        page = await running.do(visitor, show)
        assert page.json["session"] == {}
        assert list(page.cookies.values()) == [""]


async def test_reading_extends_the_life_of_a_session(server: Server) -> None:
    async with clocked(server, idle_timeout=4) as (running, _, visitor):
        running.store.clock = time.time  # it decides when the use is noted
        for _ in range(5):
            await asyncio.sleep(1)
            assert (await running.do(visitor, show)).json["session"] == {"name": "ada"}


@pytest.mark.parametrize("limit_s", [2, 1800, DAY_S, 29 * DAY_S, 31 * DAY_S, 90 * DAY_S])
async def test_the_server_is_told_the_idle_limit(server: Server, limit_s: float) -> None:
    """memcached takes more than 30 days for a date, which was in January 1970."""
    limits = {"idle_timeout": limit_s, "absolute_timeout": 120 * DAY_S}
    async with clocked(server, **limits) as (running, _, visitor):
        key = await running.key(visitor)
        assert limit_s - 2 <= ttl_s(server, key) <= limit_s + 3
        await running.do(visitor, lambda page: page.session.update(more=1))
        await running.do(visitor, lambda page: page.session.modify("n", lambda n: n + 1, 0))
        assert limit_s - 2 <= ttl_s(server, key) <= limit_s + 3
        session = (await running.do(visitor, show)).json["session"]
        assert session == {"name": "ada", "more": 1, "n": 1}


async def test_notifications_live_as_long_as_their_session(server: Server) -> None:
    limits = {"idle_timeout": 90 * DAY_S, "absolute_timeout": 120 * DAY_S}
    async with clocked(server, **limits) as (running, _, visitor):
        await running.do(visitor, lambda page: page.notifications.set("one", 1))
        await running.do(visitor, lambda page: page.notifications.set("two", 2))

        async def get_one(page: Page) -> None:
            assert await page.notifications.get("one") == 1

        assert (await running.do(visitor, get_one)).status == 200

        async def get_two(page: Page) -> None:
            assert await page.notifications.get("two") == 2

        assert (await running.do(visitor, get_two)).status == 200


async def test_the_absolute_limit_ends_a_session_in_constant_use(server: Server) -> None:
    limits = {"idle_timeout": DAY_S, "absolute_timeout": 3 * DAY_S}
    async with clocked(server, **limits) as (running, clock, visitor):
        key = await running.key(visitor)
        old = dict(visitor.jar)
        for _ in range(5):
            clock.move(DAY_S / 2)
            assert (await running.do(visitor, show)).json["session"]["name"] == "ada"
            await running.do(visitor, lambda page: page.session.update(used=clock.now))
        assert ttl_s(server, key) <= DAY_S / 2 + 1  # the server will end it by itself
        clock.move(DAY_S / 2)
        page = await running.do(visitor, show)
        assert page.json["session"] == {}
        assert list(page.cookies.values()) == [""]
        visitor.jar = old
        assert (await running.do(visitor, show)).json["session"] == {}


async def test_the_absolute_limit_goes_on_counting_when_the_id_changes(server: Server) -> None:
    limits = {"idle_timeout": DAY_S, "absolute_timeout": 3 * DAY_S}
    async with clocked(server, **limits) as (running, clock, visitor):
        for _ in range(5):
            clock.move(DAY_S / 2)
            await running.do(visitor, lambda page: page.session.regenerate())
        assert (await running.do(visitor, show)).json["session"] == {"name": "ada"}
        clock.move(DAY_S / 2)
        assert (await running.do(visitor, show)).json["session"] == {}


async def test_a_remembered_visitor_stays_beyond_the_idle_limit(server: Server) -> None:
    limits = {"idle_timeout": 1800, "absolute_timeout": 120 * DAY_S}
    async with clocked(server, **limits) as (running, _, visitor):

        def remember(page: Page) -> None:
            page.session["remembered"] = True
            page.session.remember(60)

        await running.do(visitor, remember)
        key = await running.key(visitor)
        assert 60 * DAY_S - 2 <= ttl_s(server, key) <= 60 * DAY_S + 3


@pytest.mark.parametrize("step_s", [-DAY_S, -3600, 3600, DAY_S])
async def test_a_step_of_the_clock_loses_no_session(server: Server, step_s: float) -> None:
    limits = {"idle_timeout": 1800, "absolute_timeout": 3 * DAY_S}
    async with clocked(server, **limits) as (running, clock, visitor):
        key = await running.key(visitor)
        clock.move(step_s)
        await running.do(visitor, lambda page: page.session.update(after=True))
        await running.do(visitor, lambda page: page.notifications.add("hello"))
        session = (await running.do(visitor, show)).json["session"]
        assert session == {"name": "ada", "after": True}
        assert 0 < ttl_s(server, key) <= 1801
        await running.do(visitor, lambda page: page.session.regenerate())
        assert (await running.do(visitor, show)).json["session"] == session


async def test_a_clock_that_was_set_back_lets_no_session_live_for_ever(server: Server) -> None:
    """The session began in what is now the future."""
    limits = {"idle_timeout": DAY_S, "absolute_timeout": 2 * DAY_S}
    async with clocked(server, **limits) as (running, clock, visitor):
        clock.move(-400 * DAY_S)
        await running.do(visitor, lambda page: page.session.update(after=True))
        key = await running.key(visitor)
        assert 0 < ttl_s(server, key) <= DAY_S + 1


async def test_no_record_is_ever_without_an_end(server: Server) -> None:
    async with clocked(server) as (running, _, visitor):
        old = await running.key(visitor)

        async def everything(page: Page) -> None:
            page.session["n"] = 1
            page.session.owner = "ada"
            page.notifications.add("message")
            page.notifications.set("named", 1)
            await page.session.save()
            await page.session.modify("n", lambda n: n + 1, 0)
            await page.notifications.get("named")
            page.session.regenerate()

        await running.do(visitor, everything)
        assert 0 < ttl_s(server, old) <= 61  # what says for a minute that the id has moved
        assert 0 < ttl_s(server, await running.key(visitor)) <= DAY_S + 1
        assert 0 < ttl_s(server, await running.key(visitor, "notice"), database=1) <= DAY_S + 1
        lists = running.store.key("owner", hashlib.sha256(b"ada").hexdigest())
        assert 0 < ttl_s(server, lists) <= 30 * DAY_S + 3
        await running.do(visitor, lambda page: page.session.destroy())
        assert 0 < ttl_s(server, old) <= 61
