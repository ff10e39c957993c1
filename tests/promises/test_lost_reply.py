"""A command whose reply is lost is not sent again: it may have been carried out.

A proxy between the app and its store cuts the connection after the command and before the reply.
Meanwhile the test restores what the command had found, so that a second one would succeed too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from .browser import Browser
from .proxy import Proxy, before
from .servers import Server, storage
from .site import Act, Page, Site, site


class Lossy(NamedTuple):
    near: Site
    """Reaches the store through the proxy."""
    far: Site
    """Reaches it directly."""
    proxy: Proxy
    visitor: Browser
    engine: str

    @property
    def take(self) -> bytes:
        """What a command contains that takes a message."""
        record = f"lossy{self.proxy.port}:notice:".encode()
        return record if self.engine == "redis" else b"cas " + record

    @property
    def swap(self) -> bytes:
        """What a command contains that changes a session."""
        return b"EVAL" if self.engine == "redis" else b"cas "


@asynccontextmanager
async def lossy(server: Server, **pycket: object) -> AsyncIterator[Lossy]:
    """Two sites on one store, and a visitor who is known to both."""
    async with before(server.port) as proxy:
        shared: dict[str, Any] = {"key_prefix": f"lossy{proxy.port}", **pycket}
        async with (
            site(server.engine, storage(server.engine, proxy.port), **shared) as near,
            site(server.engine, server.storage, **shared) as far,
        ):
            visitor = near.browser()
            await near.do(visitor, lambda page: page.session.update(items=[], name="ada"))
            proxy.sent.clear()
            yield Lossy(near, far, proxy, visitor, server.engine)


def elsewhere(setup: Lossy) -> Browser:
    """The visitor on the site that reaches the store directly."""
    return setup.far.browser(setup.visitor)


async def test_a_take_whose_reply_is_lost_runs_once(server: Server) -> None:
    async with lossy(server) as setup:
        await setup.far.do(elsewhere(setup), lambda page: page.notifications.add("first"))

        async def add_another() -> None:
            await setup.far.do(elsewhere(setup), lambda page: page.notifications.add("second"))

        setup.proxy.on_cut = add_another
        setup.proxy.cut_after = setup.take
        page = await setup.near.do(setup.visitor, take)
        assert setup.proxy.cuts == 1
        assert page.status == 503
        assert _sent(setup, setup.take) == 1
        page = await setup.far.do(elsewhere(setup), take)
        assert page.json == {"messages": ["second"]}


async def test_a_swap_whose_reply_is_lost_runs_once(server: Server) -> None:
    async with lossy(server) as setup:
        runs = 0

        async def append(page: Page) -> None:
            def function(items: list[int]) -> list[int]:
                nonlocal runs
                runs += 1
                return [*items, 1]

            await page.session.modify("items", function)

        async def empty_it() -> None:
            await setup.far.do(
                elsewhere(setup), lambda page: page.session.modify("items", lambda items: [])
            )

        setup.proxy.on_cut = empty_it
        setup.proxy.cut_after = setup.swap
        page = await setup.near.do(setup.visitor, append)
        assert setup.proxy.cuts == 1
        assert page.status == 503
        assert runs == 1
        assert _sent(setup, setup.swap) == 1
        assert (await setup.far.do(elsewhere(setup), show)).json["items"] == []


async def test_a_swap_whose_reply_is_lost_was_carried_out(server: Server) -> None:
    async with lossy(server) as setup:
        setup.proxy.cut_after = setup.swap
        page = await setup.near.do(
            setup.visitor, lambda page: page.session.modify("items", lambda items: [*items, 1])
        )
        assert page.status == 503
        assert (await setup.far.do(elsewhere(setup), show)).json["items"] == [1]


async def test_a_lost_reply_to_a_read_changes_nothing(server: Server) -> None:
    async with lossy(server) as setup:
        setup.proxy.cut_after = b":session:"
        page = await setup.near.do(setup.visitor, show)
        assert page.status in (200, 503)  # a read may be repeated
        assert not page.cookies
        await asyncio.sleep(0.6)
        page = await setup.near.do(setup.visitor, show)
        assert page.json == {"items": [], "name": "ada"}


async def test_a_reply_that_comes_late_is_never_taken_for_another(server: Server) -> None:
    async with lossy(server, storage_timeout=0.3) as setup:
        visitors = [setup.near.browser() for _ in range(20)]
        for number, visitor in enumerate(visitors):
            await setup.near.do(visitor, _named(number))
        setup.proxy.delay_s = 0.5
        pages = await asyncio.gather(*(setup.near.do(visitor, show) for visitor in visitors))
        assert {page.status for page in pages} == {503}
        setup.proxy.delay_s = 0.0
        async with asyncio.timeout(5):
            while (await setup.near.do(setup.visitor, show)).status == 503:
                await asyncio.sleep(0.05)
        for _ in range(5):
            pages = await asyncio.gather(*(setup.near.do(visitor, show) for visitor in visitors))
            for number, page in enumerate(pages):
                assert page.status == 503 or page.json == {"number": number}
        await asyncio.sleep(1)
        pages = await asyncio.gather(*(setup.near.do(visitor, show) for visitor in visitors))
        assert [page.json for page in pages] == [{"number": number} for number in range(20)]


def _sent(setup: Lossy, command: bytes) -> int:
    """How many of those commands the near site has sent."""
    return b"".join(setup.proxy.sent).count(command)


def _named(number: int) -> Act:
    return lambda page: page.session.update(number=number)


def show(page: Page) -> None:
    page.write(dict(page.session))


async def take(page: Page) -> None:
    messages = await page.notifications.take()
    page.write({"messages": [message.value for message in messages]})
