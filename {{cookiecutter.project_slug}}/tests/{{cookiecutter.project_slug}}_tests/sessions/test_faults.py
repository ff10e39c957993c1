"""What a visitor meets when the store, the data in it or the client fails: never a lost session."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import Any, ClassVar

import pytest
from tornado.web import HTTPError, RequestHandler

from {{cookiecutter.project_slug}}.sessions import (
    SessionManager,
    SessionTooLarge,
    Store,
    StoreUnavailable,
)
from {{cookiecutter.project_slug}}.sessions.codec import encode
from {{cookiecutter.project_slug}}.sessions.owner_list import owner_key

from .acts import act
from .conftest import Clock, MakeBrowser, Pause, Routes, Script, run, send, value_of

pytestmark = pytest.mark.gen_test


class Plain(RequestHandler):
    """Has no mixins: gives the session of a block to what a test has put here."""

    does: ClassVar[Any] = None

    async def get(self) -> None:
        async with SessionManager(self) as session:
            await act(type(self).does, session)


@pytest.fixture
def handlers() -> Routes:
    return [("/", Script), ("/plain", Plain), ("/own-error-page", OwnErrorPage)]


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
    await run(browser, _begin)
    with monkeypatch.context() as patch:
        patch.setattr(store.sessions, operation, _unavailable)
        page = await run(browser, lambda handler: handler.session.update(name="grace"))
        assert page.status == 503
        assert page.headers["Retry-After"] == "1"
        assert page.set_cookies == []
    assert (await run(browser, _show)).text == "{'name': 'ada'} ['hello']"


class OwnErrorPage(Script):
    def write_error(self, status_code: int, **kwargs: Any) -> None:
        self.clear()
        self.set_status(status_code)
        self.finish("an error page of ones own")


@pytest.mark.parametrize("operation", ["load", "write"])
async def test_an_error_page_of_ones_own_asks_the_client_to_come_back(
    store: Store, make_browser: MakeBrowser, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    browser = make_browser()
    await run(browser, _begin)
    Script.does = staticmethod(lambda handler: handler.session.update(name="grace"))
    monkeypatch.setattr(store.sessions, operation, _unavailable)
    page = await browser.get("/own-error-page")
    assert (page.status, page.text) == (503, "an error page of ones own")
    assert page.headers.get("Retry-After") == "1"


@pytest.mark.parametrize("operation", ["load", "write"])
async def test_a_store_that_does_not_answer_is_a_503_without_the_mixins_too(
    store: Store, make_browser: MakeBrowser, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    browser = make_browser()
    await run(browser, _begin)
    monkeypatch.setattr(Plain, "does", staticmethod(lambda session: session.update(name="grace")))
    with monkeypatch.context() as patch:
        patch.setattr(store.sessions, operation, _unavailable)
        page = await browser.get("/plain")
        assert (page.status, page.set_cookies) == (503, [])
    assert (await run(browser, _show)).text == "{'name': 'ada'} ['hello']"


async def test_a_message_that_could_not_be_read_waits_for_the_next_page(
    store: Store, make_browser: MakeBrowser, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = make_browser()
    await run(browser, _begin)
    with monkeypatch.context() as patch:
        patch.setattr(store.notifications, "write", _unavailable)
        assert (await run(browser, _show)).status == 503
    assert (await run(browser, _show)).text == "{'name': 'ada'} ['hello']"


async def test_a_response_that_fails_and_took_nothing_costs_no_further_trip(
    store: Store, make_browser: MakeBrowser, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = make_browser()
    await run(browser, _begin)
    trips: list[object] = []

    async def note(*args: object, **kwargs: object) -> None:
        trips.append(args)

    def fail(handler: Script) -> None:
        monkeypatch.setattr(store.sessions, "load", note)
        monkeypatch.setattr(store.sessions, "write", note)
        raise HTTPError(500)

    assert (await run(browser, fail)).status == 500
    assert trips == []


async def test_a_visitor_whose_first_session_cannot_be_stored_gets_no_cookie(
    store: Store, make_browser: MakeBrowser, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = make_browser()
    monkeypatch.setattr(store.sessions, "write", _unavailable)
    page = await run(browser, _begin)
    assert page.status == 503
    assert page.set_cookies == []


async def test_a_store_that_fails_while_the_id_changes_logs_nobody_out(
    store: Store, make_browser: MakeBrowser, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = make_browser()
    await run(browser, _begin)
    with monkeypatch.context() as patch:
        patch.setattr(store.sessions, "write", _unavailable)
        page = await run(browser, lambda handler: handler.session.regenerate())
        assert page.status == 503
        assert page.set_cookies == []


async def test_an_outage_is_one_line_in_the_log(
    store: Store,
    make_browser: MakeBrowser,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    browser = make_browser()
    await run(browser, _begin)
    monkeypatch.setattr(store.sessions, "load", _unavailable)
    now = store.clock()
    monkeypatch.setattr(store, "clock", lambda: now)
    for _ in range(10):
        assert (await run(browser, _show)).status == 503
    lines = [record for record in caplog.records if "session store" in record.getMessage()]
    assert len(lines) == 1
    assert lines[0].exc_info is None


MALFORMED: dict[str, list[object]] = {
    ":created": [None, "yesterday", math.nan, math.inf, -1.0, 1e300],
    ":used": [None, [], math.nan, -math.inf],
    ":idle": ["x", -5, math.nan],
    ":persistent": ["yes"],
    ":owner": ["ada", ["ada"], [None, "handle", 1.0], ["ada", 1, 1.0], ["ada", "handle", "1"]],
}
"""Values that our own fields cannot have."""


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in MALFORMED.items() for value in values]
)
async def test_a_record_with_malformed_times_or_owner_is_no_session(
    store: Store, make_browser: MakeBrowser, name: str, value: object
) -> None:
    browser = make_browser()
    await run(browser, lambda handler: handler.session.update(name="ada"))
    keys: list[str] = []
    await run(browser, lambda handler: keys.append(store.key("session", str(handler.session.id))))
    raw = None if value is None else encode(value)
    await store.sessions.write(keys[0], {name: raw}, 60, create=False)
    seen: list[Any] = []

    def look(handler: Any) -> None:
        session = handler.session
        seen.append([dict(session), session.owner, session.handle, session.created])

    for method in ("GET", "POST"):
        assert (await run(browser, look, method)).status == 200
    assert seen == 2 * [[{}, None, "", None]]


@pytest.mark.parametrize("label", [5, "name and category", [None], {"a": 1, "b": 2}], ids=str)
async def test_a_label_that_is_malformed_is_passed_over(
    store: Store, make_browser: MakeBrowser, label: object
) -> None:
    browser = make_browser()
    await run(browser, _begin)
    keys: list[str] = []
    await run(browser, lambda handler: keys.append(store.key("session", str(handler.session.id))))
    await store.sessions.write(keys[0], {":waiting:x": encode(label)}, 60, create=False)
    assert (await run(browser, _show)).text == "{'name': 'ada'} ['hello']"


@pytest.mark.parametrize("raw", [b"", b"\xc1", b"\xdd\xff\xff\xff\xff", b"\x80\x04\x95pickle"])
async def test_a_record_that_is_none_of_ours_is_dropped_and_a_new_session_begins(
    store: Store, make_browser: MakeBrowser, caplog: pytest.LogCaptureFixture, raw: bytes
) -> None:
    browser = make_browser()
    await run(browser, _begin)
    old = browser.cookies.copy()
    keys: list[str] = []
    await run(browser, lambda handler: keys.append(store.key("session", str(handler.session.id))))
    await store.sessions.write(keys[0], {"name": raw}, 60, create=False)
    with caplog.at_level(logging.WARNING):
        page = await run(browser, _show)
    assert page.status == 200
    assert page.text.startswith("{} ")
    assert "dropped" in caplog.text
    await run(browser, _begin)
    assert browser.cookies != old
    assert (await run(browser, _show)).text == "{'name': 'ada'} ['hello']"


async def test_what_a_handler_stores_after_its_client_has_gone_is_stored(
    make_browser: MakeBrowser, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = make_browser()
    await run(browser, _begin)
    entered, leave, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(handler: Script) -> None:
        entered.set()
        await leave.wait()
        handler.session["name"] = "grace"

    Script.does = staticmethod(slow)
    monkeypatch.setattr(Script, "on_finish", lambda handler: ended.set())
    writer = await send(browser)
    await entered.wait()
    writer.transport.abort()
    leave.set()
    async with asyncio.timeout(10):
        await ended.wait()
    assert (await run(browser, _show)).text.startswith("{'name': 'grace'}")


# --- a store that is full, or refuses a record


@pytest.mark.parametrize("refusal", ["too large", "unavailable"])
@pytest.mark.parametrize("visitor", ["known", "new"])
async def test_a_message_beside_a_session_that_is_refused_is_not_delivered(
    store: Store,
    make_browser: MakeBrowser,
    monkeypatch: pytest.MonkeyPatch,
    refusal: str,
    visitor: str,
) -> None:
    browser = make_browser()
    if visitor == "known":
        await run(browser, lambda handler: handler.session.set("name", "ada"))
    write = store.sessions.write

    async def refuse(key: str, *args: Any, **kwargs: Any) -> Any:
        if ":session:" not in key:
            return await write(key, *args, **kwargs)
        if refusal == "too large":
            raise SessionTooLarge(2_000_000, 1_000_000)
        raise StoreUnavailable("the store", "it is full")

    def save(handler: Script) -> None:
        handler.session["name"] = "x" * 100
        handler.notifications.add("Your note is saved.")

    with monkeypatch.context() as patch:
        patch.setattr(store.sessions, "write", refuse)
        page = await run(browser, save)
    assert page.status == (500 if refusal == "too large" else 503)
    assert page.set_cookies == []
    assert (await run(browser, _show)).text == (
        "{'name': 'ada'} []" if visitor == "known" else "{} []"
    )


async def test_a_logout_whose_record_is_gone_clears_the_cookie_whatever_fails_after_it(
    store: Store, make_browser: MakeBrowser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def login(handler: Script) -> None:
        _begin(handler)
        handler.session.owner = "ada"

    for records, call in (
        (store.notifications, "end"),  # unread messages are not taken over
        (store.sessions, "write"),  # nor is the session taken off the user's list
        (store.notifications, "write"),
    ):
        browser = make_browser()
        await run(browser, login)
        before = dict(browser.cookies)
        with monkeypatch.context() as patch:
            patch.setattr(records, call, _unavailable)
            page = await run(browser, lambda handler: handler.session.destroy())
        assert page.status in (200, 503)
        assert browser.session_cookie is None
        browser.cookies = before
        assert (await run(browser, _show)).text == "{} []"


async def test_a_logout_whose_handler_gives_up_begins_no_session(
    make_browser: MakeBrowser, pause: Pause
) -> None:
    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("name", "ada"))
    before = browser.session_token
    ended = pause("end sessions", on_its_way_back=True)

    async def does(handler: Script) -> None:
        handler.session.destroy()
        saving = asyncio.create_task(handler.session.save())
        await ended.begun()
        saving.cancel()
        asyncio.get_running_loop().call_later(0.05, ended.go_on)
        raise HTTPError(500)

    assert (await run(browser, does)).status == 500
    await asyncio.sleep(0.1)
    assert browser.session_cookie is None or browser.session_token == before
    assert await value_of(browser, "name") == "absent"


async def test_a_logout_that_does_not_reach_the_store_keeps_the_cookie(
    store: Store, make_browser: MakeBrowser, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = make_browser()
    await run(browser, _begin)
    with monkeypatch.context() as patch:
        patch.setattr(store.sessions, "end", _unavailable)
        page = await run(browser, lambda handler: handler.session.destroy())
    assert (page.status, page.set_cookies) == (503, [])
    assert (await run(browser, _show)).text == "{'name': 'ada'} ['hello']"


@pytest.mark.parametrize("records", ["sessions", "notifications"])
async def test_a_take_that_fails_puts_back_what_it_may_have_taken(
    store: Store, make_browser: MakeBrowser, monkeypatch: pytest.MonkeyPatch, records: str
) -> None:
    browser = make_browser()
    await run(browser, _begin)
    write = getattr(store, records).write

    async def fail(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(getattr(store, records), "write", write)
        raise StoreUnavailable("the store", "no answer")

    monkeypatch.setattr(getattr(store, records), "write", fail)
    assert (await run(browser, _show)).status == 503
    assert (await run(browser, _show)).text == "{'name': 'ada'} ['hello']"


async def test_a_session_in_use_does_not_need_its_users_list(
    store: Store, make_browser: MakeBrowser, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = make_browser(clock=clock)
    await run(browser, lambda handler: setattr(handler.session, "owner", "ada"))
    clock.advance(61)
    write = store.sessions.write

    async def fail(key: str, *args: Any, **options: Any) -> Any:
        if key == owner_key(store, "ada"):
            raise StoreUnavailable("another server", "no answer")
        return await write(key, *args, **options)

    async def noted_s(handler: Any) -> None:
        unnoted.append(clock() - handler.session.last_used.timestamp())

    unnoted: list[float] = []
    with monkeypatch.context() as patch:
        patch.setattr(store.sessions, "write", fail)
        for method in ("GET", "POST"):
            assert (await run(browser, noted_s, method)).status == 200
        assert (await run(browser, lambda h: h.session.set("seen", 1), "POST")).status == 200
        for refused in (
            lambda handler: handler.session.remember(20),
            lambda handler: handler.session.regenerate(),
        ):
            assert (await run(browser, refused, "POST")).status == 503
    assert await value_of(browser, "seen") == 1
    await run(browser, noted_s)
    assert min(unnoted[:2]) >= 61 and unnoted[2] < 5


async def test_a_page_that_only_reads_is_shown_though_its_use_cannot_be_noted(
    store: Store, make_browser: MakeBrowser, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("name", "ada"))
    clock.advance(61)
    monkeypatch.setattr(store.sessions, "write", _unavailable)
    page = await run(browser, lambda handler: handler.write(dict(handler.session)))
    assert (page.status, page.text) == (200, '{"name": "ada"}')
