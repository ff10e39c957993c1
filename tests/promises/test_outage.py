"""A store that is killed, frozen or restarted costs a few 503s in bounded time, and no session.

Each fault comes while visitors keep asking. The times are those of the promise, with some slack
for a busy machine.
"""

from __future__ import annotations

import asyncio
import re
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest

from .browser import Browser, Page, client
from .processes import Process, running
from .servers import Server, started, storage, wait_for
from .site import Page as SitePage
from .site import Site, site

STORAGE_TIMEOUT_S = 2.0
BACK_WITHIN_S = 1.0 + 0.3
SLACK_S = 2.0
OUTAGE_S = 3.0
VISITORS = 16

pytestmark = pytest.mark.plain_loop


class Crowd:
    """Visitors with a session each, who keep asking, and what they were answered."""

    def __init__(self, process: Process, browsers: list[Browser], plain: Browser) -> None:
        self.process = process
        self.browsers = browsers
        self.pages: list[Page] = []
        self.plain: list[Page] = []
        self._plain = plain
        self._stop = False

    async def ask(self) -> None:
        """Keep asking until `stop`."""
        await asyncio.gather(*map(self._visit, self.browsers), self._visit_plain())

    def stop(self) -> None:
        self._stop = True

    async def ask_once(self) -> list[Page]:
        return list(await asyncio.gather(*(browser.get("/keep") for browser in self.browsers)))

    async def _visit(self, browser: Browser) -> None:
        number = self.browsers.index(browser)
        while not self._stop:
            if len(self.pages) % 3:
                self.pages.append(await browser.get("/keep"))
            else:
                self.pages.append(await browser.post("/keep", number=number))
            await asyncio.sleep(0.01)

    async def _visit_plain(self) -> None:
        while not self._stop:
            self.plain.append(await self._plain.get("/plain"))
            await asyncio.sleep(0.02)


@asynccontextmanager
async def crowd(server: Server) -> AsyncIterator[Crowd]:
    with running(1, server.environment) as (process,):
        async with client() as http:
            browsers = [Browser(http, process.url) for _ in range(VISITORS)]
            for number, browser in enumerate(browsers):
                assert (await browser.post("/keep", number=number)).status == 200
            yield Crowd(process, browsers, Browser(http, process.url))


def check_unavailable(page: Page) -> None:
    """Nothing but what a visitor should see while the store does not answer."""
    assert page.status == 503
    assert page.headers["Retry-After"] == "1"
    assert "One moment, please" in page.text
    assert "Traceback" not in page.text
    assert not page.cookies
    assert page.seconds < STORAGE_TIMEOUT_S + SLACK_S


def check_log(process: Process, outage_s: float) -> None:
    """No traceback, and at most a line a second for each cause."""
    assert "Traceback" not in process.log, process.log[-4000:]
    lines = re.findall(r"session store .*", process.log)
    assert lines
    for cause, count in Counter(lines).items():
        assert count <= outage_s + SLACK_S + 1, cause


@pytest.mark.parametrize("fault", ["kill", "freeze"])
async def test_while_the_store_is_away_visitors_get_503_soon_and_keep_their_cookies(
    own_server: Server, fault: str
) -> None:
    async with crowd(own_server) as visitors:
        before = await visitors.ask_once()
        assert {page.status for page in before} == {200}
        getattr(own_server, fault)()
        began = time.monotonic()
        asking = asyncio.create_task(visitors.ask())
        await asyncio.sleep(OUTAGE_S)
        visitors.stop()
        await asking
        outage_s = time.monotonic() - began
        assert len(visitors.pages) >= VISITORS
        for page in visitors.pages:
            check_unavailable(page)

        # Who needs no session does not notice.
        assert {page.status for page in visitors.plain} == {200}
        assert len(visitors.plain) > OUTAGE_S * 5
        assert statistics.median(page.seconds for page in visitors.plain) < 0.2
        assert max(page.seconds for page in visitors.plain) < SLACK_S
        check_log(visitors.process, outage_s)

        jars = [dict(browser.jar) for browser in visitors.browsers]
        if fault == "freeze":
            own_server.thaw()
        else:
            own_server.start()
        await asyncio.sleep(BACK_WITHIN_S)
        for number, page in enumerate(await visitors.ask_once()):
            assert page.status == 200
            if fault == "freeze":  # nobody is logged out
                assert page.json == {"number": str(number)}
                assert not page.cookies
            else:  # it came back empty: anonymous, and the dead cookie goes
                assert page.json == {}
                assert list(page.cookies.values()) == [""]
        pages = await asyncio.gather(
            *(browser.post("/keep", again=1) for browser in visitors.browsers)
        )
        assert {page.status for page in pages} == {200}
        if fault == "kill":
            assert not any(browser.jar in jars for browser in visitors.browsers)
        assert [page.json.get("again") for page in await visitors.ask_once()] == ["1"] * VISITORS


