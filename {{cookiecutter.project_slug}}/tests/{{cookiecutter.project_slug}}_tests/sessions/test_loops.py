"""One application served by several event loops in turn, as test suites do, and after a fork."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application

from {{cookiecutter.project_slug}}.sessions import ConfigurationError, Store

from .conftest import COOKIE_SECRET, Browser, Script, run, send, value_of


def application(engine: str, storage: dict[str, Any], key_prefix: str) -> Application:
    pycket = {"engine": engine, "storage": storage, "key_prefix": key_prefix}
    return Application([("/", Script)], cookie_secret=COOKIE_SECRET, pycket=pycket)


async def serve(app: Application, browsers: list[Browser], visit: Callable[..., Any]) -> None:
    """Serve the application in this event loop for one visit."""
    socket, port = bind_unused_port()
    server = HTTPServer(app)
    server.add_socket(socket)
    client = AsyncHTTPClient(force_instance=True)
    browser = Browser(client, f"http://localhost:{port}")
    browser.cookies = browsers[0].cookies if browsers else {}
    browsers[:] = [browser]
    try:
        await visit(browser)
    finally:
        client.close()
        server.stop()
        await server.close_all_connections()


async def count(browser: Browser) -> None:
    await run(
        browser, lambda handler: handler.session.set("count", handler.session.get("count", 0) + 1)
    )


def test_one_application_is_served_by_one_event_loop_after_the_other(
    engine: str, storage: dict[str, Any], key_prefix: str
) -> None:
    app, browsers = application(engine, storage, key_prefix), list[Browser]()
    for _ in range(4):
        asyncio.run(serve(app, browsers, count))

    async def check(browser: Browser) -> None:
        assert await value_of(browser, "count") == 4

    asyncio.run(serve(app, browsers, check))


def test_a_loop_that_ended_in_the_middle_of_requests_leaves_the_next_one_in_peace(
    engine: str, storage: dict[str, Any], key_prefix: str
) -> None:
    app, browsers = application(engine, storage, key_prefix), list[Browser]()

    async def leave(browser: Browser) -> None:
        await count(browser)
        waiting = [asyncio.Event() for _ in range(5)]

        async def wait(handler: Script) -> None:
            entered = next(event for event in waiting if not event.is_set())
            entered.set()
            await handler.session.reload()
            await asyncio.Event().wait()

        Script.does = staticmethod(wait)
        writers = [await send(browser) for _ in waiting]
        for event in waiting:
            await event.wait()
        for writer in writers:
            writer.close()

    asyncio.run(serve(app, browsers, leave))
    asyncio.run(serve(app, browsers, count))

    async def check(browser: Browser) -> None:
        assert await value_of(browser, "count") == 2

    asyncio.run(serve(app, browsers, check))


def test_a_fork_after_the_first_request_serves_on_connections_of_its_own(
    engine: str, storage: dict[str, Any], key_prefix: str
) -> None:
    app, browsers = application(engine, storage, key_prefix), list[Browser]()
    asyncio.run(serve(app, browsers, count))
    child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(BaseException):
            asyncio.run(serve(app, browsers, count))
            status = 0
        os._exit(status)
    asyncio.run(serve(app, browsers, count))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    async def check(browser: Browser) -> None:
        assert await value_of(browser, "count") in (2, 3)  # both began with what they had loaded

    asyncio.run(serve(app, browsers, check))


def test_records_in_memory_are_refused_to_one_of_several_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They begin in each process when Tornado has forked before the store was opened."""
    monkeypatch.setattr("tornado.process._task_id", 1)
    with pytest.raises(ConfigurationError, match="one process"):
        Store({"pycket": {"engine": "memory"}, "cookie_secret": COOKIE_SECRET})
