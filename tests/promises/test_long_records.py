"""A long session, of which a request changes little, costs little; and it stays whole at the limit."""

from __future__ import annotations

import contextlib
import functools
import secrets

from promised.sessions import SessionTooLarge

from .proxy import before
from .servers import started, storage
from .site import Page, site

PARTS = 100
PART_CHARACTERS = 1000


def begin(page: Page) -> None:
    for number in range(PARTS):
        page.session[f"part{number}"] = secrets.token_hex(PART_CHARACTERS // 2)


async def test_changing_20_bytes_of_100_kb_sends_redis_two_short_commands() -> None:
    """Memcached takes a record whole."""
    changes = 100
    async with contextlib.AsyncExitStack() as stack:
        server = stack.enter_context(started("redis"))
        proxy = await stack.enter_async_context(before(server.port))
        running = await stack.enter_async_context(site("redis", storage("redis", proxy.port)))
        visitor = running.browser()
        await running.do(visitor, begin)
        proxy.sent.clear()
        for number in range(changes):

            def change(page: Page, note: str = f"{number:020}") -> None:
                page.session["note"] = note

            assert (await running.do(visitor, change)).status == 200
        assert len(b"".join(proxy.sent)) / changes < 1500  # 1,000 of them are the script

        def show(page: Page) -> None:
            page.write({"note": page.session["note"], "names": len(page.session)})

        page = await running.do(visitor, show)
        assert page.json == {"note": f"{changes - 1:020}", "names": PARTS + 1}


async def test_a_long_record_that_has_no_room_left_stays_as_it_was() -> None:
    with started("memcached") as server:
        async with site("memcached", server.storage) as running:
            visitor = running.browser()
            refused: list[SessionTooLarge] = []

            async def grow(page: Page, name: str) -> None:
                page.session[name] = "x" * 100_000
                try:
                    await page.session.save()
                except SessionTooLarge as error:
                    refused.append(error)
                    await page.session.reload()

            for number in range(15):
                page = await running.do(visitor, functools.partial(grow, name=f"part{number}"))
                assert page.status == 200

            def show(page: Page) -> None:
                page.write({"names": list(page.session)})

            assert 0 < len(refused) < 15
            kept = 15 - len(refused)
            page = await running.do(visitor, show)
            assert page.json == {"names": [f"part{number}" for number in range(kept)]}
