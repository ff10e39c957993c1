"""Requests that change different names of one session never undo each other.

Two processes of the generated app, 64 connections, 2,000 requests on one session.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from .browser import Browser, Page, client
from .processes import Process

REQUESTS = 2000
CONNECTIONS = 64

pytestmark = pytest.mark.plain_loop


@asynccontextmanager
async def visitor(processes: list[Process]) -> AsyncIterator[Browser]:
    """A visitor with a session, who reaches two processes of the app in turn."""
    async with client(CONNECTIONS) as http:
        browser = Browser(http, *(process.url for process in processes))
        assert (await browser.post("/keep", began="yes")).status == 200
        yield browser


def succeeded(pages: list[Page]) -> bool:
    return {page.status for page in pages} == {200}


async def test_2000_requests_that_set_a_name_each_keep_2000(processes: list[Process]) -> None:
    async with visitor(processes) as browser:
        names = {f"name{number}": f"value {number}" for number in range(REQUESTS)}
        calls = [browser.post("/keep", (name, value)) for name, value in names.items()]
        assert succeeded(await asyncio.gather(*calls))
        assert (await browser.get("/keep")).json == {"began": "yes", **names}


async def test_modify_of_one_list_from_2000_requests_leaves_2000_items(
    processes: list[Process],
) -> None:
    async with visitor(processes) as browser:
        calls = [browser.post("/append", item=number) for number in range(REQUESTS)]
        assert succeeded(await asyncio.gather(*calls))
        items = (await browser.get("/keep")).json["items"]
        assert sorted(items, key=int) == [str(number) for number in range(REQUESTS)]


async def test_deletes_of_other_names_in_between_undo_nothing(processes: list[Process]) -> None:
    async with visitor(processes) as browser:
        goes = [f"goes{number}" for number in range(REQUESTS // 2)]
        assert (await browser.post("/keep", *((name, "x") for name in goes))).status == 200
        stays = [f"stays{number}" for number in range(REQUESTS // 2)]
        calls = [browser.post("/keep", (name, "y")) for name in stays]
        calls += [browser.post("/drop", name=name) for name in goes]
        calls[::2], calls[1::2] = calls[: REQUESTS // 2], calls[REQUESTS // 2 :]
        assert succeeded(await asyncio.gather(*calls))
        assert (await browser.get("/keep")).json == {"began": "yes", **dict.fromkeys(stays, "y")}
