"""What a visitor meets when the store, the data in it or the client fails: never a lost session."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, ClassVar

import pytest
from tornado.web import RequestHandler

from {{cookiecutter.project_slug}}.sessions import (
    NotificationMixin,
    SessionMixin,
    Store,
    StoreUnavailable,
)

from ..browser import Browser, Page
from ..conftest import MakeBrowser
from .conftest import Routes

pytestmark = pytest.mark.gen_test


class Script(SessionMixin, NotificationMixin, RequestHandler):
    """Runs what a test has put here, with the handler as its argument."""

    does: ClassVar[Any] = None
    ends: ClassVar[Any] = lambda: None

    def on_finish(self) -> None:
        type(self).ends()

    async def get(self) -> None:
        result = type(self).does(self)
        if asyncio.iscoroutine(result):
            await result


@pytest.fixture
def handlers() -> Routes:
    return [("/", Script)]


async def _do(browser: Browser, does: Any) -> Page:
    Script.does = staticmethod(does)
    return await browser.get("/", follow=False)


def _begin(handler: Script) -> None:
    handler.session["name"] = "ada"
    handler.notifications.add("hello")


async def _show(handler: Script) -> None:
    messages = [message.value for message in await handler.notifications.take()]
    handler.write(f"{dict(handler.session)} {messages}")


async def _unavailable(*args: object, **kwargs: object) -> None:
    raise StoreUnavailable("the store", "no answer")


@pytest.mark.parametrize("operation", ["load", "write"])
async def test_a_store_that_does_not_answer_is_a_503_and_logs_nobody_out(
    store: Store, make_browser: MakeBrowser, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    browser = make_browser()
    await _do(browser, _begin)
    with monkeypatch.context() as patch:
        patch.setattr(store.sessions, operation, _unavailable)
        page = await _do(browser, lambda handler: handler.session.update(name="grace"))
        assert page.status == 503
        assert page.headers["Retry-After"] == "1"
        assert page.set_cookies == []
    assert (await _do(browser, _show)).text == "{'name': 'ada'} ['hello']"


async def test_a_visitor_whose_first_session_cannot_be_stored_gets_no_cookie(
    store: Store, make_browser: MakeBrowser, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = make_browser()
    monkeypatch.setattr(store.sessions, "write", _unavailable)
    page = await _do(browser, _begin)
    assert page.status == 503
    assert page.set_cookies == []


async def test_a_store_that_fails_while_the_id_changes_logs_nobody_out(
    store: Store, make_browser: MakeBrowser, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = make_browser()
    await _do(browser, _begin)
    with monkeypatch.context() as patch:
        patch.setattr(store.sessions, "write", _unavailable)
        page = await _do(browser, lambda handler: handler.session.regenerate())
        assert page.status == 503
        assert page.set_cookies == []


async def test_an_outage_is_one_line_in_the_log(
    store: Store,
    make_browser: MakeBrowser,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    browser = make_browser()
    await _do(browser, _begin)
    monkeypatch.setattr(store.sessions, "load", _unavailable)
    now = store.clock()
    monkeypatch.setattr(store, "clock", lambda: now)
    for _ in range(10):
        assert (await _do(browser, _show)).status == 503
    lines = [record for record in caplog.records if "session store" in record.getMessage()]
    assert len(lines) == 1
    assert lines[0].exc_info is None


@pytest.mark.parametrize("raw", [b"", b"\xc1", b"\xdd\xff\xff\xff\xff", b"\x80\x04\x95pickle"])
async def test_a_record_that_is_none_of_ours_is_dropped_and_a_new_session_begins(
    store: Store, make_browser: MakeBrowser, caplog: pytest.LogCaptureFixture, raw: bytes
) -> None:
    browser = make_browser()
    await _do(browser, _begin)
    old = browser.cookies.copy()
    keys: list[str] = []
    await _do(browser, lambda handler: keys.append(store.key("session", str(handler.session.id))))
    await store.sessions.write(keys[0], {"name": raw}, 60, create=False)
    with caplog.at_level(logging.WARNING):
        page = await _do(browser, _show)
    assert page.status == 200
    assert page.text.startswith("{} ")
    assert "dropped" in caplog.text
    await _do(browser, _begin)
    assert browser.cookies != old
    assert (await _do(browser, _show)).text == "{'name': 'ada'} ['hello']"


async def test_what_a_handler_stores_after_its_client_has_gone_is_stored(
    make_browser: MakeBrowser, base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = make_browser()
    await _do(browser, _begin)
    entered, leave, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(handler: Script) -> None:
        entered.set()
        await leave.wait()
        handler.session["name"] = "grace"

    Script.does = staticmethod(slow)
    monkeypatch.setattr(Script, "ends", ended.set)
    cookie = "; ".join(f"{each.name}={each.value}" for each in browser.cookies.values())
    host, _, port = base_url.rpartition("/")[2].partition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n".encode())
    await entered.wait()
    writer.transport.abort()
    leave.set()
    async with asyncio.timeout(10):
        await ended.wait()
    assert (await _do(browser, _show)).text.startswith("{'name': 'grace'}")
