"""What is cancelled leaves nothing half-done behind, and the end of the app is a quiet one.

conftest.py fails these tests for every warning, for an exception that was never retrieved and for
a task that was destroyed; asyncio's debug mode is on.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from promised.sessions.engines import ENGINES
from tornado.httpclient import HTTPError

from .browser import Browser, client
from .impatient import Impatient
from .processes import running
from .servers import Server, wait_for
from .site import Page, site
from .watched import watch

PAIRS = ({"one": 0, "two": 0}, {"one": 1, "two": 1})


async def save(page: Page) -> None:
    page.session["one"] = page.session["two"] = 1
    await page.session.save()


async def modify(page: Page) -> None:
    await page.session.modify("pair", lambda pair: [number + 1 for number in pair], [0, 0])


async def regenerate(page: Page) -> None:
    page.session["one"] = page.session["two"] = 1
    page.session.regenerate()
    await page.session.save()


async def destroy(page: Page) -> None:
    page.session.destroy()
    await page.session.save()


@pytest.mark.parametrize("act", [save, modify, regenerate, destroy])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_call_cancelled_at_any_trip_leaves_a_whole_record(
    server: Server, act: Callable[[Page], Awaitable[None]], when: str
) -> None:
    async with site(server.engine, server.storage) as near:
        engines = watch(near.store)
        for trip in range(20):
            visitor = near.browser()
            await near.do(visitor, lambda page: page.session.update(one=0, two=0, pair=[0, 0]))
            reached = 0

            async def cancelled(page: Page, trip: int = trip) -> None:
                task = asyncio.ensure_future(act(page))

                async def cancel(operation: str, key: str) -> None:
                    nonlocal reached
                    reached += 1
                    if reached == trip + 1:
                        task.cancel()
                        await asyncio.sleep(0)

                for engine in engines:
                    setattr(engine, when, cancel)
                try:
                    await asyncio.gather(task, return_exceptions=True)
                finally:
                    for engine in engines:
                        setattr(engine, when, _nothing)
                page.set_status(500)  # what is left in memory is not to be saved

            page = await near.do(visitor, cancelled)
            assert page.status == 500
            session = (await near.do(visitor, show)).json
            if session:  # else it is dead: destroyed, or moved to an id that nobody was told
                assert {"one": session["one"], "two": session["two"]} in PAIRS
                assert session["pair"] in ([0, 0], [1, 1])
            else:
                assert act in (destroy, regenerate)
            if reached <= trip:
                return
    raise AssertionError("it never came to an end")


async def test_calls_cancelled_in_the_midst_of_a_trip_harm_no_other_and_leak_no_connection(
    server: Server,
) -> None:
    async with site(server.engine, server.storage) as near:
        sessions = near.store.sessions
        keys = [near.store.key("session", f"{number}") for number in range(10)]
        for key in keys:
            await sessions.write(
                key, {"one": b"0", "two": b"0", "key": key.encode()}, 60, create=True
            )
        await asyncio.gather(*(sessions.load(key) for key in keys))
        most = server.connections() + 8  # of the few an engine may open, some were not needed yet

        for steps in range(40):
            value = b"%d" % steps
            doomed: list[asyncio.Future[Any]] = [
                asyncio.ensure_future(
                    sessions.write(key, {"one": value, "two": value}, 60, create=False)
                )
                for key in keys[:5]
            ]
            doomed += [asyncio.ensure_future(sessions.load(key)) for key in keys[:5]]
            others = asyncio.gather(*(sessions.load(key) for key in keys[5:]))
            for _ in range(steps):
                await asyncio.sleep(0)
            for task in doomed:
                task.cancel()
            for key, record in zip(keys[5:], await others, strict=True):
                assert record is not None
                assert record.fields["key"] == key.encode()
            await asyncio.gather(*doomed, return_exceptions=True)
            for key in keys:
                record = await sessions.load(key)
                assert record is not None
                assert record.fields["key"] == key.encode()
                assert record.fields["one"] == record.fields["two"]
        assert server.connections() <= most


async def test_a_handler_that_is_cancelled_when_its_client_goes_saves_nothing(
    server: Server,
) -> None:
    async with site(server.engine, server.storage) as near:
        visitor = near.browser()
        await near.do(visitor, lambda page: page.session.update(one=0, two=0))
        client = Impatient(near, visitor)

        async def work(page: Page) -> None:
            page.session["one"] = 1
            client.page = page
            await client.gate.wait()
            raise AssertionError("it was not cancelled")

        async def act(page: Page) -> None:
            task = asyncio.ensure_future(work(page))
            await page.left.wait()
            task.cancel()
            await task

        near.acts["act"] = act
        await client.ask("act")
        await client.gate.reached.wait()
        await client.leave()
        assert (await near.do(near.browser(visitor), show)).json == {"one": 0, "two": 0}


async def test_close_waits_for_trips_under_way_and_closes_every_connection(
    own_server: Server,
) -> None:
    before = own_server.connections()
    engine = ENGINES[own_server.engine].open(own_server.storage, "sessions", 2.0)
    saves = [
        asyncio.ensure_future(engine.write(f"promise:{number}", {"a": b"b"}, 60, create=True))
        for number in range(50)
    ]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert await asyncio.gather(*saves) == [{}] * 50
    assert own_server.connections() > before
    last = asyncio.ensure_future(engine.load("promise:1"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await engine.close()
    found = await last
    assert found is not None
    assert found.fields == {"a": b"b"}
    wait_for(lambda: own_server.connections() <= before, "closed connections")


async def test_sigterm_under_load_ends_the_app_in_good_order(own_server: Server) -> None:
    before = own_server.connections()
    flags = ("-X", "dev", "-W", "error")
    with running(1, own_server.environment, *flags) as (process,):
        async with client(16) as http:
            browsers = [Browser(http, process.url) for _ in range(16)]
            for browser in browsers:
                assert (await browser.post("/keep", count=0)).status == 200
            told = asyncio.Event()
            statuses: list[int] = []

            async def visit(browser: Browser) -> None:
                while True:
                    try:
                        statuses.append((await browser.post("/append", item=1)).status)
                    except (HTTPError, OSError):
                        assert told.is_set(), process.log  # it takes no new connections
                        return

            visits = asyncio.gather(*map(visit, browsers))
            await asyncio.sleep(0.5)
            told.set()
            process.terminate()
            await visits
        assert process.wait() == 0, process.log
        assert set(statuses) == {200}
        assert not re.search("Traceback|Warning|never retrieved|was destroyed", process.log), (
            process.log
        )
    assert own_server.connections() <= before  # it may have been closing one itself


def show(page: Page) -> None:
    page.write(dict(page.session))


async def _nothing(operation: str, key: str) -> None:
    pass
