"""Notifications as a handler sees them: stored apart from the session, read once."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import pytest
from tornado.web import HTTPError, RequestHandler

from {{cookiecutter.project_slug}}.sessions import (
    NotificationManager,
    NotificationMixin,
    SessionMixin,
    Store,
)

from .conftest import MakeBrowser, Routes

pytestmark = pytest.mark.gen_test


class Script(SessionMixin, NotificationMixin, RequestHandler):
    """Runs what a test has put here, with the handler as its argument."""

    does: ClassVar[Any] = None

    async def get(self) -> None:
        await type(self).does(self)


class Plain(RequestHandler):
    """Uses the manager itself, without the mixin."""

    async def get(self) -> None:
        async with NotificationManager(self) as notifications:
            seen = await notifications.get("count", 0)
            notifications.set("count", seen + 1)
            self.write(str(seen))


@pytest.fixture
def handlers() -> Routes:
    return [("/", Script), ("/plain", Plain)]


async def _set(browser: Any, **values: object) -> Any:
    async def does(handler: Script) -> None:
        for name, value in values.items():
            handler.notifications.set(name, value)

    Script.does = staticmethod(does)
    return await browser.get("/")


async def _add(browser: Any, *values: object) -> Any:
    async def does(handler: Script) -> None:
        for value in values:
            handler.notifications.add(value, "success")

    Script.does = staticmethod(does)
    return await browser.get("/")


async def _get(browser: Any, name: str, *, fail: bool = False) -> Any:
    seen = []

    async def does(handler: Script) -> None:
        seen.append(await handler.notifications.get(name, "nothing"))
        if fail:
            raise HTTPError(500)

    Script.does = staticmethod(does)
    await browser.get("/")
    return seen[0]


async def _take(browser: Any, *, fail: bool = False) -> list[Any]:
    seen: list[Any] = []

    async def does(handler: Script) -> None:
        seen.extend(message.value for message in await handler.notifications.take())
        if fail:
            raise HTTPError(500)

    Script.does = staticmethod(does)
    await browser.get("/")
    return seen


async def test_a_notification_is_read_once(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    await _set(browser, greeting="hello")
    assert await _get(browser, "greeting") == "hello"
    assert await _get(browser, "greeting") == "nothing"


@pytest.mark.parametrize("value", [None, 0, "", False, [1, {"a": None}]], ids=repr)
async def test_any_value_is_a_notification(make_browser: MakeBrowser, value: object) -> None:
    browser = make_browser()
    await _set(browser, name=value)
    assert await _get(browser, "name") == value
    assert await _get(browser, "name") == "nothing"


async def test_a_later_one_of_the_same_name_replaces_it(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    await _set(browser, a=1)
    await _set(browser, a=2)
    assert await _get(browser, "a") == 2
    assert await _get(browser, "a") == "nothing"


async def test_one_that_is_set_and_read_in_one_request_is_gone(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    await _set(browser, a="old")

    async def both(handler: Script) -> None:
        handler.notifications["a"] = "new"
        assert await handler.notifications.get("a") == "new"
        assert await handler.notifications.get("a") is None

    Script.does = staticmethod(both)
    assert (await browser.get("/")).status == 200
    assert await _get(browser, "a") == "nothing"


async def test_a_deleted_one_is_never_read(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    await _set(browser, a=1, b=2)

    async def delete(handler: Script) -> None:
        handler.notifications.delete("a", "no such name")

    Script.does = staticmethod(delete)
    await browser.get("/")
    assert (await _get(browser, "a"), await _get(browser, "b")) == ("nothing", 2)


async def test_messages_come_in_order_with_their_category(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    await _add(browser, "first", "second")
    await _add(browser, "third")
    seen: list[Any] = []

    async def take(handler: Script) -> None:
        handler.notifications.add("fourth", "error")
        seen.extend(await handler.notifications.take())

    Script.does = staticmethod(take)
    await browser.get("/")
    assert seen == [
        ("first", "success"),
        ("second", "success"),
        ("third", "success"),
        ("fourth", "error"),
    ]
    assert await _take(browser) == []


async def test_peek_leaves_the_messages(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    await _add(browser, "a")
    seen: list[Any] = []

    async def peek(handler: Script) -> None:
        seen.extend(message.value for message in await handler.notifications.peek())

    Script.does = staticmethod(peek)
    await browser.get("/")
    assert seen == ["a"]
    assert await _take(browser) == ["a"]


async def test_messages_and_named_ones_do_not_meet(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    await _set(browser, name="named")
    await _add(browser, "queued")
    assert await _take(browser) == ["queued"]
    assert await _get(browser, "name") == "named"


async def test_a_message_is_not_in_the_session(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    await _set(browser, name="value")
    seen: list[Any] = []

    async def look(handler: Script) -> None:
        seen.append(dict(handler.session))

    Script.does = staticmethod(look)
    await browser.get("/")
    assert seen == [{}]


async def test_one_of_many_readers_gets_it(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    await _set(browser, a="once")
    await _add(browser, "message")
    seen: list[Any] = []

    async def read(handler: Script) -> None:
        seen.append(await handler.notifications.get("a"))
        seen.extend(message.value for message in await handler.notifications.take())

    Script.does = staticmethod(read)
    await asyncio.gather(*(browser.get("/") for _ in range(8)))
    assert sorted(value for value in seen if value is not None) == ["message", "once"]


async def test_two_requests_that_add_at_once_keep_both(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    await _add(browser, "begin")
    both, entered = asyncio.Event(), 0

    async def add(handler: Script) -> None:
        nonlocal entered
        handler.notifications.add(f"message {entered}")
        entered += 1
        if entered == 2:
            both.set()
        await both.wait()

    Script.does = staticmethod(add)
    await asyncio.gather(browser.get("/"), browser.get("/"))
    assert sorted(await _take(browser)) == ["begin", "message 0", "message 1"]


async def test_a_response_that_fails_puts_back_what_it_took(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    await _set(browser, a="named")
    await _add(browser, "first", "second")
    assert await _get(browser, "a", fail=True) == "named"
    assert await _take(browser, fail=True) == ["first", "second"]
    assert await _get(browser, "a") == "named"
    assert await _take(browser) == ["first", "second"]


async def test_what_is_put_back_does_not_replace_a_newer_one(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    await _set(browser, a="old")
    taken, fail = asyncio.Event(), asyncio.Event()

    async def read_and_fail(handler: Script) -> None:
        assert await handler.notifications.get("a") == "old"
        taken.set()
        await fail.wait()
        raise HTTPError(500)

    Script.does = staticmethod(read_and_fail)
    failing = asyncio.ensure_future(browser.get("/"))
    await taken.wait()
    await _set(browser, a="new")
    fail.set()
    await failing
    assert await _get(browser, "a") == "new"


async def test_a_failing_response_saves_nothing_new(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    await _add(browser, "old")

    async def fail(handler: Script) -> None:
        handler.notifications.add("new")
        raise HTTPError(500)

    Script.does = staticmethod(fail)
    await browser.get("/")
    assert await _take(browser) == ["old"]


@pytest.mark.parametrize("how", ["regenerate", "destroy"])
async def test_pending_ones_survive_login_and_logout(make_browser: MakeBrowser, how: str) -> None:
    browser = make_browser()
    await _set(browser, a="named")
    await _add(browser, "before")

    async def change(handler: Script) -> None:
        getattr(handler.session, how)()
        handler.notifications.add("during")

    Script.does = staticmethod(change)
    await browser.get("/")
    assert await _take(browser) == ["before", "during"]
    assert await _get(browser, "a") == "named"


async def test_the_first_request_gives_one_id_to_session_and_notifications(
    make_browser: MakeBrowser,
) -> None:
    async def first(handler: Script) -> None:
        handler.notifications.add("welcome")
        handler.session["a"] = 1
        handler.notifications.set("b", 2)

    browser = make_browser()
    Script.does = staticmethod(first)
    page = await browser.get("/")
    assert len(page.set_cookies) == 1
    assert await _take(browser) == ["welcome"]
    assert await _get(browser, "b") == 2


@pytest.mark.parametrize("early", [True, False], ids=["before flush", "after flush"])
async def test_reading_without_a_session_costs_no_trip(
    make_browser: MakeBrowser, store: Store, monkeypatch: pytest.MonkeyPatch, early: bool
) -> None:
    trips: list[object] = []

    async def note(*args: object, **kwargs: object) -> None:
        trips.append(args)

    for call in ("load", "write", "end"):
        for records in (store.sessions, store.notifications):
            monkeypatch.setattr(records, call, note)

    async def read(handler: Script) -> None:
        if not early:
            await handler.flush()
        assert await handler.notifications.take() == []
        assert await handler.notifications.peek() == []
        assert await handler.notifications.get("a") is None
        handler.finish("read")

    Script.does = staticmethod(read)
    page = await make_browser().get("/")
    assert (page.text, page.set_cookies) == ("read", [])
    assert trips == []


async def test_looking_for_messages_where_none_waits_costs_no_trip(
    make_browser: MakeBrowser, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = make_browser()
    await _add(browser, "read before")
    assert await _take(browser) == ["read before"]
    trips: list[object] = []

    async def note(*args: object, **kwargs: object) -> None:
        trips.append(args)

    for call in ("load", "write", "end"):
        monkeypatch.setattr(store.notifications, call, note)

    async def look(handler: Script) -> None:
        assert await handler.notifications.peek() == []
        assert await handler.notifications.take() == []
        assert await handler.notifications.get("a") is None
        handler.finish("nothing")

    Script.does = staticmethod(look)
    assert (await browser.get("/")).text == "nothing"
    assert trips == []


async def test_a_value_that_would_not_come_back_is_refused_where_it_is_set(
    make_browser: MakeBrowser,
) -> None:
    async def refuse(handler: Script) -> None:
        with pytest.raises(TypeError):
            handler.notifications.set("a", object())
        with pytest.raises(TypeError):
            handler.notifications.add(object())

    Script.does = staticmethod(refuse)
    assert (await make_browser().get("/")).status == 200


@pytest.mark.parametrize("name", [None, 5, b"a"])
async def test_a_name_that_is_no_text_is_refused_and_takes_no_message(
    make_browser: MakeBrowser, name: Any
) -> None:
    browser = make_browser()
    await _add(browser, "waits")

    async def refuse(handler: Script) -> None:
        with pytest.raises(TypeError, match="name of a notification"):
            await handler.notifications.get(name)
        with pytest.raises(TypeError, match="name of a notification"):
            handler.notifications.delete(name)
        with pytest.raises(TypeError, match="name of a notification"):
            handler.notifications.set(name, "value")
        with pytest.raises(TypeError, match="category"):
            handler.notifications.add("value", name)
        handler.write(str([each.value for each in await handler.notifications.take()]))

    Script.does = staticmethod(refuse)
    assert (await browser.get("/")).text == "['waits']"


async def test_the_manager_works_without_the_mixin(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    assert [(await browser.get("/plain")).text for _ in range(3)] == ["0", "1", "2"]
