"""Whatever a visitor's first request stores shares one id, and one `Set-Cookie`."""

from __future__ import annotations

import asyncio

from .browser import Browser, client
from .processes import Process


async def test_all_that_a_first_request_stores_shares_one_cookie(processes: list[Process]) -> None:
    one, other = processes
    async with client() as http:
        browser = Browser(http, one.url, other.url)
        page = await browser.post("/first")
        assert page.status == 200
        assert len(page.headers.get_list("Set-Cookie")) == 1
        # It is all there in the other process, and nothing of it sets a second id.
        session = await browser.get("/keep")
        named = await browser.get("/named", name="named")
        queued = await browser.get("/notice")
        assert session.json == {"color": "green", "size": 3, "items": [1]}
        assert named.json == {"value": "for once"}
        assert queued.json == {"messages": ["queued"]}
        assert not session.cookies
        assert not named.cookies
        assert not queued.cookies


async def test_first_requests_at_the_same_time_get_sessions_of_their_own(
    processes: list[Process],
) -> None:
    async with client() as http:
        browsers = [Browser(http, *(each.url for each in processes)) for _ in range(50)]
        await asyncio.gather(
            *(browser.post("/keep", mine=number) for number, browser in enumerate(browsers))
        )
        assert len({str(browser.jar) for browser in browsers}) == 50
        pages = await asyncio.gather(*(browser.get("/keep") for browser in browsers))
        assert [page.json for page in pages] == [{"mine": str(number)} for number in range(50)]


async def test_a_visitor_who_stores_nothing_gets_no_cookie(processes: list[Process]) -> None:
    async with client() as http:
        browser = Browser(http, processes[0].url)
        for path in ("/keep", "/notice", "/named?name=x"):
            page = await browser.get(path)
            assert page.status == 200
            assert not page.cookies
