"""Streams: the first flush commits, and all else is as Tornado documents it.

The acts of the first half run without the mixins too, and must not differ; see acts.py.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from tornado.httpclient import HTTPClientError
from tornado.iostream import StreamClosedError
from tornado.web import Application, Finish, HTTPError, RequestHandler

from {{cookiecutter.project_slug}}.sessions import SessionMixin

from .acts import GET, HEAD, POST, Act, Comparison, late
from .conftest import (
    Browser,
    MakeBrowser,
    leave_during,
    messages_of,
    run,
    value_of,
)
from .trips import Trips

pytestmark = pytest.mark.gen_test


async def awaited(handler: Any) -> None:
    for part in ("one ", "two ", "three"):
        handler.write(part)
        await handler.flush()


def not_awaited(handler: Any) -> None:
    for part in ("one ", "two ", "three"):
        handler.write(part)
        handler.flush()


def finished_at_once(handler: Any) -> None:
    handler.write("one ")
    handler.flush()
    handler.finish("two")


async def finished_when_flushed(handler: Any) -> None:
    handler.write("one ")
    await handler.flush()
    await handler.finish("two")


async def together(handler: Any) -> None:
    handler.write("one ")
    first = handler.flush()
    handler.write("two ")
    await asyncio.gather(first, handler.flush())
    handler.write("three")


async def with_a_length(handler: Any) -> None:
    handler.set_header("Content-Length", "6")
    handler.write("one")
    await handler.flush()
    handler.write("two")


async def too_long(handler: Any) -> None:
    handler.set_header("Content-Length", "3")
    handler.write("one")
    await handler.flush()
    handler.write("two")


async def of_nothing(handler: Any) -> None:
    await handler.flush()


async def without_content(handler: Any) -> None:
    handler.set_status(204)
    await handler.flush()


async def headers_later(handler: Any) -> None:
    handler.write("one")
    handler.flush()
    handler.set_header("X-Late", "1")
    handler.set_cookie("late", "1")
    handler.clear_header("Content-Type")
    await asyncio.sleep(0)


async def redirect_later(handler: Any) -> None:
    handler.write("one")
    handler.flush()
    late(handler, "redirect", "/late")
    await asyncio.sleep(0)
    late(handler, "redirect", "/late")


async def after_finish(handler: Any) -> None:
    handler.write("one")
    await handler.flush()
    await handler.finish()
    late(handler, "write", "late")
    late(handler, "finish")


STREAMS: list[Act] = [
    awaited,
    not_awaited,
    finished_at_once,
    finished_when_flushed,
    together,
    with_a_length,
    too_long,
    of_nothing,
    without_content,
    headers_later,
    redirect_later,
    after_finish,
]


@pytest.mark.parametrize("does", STREAMS)
async def test_a_stream_is_sent_as_without_the_mixins(tornado: Comparison, does: Act) -> None:
    for kind in ("", "/overrides"):
        for request in (GET, POST, HEAD):
            await tornado.same(kind, does=does, **request)


@pytest.mark.parametrize("waits", [True, False], ids=["awaited", "not awaited"])
@pytest.mark.parametrize(
    "error", [ZeroDivisionError(), HTTPError(404), HTTPError(500), Finish("end")], ids=repr
)
async def test_an_exception_after_a_flush_ends_the_response_as_without_the_mixins(
    tornado: Comparison, waits: bool, error: Exception
) -> None:
    async def does(handler: Any) -> None:
        handler.write("one")
        flushed = handler.flush()
        if waits:
            await flushed
        raise error

    for kind in ("", "/overrides"):
        for request in (GET, POST):
            await tornado.same(kind, does=does, **request)


async def test_send_error_after_a_flush_ends_the_response(tornado: Comparison) -> None:
    async def does(handler: Any) -> None:
        handler.write("one")
        await handler.flush()
        handler.send_error(404)

    await tornado.same(does=does)
    await tornado.same("/overrides", does=does)


class Below(RequestHandler):
    """Has a flush() that returns nothing."""

    def flush(self, include_footers: bool = False) -> Any:
        super().flush(include_footers)


async def test_a_base_class_whose_flush_returns_nothing_is_no_error(
    app: Application, make_browser: MakeBrowser, caplog: pytest.LogCaptureFixture
) -> None:
    class Above(SessionMixin, Below):
        def get(self) -> None:
            self.session["seen"] = 1
            self.write("one ")
            self.flush()
            self.write("two")

    app.add_handlers(".*", [("/above", Above)])
    assert (await make_browser().get("/above")).text == "one two"
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


# --- what is saved


async def test_a_stream_saves_before_its_first_bytes_and_at_its_end(
    make_browser: MakeBrowser,
) -> None:
    browser = make_browser()

    async def does(handler: Any) -> None:
        handler.session["before"] = 1
        handler.write("first ")
        await handler.flush()
        handler.session["after"] = 2
        handler.write("second")

    page = await run(browser, does)
    assert page.text == "first second"
    assert len(page.set_cookies) == 1
    assert (await value_of(browser, "before"), await value_of(browser, "after")) == (1, 2)


async def test_what_is_changed_while_a_flush_is_saved_is_saved_at_the_end(
    make_browser: MakeBrowser, trips: Trips
) -> None:
    async def does(handler: Any) -> None:
        handler.session["before"] = 1
        handler.write("first ")
        handler.flush()
        while "write sessions" not in trips.made:
            await asyncio.sleep(0)
        handler.session["after"] = 2
        handler.finish("second")

    browser = make_browser()
    assert (await run(browser, does)).text == "first second"
    assert (await value_of(browser, "before"), await value_of(browser, "after")) == (1, 2)


async def test_a_session_cannot_begin_after_the_headers_are_sent(
    make_browser: MakeBrowser, caplog: pytest.LogCaptureFixture
) -> None:
    async def does(handler: Any) -> None:
        await handler.flush()
        for change in (
            lambda: handler.session.update(name="ada"),
            lambda: handler.notifications.add("hello"),
            lambda: handler.notifications.set("a", 1),
            lambda: setattr(handler.session, "owner", 1),
        ):
            with pytest.raises(RuntimeError, match="needs a cookie"):
                change()
        with pytest.raises(RuntimeError, match="needs a cookie"):
            await handler.session.modify("count", lambda count: count + 1, 0)
        handler.write("streamed")

    page = await run(make_browser(), does)
    assert (page.text, page.set_cookies) == ("streamed", [])
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_an_id_cannot_change_after_the_headers_are_sent(
    make_browser: MakeBrowser, caplog: pytest.LogCaptureFixture
) -> None:
    async def does(handler: Any) -> None:
        handler.write("first")
        await handler.flush()
        handler.session.regenerate()
        handler.session["lost"] = True

    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("name", "ada"))
    with contextlib.suppress(HTTPClientError):  # the response is cut short
        await run(browser, does)
    assert "call regenerate() before the first flush()" in caplog.text
    assert await value_of(browser, "name") == "ada"
    assert await value_of(browser, "lost") == "absent"


@pytest.mark.parametrize("how", ["awaited", "not awaited", "failing before it is saved"])
async def test_an_exception_after_flush_saves_nothing_more_and_puts_back_what_was_taken(
    make_browser: MakeBrowser, how: str
) -> None:
    browser = make_browser()

    def begin(handler: Any) -> None:
        handler.session["name"] = "ada"
        handler.notifications.add("hello")
        handler.notifications.set("named", "value")

    async def fail(handler: Any) -> None:
        handler.write("x" * 10)
        handler.session["flushed"] = True
        flushed = handler.flush()
        if how == "awaited":
            await flushed
        elif how == "not awaited":
            await asyncio.sleep(0)
        await handler.notifications.take()
        await handler.notifications.get("named")
        if how != "failing before it is saved":
            handler.session["name"] = "grace"
        raise ZeroDivisionError

    seen: list[Any] = []

    async def show(handler: Any) -> None:
        seen.extend([await handler.notifications.take(), await handler.notifications.get("named")])
        seen.append(dict(handler.session))

    await run(browser, begin)
    with contextlib.suppress(HTTPClientError):  # the response is cut short
        await run(browser, fail)
    await run(browser, show)
    assert seen == [[("hello", "info")], "value", {"flushed": True, "name": "ada"}]


# --- server-sent events: such a stream ends because its client leaves


async def take(handler: Any) -> list[Any]:
    return [message.value for message in await handler.notifications.take()]


async def take_in_a_block(handler: Any) -> list[Any]:
    async with handler.notifications as notifications:
        return [message.value for message in await notifications.take()]


async def add(browser: Browser, text: str) -> None:
    await run(browser, lambda handler: handler.notifications.add(text))


async def show(handler: Any, messages: list[Any]) -> None:
    for message in messages:
        handler.write(f"data: {message}\n\n")
    await handler.flush()


async def take_and_show_in_a_block(handler: Any) -> list[Any]:
    async with handler.notifications as notifications:
        messages = [message.value for message in await notifications.take()]
        await show(handler, messages)
    return messages


@pytest.mark.parametrize("takes", [take, take_in_a_block, take_and_show_in_a_block])
async def test_a_stream_whose_client_leaves_shows_no_message_again(
    make_browser: MakeBrowser, monkeypatch: pytest.MonkeyPatch, takes: Any
) -> None:
    browser = make_browser()
    await add(browser, "first")
    shown: list[Any] = []

    async def show_three(handler: Any) -> None:
        for text in ("second", "third", None):
            shown.extend(messages := await takes(handler))
            if takes is not take_and_show_in_a_block:
                await show(handler, messages)
            if text is not None:
                await add(browser, text)

    await leave_during(browser, monkeypatch, show_three, lambda handler: show(handler, ["late"]))
    assert shown == ["first", "second", "third"]
    assert await messages_of(browser) == []


async def flush_in_vain(handler: Any) -> None:
    await show(handler, ["late"])


async def flush_in_vain_and_return(handler: Any) -> None:
    with contextlib.suppress(StreamClosedError):
        await show(handler, ["late"])


async def return_at_once(handler: Any) -> None:
    pass


async def fail(handler: Any) -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize("takes", [take, take_in_a_block])
@pytest.mark.parametrize("ends", [flush_in_vain, flush_in_vain_and_return, return_at_once, fail])
async def test_what_a_stream_took_after_its_last_flush_goes_back_if_its_client_leaves(
    make_browser: MakeBrowser, monkeypatch: pytest.MonkeyPatch, takes: Any, ends: Any
) -> None:
    browser = make_browser()
    await add(browser, "first")
    shown: list[Any] = []

    async def show_one_and_take_another(handler: Any) -> None:
        await show(handler, await takes(handler))
        await add(browser, "second")
        shown.extend(await takes(handler))

    await leave_during(browser, monkeypatch, show_one_and_take_another, ends)
    assert shown == ["second"]
    assert await messages_of(browser) == ["second"]
