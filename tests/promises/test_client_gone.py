"""A client that has gone away changes nothing: what the handler stored is stored."""

from __future__ import annotations

from .impatient import Impatient
from .servers import Server
from .site import Page, site
from .watched import watch


async def show(page: Page) -> None:
    page.write(
        {
            "session": dict(page.session),
            "messages": [message.value for message in await page.notifications.peek()],
        }
    )


async def test_what_a_handler_stores_after_the_client_has_gone_is_stored(server: Server) -> None:
    async with site(server.engine, server.storage) as running:
        visitor = running.browser()
        await running.do(visitor, lambda page: page.session.update(name="ada"))
        client = Impatient(running, visitor)

        async def act(page: Page) -> None:
            client.page = page
            page.session["before"] = 1
            await client.gate.wait()
            page.session["after"] = 2
            page.notifications.add("done")

        running.acts["act"] = act
        await client.ask("act")
        await client.gate.reached.wait()
        await client.leave()
        await client.let_it_end()
        assert (await running.do(visitor, show)).json == {
            "session": {"name": "ada", "before": 1, "after": 2},
            "messages": ["done"],
        }


async def test_a_client_that_goes_during_the_commit_stops_nothing(server: Server) -> None:
    async with site(server.engine, server.storage) as running:
        visitor = running.browser()
        await running.do(visitor, lambda page: page.session.update(name="ada"))
        client = Impatient(running, visitor)
        sessions, _ = watch(running.store)

        async def hold(operation: str, key: str) -> None:
            if operation == "write":
                await client.gate.wait()

        def act(page: Page) -> None:
            client.page = page
            page.session["stored"] = True
            page.write("x" * 100_000)

        sessions.before = hold
        running.acts["act"] = act
        await client.ask("act")
        await client.gate.reached.wait()
        await client.leave()
        await client.let_it_end()
        page = await running.do(visitor, show)
        assert page.json["session"] == {"name": "ada", "stored": True}


async def test_a_failing_handler_whose_client_has_gone_puts_back_what_it_took(
    server: Server,
) -> None:
    async with site(server.engine, server.storage) as running:
        visitor = running.browser()
        await running.do(visitor, lambda page: page.notifications.add("hello"))
        client = Impatient(running, visitor)

        async def act(page: Page) -> None:
            client.page = page
            assert len(await page.notifications.take()) == 1
            await client.gate.wait()
            page.set_status(500)

        running.acts["act"] = act
        await client.ask("act")
        await client.gate.reached.wait()
        await client.leave()
        await client.let_it_end()
        assert (await running.do(visitor, show)).json["messages"] == ["hello"]
