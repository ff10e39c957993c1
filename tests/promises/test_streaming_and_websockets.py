"""Sessions in responses that are sent in parts, and in connections that stay open.

What cannot work, a new cookie after the headers, raises and says why.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from promised.sessions import NotificationMixin, SessionMixin
from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, WebSocketHandler, websocket_connect

from .browser import Browser
from .servers import Server
from .site import Page, Site, site


def show(page: Page) -> None:
    page.write(dict(page.session))


async def begin(running: Site, **values: Any) -> Browser:
    visitor = running.browser()
    await running.do(visitor, lambda page: page.session.update(values))
    return visitor


async def test_changes_before_and_after_a_flush_are_saved(server: Server) -> None:
    async with site(server.engine, server.storage) as running:
        visitor = await begin(running, name="ada")

        async def stream(page: Page) -> None:
            page.session["before"] = 1
            page.write("first ")
            await page.flush()
            stored = await running.do(running.browser(visitor), show)
            assert stored.json == {"name": "ada", "before": 1}  # with the first bytes
            page.session["after"] = 2
            page.write("second ")
            await page.flush()
            page.session["last"] = 3
            page.write("third")

        page = await running.do(visitor, stream)
        assert page.text == "first second third"
        stored = await running.do(visitor, show)
        assert stored.json == {"name": "ada", "before": 1, "after": 2, "last": 3}


async def test_a_session_begun_before_the_first_flush_gets_its_cookie(server: Server) -> None:
    async with site(server.engine, server.storage) as running:
        visitor = running.browser()

        def stream(page: Page) -> None:
            page.session["name"] = "ada"
            page.write("first")
            page.flush()  # not awaited, as in handlers that are no coroutines
            page.session["more"] = 1
            page.write("second")

        page = await running.do(visitor, stream)
        assert page.text == "firstsecond"
        assert page.headers["Cache-Control"] == "no-store"
        assert (await running.do(visitor, show)).json == {"name": "ada", "more": 1}


async def test_a_session_cannot_begin_after_the_headers(server: Server) -> None:
    async with site(server.engine, server.storage) as running:
        visitor = running.browser()

        async def stream(page: Page) -> None:
            await page.flush()
            with pytest.raises(RuntimeError, match=r"after the headers.*needs a cookie"):
                page.session["name"] = "ada"
            with pytest.raises(RuntimeError, match=r"after the headers.*needs a cookie"):
                page.notifications.add("hello")
            with pytest.raises(RuntimeError, match=r"after the headers.*needs a cookie"):
                await page.session.modify("visits", lambda visits: visits + 1, default=0)
            page.write("done")

        page = await running.do(visitor, stream)
        assert page.text == "done"
        assert not visitor.jar


async def test_an_id_cannot_change_after_the_headers(server: Server) -> None:
    async with site(server.engine, server.storage) as running:
        visitor = await begin(running, name="ada")

        async def stream(page: Page) -> None:
            await page.flush()
            page.session.regenerate()
            with pytest.raises(RuntimeError, match=r"after the headers.*needs a cookie"):
                await page.session.save()
            await page.session.reload()
            page.write("done")

        await running.do(visitor, stream)
        assert (await running.do(visitor, show)).json == {"name": "ada"}


async def test_a_session_can_end_in_a_stream(server: Server) -> None:
    async with site(server.engine, server.storage) as running:
        visitor = await begin(running, name="ada")

        async def stream(page: Page) -> None:
            await page.flush()
            page.session.destroy()
            page.write("bye")

        assert (await running.do(visitor, stream)).text == "bye"
        assert (await running.do(visitor, show)).json == {}


async def test_a_stream_that_fails_drops_what_came_after_the_last_save(server: Server) -> None:
    async with site(server.engine, server.storage) as running:
        visitor = await begin(running, name="ada")

        async def stream(page: Page) -> None:
            page.session["saved"] = 1
            await page.session.save()
            page.session["dropped"] = 2
            page.set_status(500)

        assert (await running.do(visitor, stream)).status == 500
        assert (await running.do(visitor, show)).json == {"name": "ada", "saved": 1}


class Channel(SessionMixin, NotificationMixin, WebSocketHandler):
    """Does what a message says: [what, name, value]."""

    async def on_message(self, message: str | bytes) -> None:
        what, name, value = json.loads(message)
        try:
            answer = await self._do(what, name, value)
        except RuntimeError as error:
            answer = f"{type(error).__name__}: {error}"
        self.write_message(json.dumps(answer))

    async def _do(self, what: str, name: str, value: Any) -> Any:
        match what:
            case "set":
                self.session[name] = value
                await self.session.save()
            case "append":
                await self.session.modify(name, lambda items: [*items, value], default=[])
            case "add":
                self.notifications.add(value)
                await self.session.save()
            case "take":
                return [message.value for message in await self.notifications.take()]
            case "reload":
                await self.session.reload()
            case "destroy":
                self.session.destroy()
                await self.session.save()
            case "regenerate":
                self.session.regenerate()
                await self.session.save()
        return dict(self.session)


Say = Callable[..., Any]


@asynccontextmanager
async def channel(running: Site, visitor: Browser) -> AsyncIterator[Say]:
    """A WebSocket of the visitor; calling it says something and returns the answer."""
    cookie = "; ".join(f"{name}={value}" for name, value in visitor.jar.items())
    url = running.url.replace("http", "ws") + "/channel"
    connection: WebSocketClientConnection = await websocket_connect(
        HTTPRequest(url, headers={"Cookie": cookie} if cookie else {})
    )

    async def say(what: str, name: str = "", value: Any = None) -> Any:
        await connection.write_message(json.dumps([what, name, value]))
        answer = await connection.read_message()
        assert isinstance(answer, str), "the connection was closed"
        return json.loads(answer)

    try:
        yield say
    finally:
        connection.close()
        assert await connection.read_message() is None


ROUTES = [("/channel", Channel)]


async def test_a_websocket_saves_and_reloads(server: Server) -> None:
    async with site(server.engine, server.storage, routes=ROUTES) as running:
        visitor = await begin(running, name="ada")
        async with channel(running, visitor) as say:
            assert await say("set", "in", "the channel") == {"name": "ada", "in": "the channel"}
            assert (await running.do(visitor, show)).json == {"name": "ada", "in": "the channel"}
            await running.do(visitor, lambda page: page.session.update(name="grace"))
            assert (await say("show"))["name"] == "ada"
            assert (await say("reload"))["name"] == "grace"
            # Two channels and a page change names of their own.
            async with channel(running, visitor) as say_too:
                await say_too("set", "too", 1)
                await say("set", "one", 2)
                await say("append", "items", 3)
                await say_too("append", "items", 4)
            expected = {"name": "grace", "in": "the channel", "too": 1, "one": 2, "items": [3, 4]}
            assert (await running.do(visitor, show)).json == expected


async def test_a_websocket_takes_and_leaves_messages(server: Server) -> None:
    async with site(server.engine, server.storage, routes=ROUTES) as running:
        visitor = await begin(running, name="ada")
        async with channel(running, visitor) as say:
            await running.do(visitor, lambda page: page.notifications.add("from a page"))
            assert await say("take") == ["from a page"]
            await say("add", "", "from the channel")
            async with channel(running, visitor) as say_too:
                assert await say_too("take") == ["from the channel"]
            assert await say("take") == []


async def test_a_websocket_cannot_begin_or_move_a_session(server: Server) -> None:
    async with site(server.engine, server.storage, routes=ROUTES) as running:
        async with channel(running, running.browser()) as say:
            answer = await say("set", "name", "ada")
            assert "RuntimeError" in answer
            assert "needs a cookie" in answer
        visitor = await begin(running, name="ada")
        async with channel(running, visitor) as say:
            assert "needs a cookie" in await say("regenerate")
        assert (await running.do(visitor, show)).json == {"name": "ada"}


async def test_a_websocket_of_a_session_that_was_ended_writes_nothing(server: Server) -> None:
    async with site(server.engine, server.storage, routes=ROUTES) as running:
        visitor = await begin(running, name="ada")
        old = running.browser(visitor)
        async with channel(running, visitor) as say:
            await running.do(visitor, lambda page: page.session.destroy())
            assert await say("set", "written", 1) == {}
            assert await say("reload") == {}
        assert (await running.do(old, show)).json == {}


async def test_a_websocket_can_end_a_session(server: Server) -> None:
    async with site(server.engine, server.storage, routes=ROUTES) as running:
        visitor = await begin(running, name="ada")
        async with channel(running, visitor) as say:
            assert await say("destroy") == {}
        assert (await running.do(visitor, show)).json == {}