async def test_a_restart_under_load_costs_only_503s(own_server: Server) -> None:
    async with crowd(own_server) as visitors:
        asking = asyncio.create_task(visitors.ask())
        await asyncio.sleep(0.5)
        own_server.kill()
        await asyncio.sleep(0.5)
        own_server.start()
        await asyncio.sleep(BACK_WITHIN_S)
        asked = len(visitors.pages)
        await asyncio.sleep(0.5)
        visitors.stop()
        await asking
        counts = Counter(page.status for page in visitors.pages)
        assert set(counts) == {200, 503}
        for page in visitors.pages:
            if page.status == 503:
                check_unavailable(page)
        # The first of those may have been asked before the time was out.
        assert {page.status for page in visitors.pages[asked + VISITORS :]} == {200}
        assert {page.status for page in visitors.plain} == {200}
        check_log(visitors.process, 2)


async def test_a_restart_that_nobody_saw_is_no_error(own_server: Server) -> None:
    async with crowd(own_server) as visitors:
        own_server.kill()
        own_server.start()
        assert {page.status for page in await visitors.ask_once()} == {200}


async def test_connecting_to_a_frozen_server_is_given_up_and_leaves_nothing_open(
    own_server: Server,
) -> None:
    before = own_server.connections()
    async with site(own_server.engine, own_server.storage, storage_timeout=0.3) as running_site:
        browser = running_site.browser()
        own_server.freeze()
        page = await running_site.do(browser, lambda page: page.session.update(name="ada"))
        assert page.status == 503
        own_server.thaw()
        await asyncio.sleep(0.6)
        page = await running_site.do(browser, lambda page: page.session.update(name="ada"))
        assert page.status == 200
        await asyncio.to_thread(
            wait_for, lambda: own_server.connections() <= before + 1, "one connection"
        )


async def test_a_redis_that_kept_its_data_logs_nobody_out(tmp_path: Path) -> None:
    options = ("--appendonly", "yes", "--appendfsync", "always", "--dir", str(tmp_path))
    with started("redis", *options) as server:
        async with crowd(server) as visitors:
            server.kill()
            server.start()
            await asyncio.sleep(BACK_WITHIN_S)
            pages = await visitors.ask_once()
            assert [page.json for page in pages] == [
                {"number": str(number)} for number in range(VISITORS)
            ]


async def test_a_dead_memcached_of_three_moves_no_session_to_the_others() -> None:
    async with three_memcached() as (running_site, servers, browsers):
        servers[0].kill()
        pages = [await running_site.do(browser, show) for browser in browsers]
        assert {page.status for page in pages} == {200, 503}
        for number, page in enumerate(pages):
            assert not page.cookies
            if page.status == 200:
                assert page.json == {"number": number}
        # What was there is not written anywhere else.
        pages = [await running_site.do(browser, count) for browser in browsers]
        assert {page.status for page in pages} == {200, 503}
        servers[0].start()
        await asyncio.sleep(BACK_WITHIN_S)
        for number, browser in enumerate(browsers):
            page = await running_site.do(browser, show)
            assert page.json in ({"number": number, "count": 1}, {})


def show(page: SitePage) -> None:
    page.write(dict(page.session))


def count(page: SitePage) -> None:
    page.session["count"] = page.session.get("count", 0) + 1


@asynccontextmanager
async def three_memcached() -> AsyncIterator[tuple[Site, list[Server], list[Browser]]]:
    """Three servers, and visitors whose sessions are spread over them."""
    with ExitStack() as stack:
        servers = [stack.enter_context(started("memcached")) for _ in range(3)]
        options = storage("memcached", *(server.port for server in servers))
        async with site("memcached", options) as running_site:
            browsers = [running_site.browser() for _ in range(30)]
            for number, browser in enumerate(browsers):

                def begin(page: SitePage, number: int = number) -> None:
                    page.session["number"] = number

                await running_site.do(browser, begin)
            yield running_site, servers, browsers
