"""New releases in the middle of the day: two instances restart in turn, and visitors notice nothing."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ..promises.browser import Browser, client
from ..promises.servers import wait_for
from .conftest import OF_ONE_ENGINE, Launch
from .instance import Instance
from .nginx import behind_nginx
from .test_limits import KEPT, holding

VISITORS = 32
RESTARTS = 4


@OF_ONE_ENGINE
@pytest.mark.parametrize(
    ("keepalive_s", "grace"),
    [(None, 0), (1, 3)],
    ids=["a-connection-for-each-request", "connections-that-are-kept"],
)
def test_four_rolling_restarts_behind_nginx_lose_no_post(
    launch: Launch, tmp_path: Path, keepalive_s: int | None, grace: int
) -> None:
    instances = [launch(PROCESSES="2", GRACE=str(grace)) for _ in range(2)]
    with behind_nginx(tmp_path, instances, keepalive_s) as url:
        statuses = asyncio.run(_restart_under_load(url, instances))
        print(f"{statuses.total()} POSTs, {RESTARTS} restarts: {dict(statuses)}")
    assert set(statuses) == {303}, statuses
    assert statuses.total() > VISITORS * RESTARTS


# The app with a page that keeps its process busy.
BUSY = """
import time
from my_tornado_app import __main__ as program
from my_tornado_app.handlers.plain import PlainHandler

class Busy(PlainHandler):
    def get(self):
        print("busy", flush=True)
        time.sleep(0.5)

def make_app(settings, make=program.make_app):
    app = make(settings)
    app.add_handlers(".*", [("/busy", Busy)])
    return app

program.make_app = make_app
program.main()
"""


@OF_ONE_ENGINE
def test_connections_that_nobody_has_accepted_yet_are_answered(launch: Launch) -> None:
    app = launch(("-c", BUSY))
    with holding(app, 1, b"GET /busy HTTP/1.1\r\nHost: localhost\r\n\r\n"):
        wait_for(lambda: "busy" in app.log, "the busy page")
        with holding(app, 100, KEPT) as waiting:
            app.send(signal.SIGTERM)
            answers = [connection.makefile("rb").readline() for connection in waiting]
    assert set(answers) == {b"HTTP/1.1 200 OK\r\n"}
    assert app.wait() == 0


async def _restart_under_load(url: str, instances: list[Instance]) -> Counter[int]:
    async with _visitors(url) as statuses:
        for number in range(RESTARTS):
            before = statuses.total()
            while statuses.total() < before + VISITORS * 4:
                await asyncio.sleep(0.05)
            await asyncio.to_thread(instances[number % 2].restart)
        before = statuses.total()
        while statuses.total() < before + VISITORS * 4:
            await asyncio.sleep(0.05)
    return statuses


@asynccontextmanager
async def _visitors(url: str) -> AsyncIterator[Counter[int]]:
    """Visitors who post one note after another during a block; counts the statuses. At the end each
    of them finds what was posted last.
    """
    statuses: Counter[int] = Counter()
    go_on = True

    async def visit(browser: Browser, name: int) -> None:
        posted: list[str] = []
        while go_on:
            posted.insert(0, f"note {name} {len(posted)}.")
            statuses[(await browser.post("/", text=posted[0])).status] += 1
        page = await browser.get("/")
        for note in posted[:20]:
            assert note in page.text

    async with client(VISITORS) as http, asyncio.TaskGroup() as visits:
        for name in range(VISITORS):
            visits.create_task(visit(Browser(http, url), name))
        yield statuses
        go_on = False
