"""What `prepare` refuses, redirects or finishes never runs, whatever the session has to save.

As in test_response.py, each act runs without the mixins too, and must not differ; see acts.py.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tornado.web import Finish, HTTPError, RequestHandler

from {{cookiecutter.project_slug}}.sessions import SessionMixin

from .acts import GET, HEAD, POST, Act, Comparison, change, message
from .conftest import MakeBrowser, Script, run, value_of
from .trips import Trips

pytestmark = pytest.mark.gen_test


def redirect(handler: Any) -> None:
    handler.redirect("/login")


async def redirect_later(handler: Any) -> None:
    await asyncio.sleep(0)
    handler.redirect("/login")
    await asyncio.sleep(0)


def send_error(handler: Any) -> None:
    handler.send_error(403)


def finish(handler: Any) -> None:
    handler.set_status(202)
    handler.finish("refused")


async def finish_and_wait(handler: Any) -> None:
    await handler.finish({"refused": True})


def raise_http_error(handler: Any) -> None:
    raise HTTPError(401)


def raise_finish(handler: Any) -> None:
    handler.set_status(203)
    raise Finish("refused")


def raise_bug(handler: Any) -> None:
    handler.write("not to be seen")
    raise ZeroDivisionError


async def finish_and_fail(handler: Any) -> None:
    handler.finish("refused")
    await asyncio.sleep(0)
    raise ZeroDivisionError


async def stream(handler: Any) -> None:
    handler.write("refused, ")
    await handler.flush()
    handler.finish("in two parts")


REFUSALS: dict[Act, int] = {
    redirect: 302,
    redirect_later: 302,
    send_error: 403,
    finish: 202,
    finish_and_wait: 200,
    raise_http_error: 401,
    raise_finish: 203,
    raise_bug: 500,
    finish_and_fail: 200,
    stream: 200,
}
HANDSHAKE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "x3JJHMbDL1EzLkh9GBhXDw==",
    "Sec-WebSocket-Version": "13",
}


@pytest.mark.parametrize("refuses", REFUSALS)
async def test_35_what_prepare_refuses_never_runs(tornado: Comparison, refuses: Act) -> None:
    for request in (GET, POST, HEAD):
        status, _, ran, *_ = await tornado.same(prepares=refuses, **request)
        assert (status, ran) == (REFUSALS[refuses], ["on_finish"])


@pytest.mark.parametrize("refuses", REFUSALS)
async def test_35_what_prepare_refuses_receives_no_upload(
    tornado: Comparison, refuses: Act
) -> None:
    large: dict[str, Any] = {"method": "POST", "body": b"x" * 300_000}
    status, _, ran, *_ = await tornado.same("/upload", prepares=refuses, **large)
    assert (status, ran) == (REFUSALS[refuses], ["on_finish"])


@pytest.mark.parametrize("refuses", REFUSALS)
async def test_35_what_prepare_refuses_opens_no_websocket(
    tornado: Comparison, refuses: Act
) -> None:
    status, _, ran, *_ = await tornado.same("/socket", prepares=refuses, headers=HANDSHAKE)
    assert (status, ran) == (REFUSALS[refuses], ["on_finish"])


async def test_what_prepare_lets_pass_runs(tornado: Comparison) -> None:
    for request in (GET, POST, HEAD):
        assert (await tornado.same(**request))[2] == ["method", "on_finish"]
    ran = (await tornado.same("/upload", method="POST", body=b"x" * 10))[2]
    assert ran == ["data_received", "method", "on_finish"]


class Below(RequestHandler):
    """A base class whose own `prepare` refuses, and knows no session."""

    def prepare(self) -> Any:
        self.redirect("/login")


class BelowLater(Below):
    async def prepare(self) -> None:
        await asyncio.sleep(0)
        raise HTTPError(401)


class Refused(SessionMixin, Below):
    def get(self) -> None:
        raise AssertionError("the method ran")


class RefusedLater(SessionMixin, BelowLater):
    get = Refused.get


async def test_35_what_a_base_class_refuses_never_runs(
    app: Any, make_browser: MakeBrowser, trips: Trips
) -> None:
    app.add_handlers(".*", [("/below", Refused), ("/below-later", RefusedLater)])
    browser = make_browser()
    await run(browser, change)
    trips.clear()
    assert (await browser.get("/below", follow=False)).status == 302
    assert (await browser.get("/below-later", follow=False)).status == 401
    assert trips.made == []


async def test_35_what_prepare_refuses_is_saved(make_browser: MakeBrowser, app: Any) -> None:
    class Gate(Script):
        async def prepare(self) -> None:
            await super().prepare()
            message(self)
            change(self)
            self.redirect("/login")

    app.add_handlers(".*", [("/gate", Gate)])
    browser = make_browser()
    for visits in (1, 2):
        assert (await browser.post("/gate", follow=False)).status == 302
        assert await value_of(browser, "seen") == visits
    seen: list[Any] = []

    async def take(handler: Any) -> None:
        seen.extend(await handler.notifications.take())

    await run(browser, take)
    assert [text for text, _ in seen] == ["Please log in"] * 2
