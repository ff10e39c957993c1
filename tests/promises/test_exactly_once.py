"""A notification reaches exactly one of its readers, also when some of them fail.

Two processes of the generated app, 8 readers, 1,000 notifications.
"""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from .browser import Browser, client
from .processes import Process

NOTIFICATIONS = 1000
READERS = 8

pytestmark = pytest.mark.plain_loop


async def test_1000_messages_reach_one_of_8_readers_each(processes: list[Process]) -> None:
    heard = await _read_messages(processes, failing=0)
    assert heard == Counter({f"message {number}": 1 for number in range(NOTIFICATIONS)})


async def test_what_a_failing_reader_took_is_delivered_later(processes: list[Process]) -> None:
    heard = await _read_messages(processes, failing=3)
    assert heard == Counter({f"message {number}": 1 for number in range(NOTIFICATIONS)})


async def test_named_notifications_reach_one_reader_each(processes: list[Process]) -> None:
    heard: Counter[str | None] = Counter()
    async with client() as http:
        browser = Browser(http, *(process.url for process in processes))
        await browser.post("/keep", began="yes")
        for start in range(0, 200, 25):
            names = {f"name{number}": f"value {number}" for number in range(start, start + 25)}
            await browser.post("/named", *names.items())
            # Three readers for each at once: one of them fails, and puts back what it took.
            pages = await asyncio.gather(
                *(browser.get("/named", name=name) for name in names),
                *(browser.get("/named", name=name, fail=1) for name in names),
                *(browser.get("/named", name=name) for name in names),
            )
            pages += await asyncio.gather(*(browser.get("/named", name=name) for name in names))
            heard.update(page.json["value"] for page in pages if page.status == 200)
    del heard[None]  # the answer to those who came too late
    assert heard == Counter({f"value {number}": 1 for number in range(200)})


async def _read_messages(processes: list[Process], *, failing: int) -> Counter[str]:
    """Send the messages while the readers read, and return what they got, and how often."""
    heard: Counter[str] = Counter()
    sent = asyncio.Event()
    async with client() as http:
        browser = Browser(http, *(process.url for process in processes))
        await browser.post("/keep", began="yes")

        async def write() -> None:
            texts = [("text", f"message {number}") for number in range(NOTIFICATIONS)]
            for start in range(0, NOTIFICATIONS, 20):
                batches = (texts[start : start + 10], texts[start + 10 : start + 20])
                await asyncio.gather(*(browser.post("/notice", *batch) for batch in batches))
            sent.set()

        async def read(process: Process, fails: bool) -> None:
            own = Browser(http, process.url)
            own.jar = browser.jar
            while True:
                last = sent.is_set()
                page = await own.get("/notice", **({"fail": 1} if fails else {}))
                assert page.status == (500 if fails else 200)
                if not fails:
                    heard.update(page.json["messages"])
                if last:
                    return

        await asyncio.gather(
            write(), *(read(processes[each % 2], each < failing) for each in range(READERS))
        )
        heard.update((await browser.get("/notice")).json["messages"])
    return heard
