"""The session as a handler sees it, through HTTP and cookies."""

from __future__ import annotations

import asyncio
import gc
import weakref
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
from tornado.web import HTTPError, RequestHandler

from {{cookiecutter.project_slug}}.sessions import SessionManager, SessionMixin, Store

from ..conftest import MakeBrowser
from .conftest import Clock, Routes

pytestmark = pytest.mark.gen_test
DAY_S = 24 * 3600

VALUES = [
    None,
    True,
    False,
    0,
    -1,
    2**63 - 1,
    1.5,
    "",
    "für 名前 🍪",
    b"\x00\xff",
    [],
    [1, ["two", None]],
    {},
    {"a": {"b": [1, 2]}, 1: "int key"},
    datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    datetime(2026, 1, 2, 3, 4, 5, 678901),
]


class Script(SessionMixin, RequestHandler):
    """Runs what a test has put here, with the handler as its argument."""

    does: ClassVar[Any] = None

    async def get(self) -> None:
        result = type(self).does(self)
        if asyncio.iscoroutine(result):
            result = await result
        if not self._finished:
            self.write({"result": result})

    post = get


class Plain(RequestHandler):
    """Uses the manager itself, as pycket's users may."""

    async def get(self) -> None:
        async with SessionManager(self) as session:
            session["count"] = session.get("count", 0) + 1
            self.write(str(session["count"]))


class Forgetful(SessionMixin, RequestHandler):
    async def prepare(self) -> None:
        pass

    def get(self) -> None:
        try:
            self.write(repr(self.session))
        except RuntimeError as error:
            self.write(str(error))


class Counting(SessionMixin, RequestHandler):
    async def prepare(self) -> None:
        await super().prepare()
        self.session["count"] = self.session.get("count", 0) + 1

    def get(self) -> None:
        self.write(str(self.session["count"]))


@pytest.fixture
def handlers() -> Routes:
    return [("/", Script), ("/plain", Plain), ("/forgetful", Forgetful), ("/counting", Counting)]


async def _do(browser: Any, does: Any) -> Any:
    Script.does = staticmethod(does)
    return await browser.get("/", follow=False)


async def _peek(browser: Any, name: str) -> Any:
    seen = []
    await _do(browser, lambda handler: seen.append(handler.session.get(name, "absent")))
    return seen[0]


@pytest.mark.parametrize("value", VALUES, ids=repr)
async def test_values_come_back_as_they_were(make_browser: MakeBrowser, value: object) -> None:
    browser = make_browser()
    await _do(browser, lambda handler: handler.session.set("name", value))
    seen = await _peek(browser, "name")
    assert seen == value
    assert type(seen) is type(value)


async def test_a_tuple_and_a_set_come_back_as_lists(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    await _do(browser, lambda handler: handler.session.update(pair=(1, 2), single={3}))
    assert await _peek(browser, "pair") == [1, 2]
    assert await _peek(browser, "single") == [3]


async def test_a_moment_comes_back_in_utc(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    moment = datetime.fromisoformat("2026-01-02T03:04:05+05:30")
    await _do(browser, lambda handler: handler.session.set("at", moment))
    assert await _peek(browser, "at") == moment


@pytest.mark.parametrize(
    "value",
    [object(), 1j, {"deep": [object()]}, 2**64, "\ud800", {(1, 2): 3}, timedelta(1), type],
    ids=["object", "complex", "nested", "too large", "half a character", "key", "delta", "class"],
)
async def test_a_value_that_would_not_come_back_is_refused_where_it_is_assigned(
    make_browser: MakeBrowser, value: object
) -> None:
    refused = []

    def assign(handler: Script) -> None:
        with pytest.raises(TypeError) as caught:
            handler.session["name"] = value
        refused.append(str(caught.value))

    browser = make_browser()
    assert (await _do(browser, assign)).status == 200
    assert refused
    assert browser.session_cookie is None


async def test_a_list_that_contains_itself_is_refused(make_browser: MakeBrowser) -> None:
    loop: list[Any] = []
    loop.append(loop)

    def assign(handler: Script) -> None:
        with pytest.raises(TypeError, match="contains itself"):
            handler.session["loop"] = loop

    assert (await _do(make_browser(), assign)).status == 200


async def test_it_is_a_mapping(make_browser: MakeBrowser) -> None:
    def use(handler: Script) -> None:
        session = handler.session
        assert not session and len(session) == 0 and session.get("a") is None
        session.update(a=1, b=None, c="")
        assert list(session) == ["a", "b", "c"] and dict(session) == {"a": 1, "b": None, "c": ""}
        assert "b" in session and "d" not in session and session.get("b", "default") is None
        assert session.pop("a") == 1 and session.setdefault("e", 5) == 5
        session.delete("b", "no such name")
        del session["c"]
        with pytest.raises(KeyError):
            session["c"]
        with pytest.raises(KeyError):
            del session["c"]
        assert dict(session) == {"e": 5}
        session.clear()
        assert not session

    assert (await _do(make_browser(), use)).status == 200


async def test_our_own_fields_are_out_of_reach(make_browser: MakeBrowser) -> None:
    def use(handler: Script) -> None:
        handler.session["a"] = 1
        assert ":created" not in handler.session
        assert handler.session.get(":created") is None
        with pytest.raises(ValueError, match="our own fields"):
            handler.session[":created"] = 0

    browser = make_browser()
    await _do(browser, use)
    assert (await _do(browser, use)).status == 200


async def test_a_visitor_who_stores_nothing_gets_no_cookie(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    page = await _do(browser, lambda handler: handler.session.get("a"))
    assert page.set_cookies == []
    assert page.headers["Vary"] == "Cookie"


async def test_21_the_response_that_sets_the_id_is_not_cached(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    page = await _do(browser, lambda handler: handler.session.set("a", 1))
    assert page.headers["Cache-Control"] == "no-store"
    cookie = page.set_cookies[0]
    assert cookie.name == "__Host-sid"
    assert cookie.attributes == {"httponly": "", "secure": "", "path": "/", "samesite": "Lax"}
    page = await _do(browser, lambda handler: handler.session.set("a", 2))
    assert page.set_cookies == []


async def test_a_change_inside_a_value_is_noticed(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    await _do(browser, lambda handler: handler.session.set("cart", {"items": []}))
    await _do(browser, lambda handler: handler.session["cart"]["items"].append("x"))
    assert await _peek(browser, "cart") == {"items": ["x"]}


async def test_a_deleted_name_is_gone(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    await _do(browser, lambda handler: handler.session.update(a=1, b=2))
    await _do(browser, lambda handler: handler.session.delete("a"))
    assert await _peek(browser, "a") == "absent"
    assert await _peek(browser, "b") == 2


async def test_two_browsers_do_not_see_each_other(make_browser: MakeBrowser) -> None:
    first, second = make_browser(), make_browser()
    await _do(first, lambda handler: handler.session.set("a", "first"))
    await _do(second, lambda handler: handler.session.set("a", "second"))
    assert await _peek(first, "a") == "first"
    assert await _peek(second, "a") == "second"


@pytest.mark.parametrize("status", [200, 204, 302, 400, 404])
async def test_a_response_below_500_saves(make_browser: MakeBrowser, status: int) -> None:
    def respond(handler: Script) -> None:
        handler.session["a"] = 1
        if status >= 400:
            raise HTTPError(status)
        if status == 302:
            handler.redirect("/")
        else:
            handler.set_status(status)
            handler.finish()

    browser = make_browser()
    assert (await _do(browser, respond)).status == status
    assert await _peek(browser, "a") == 1


async def test_a_response_of_500_saves_nothing(make_browser: MakeBrowser) -> None:
    def fail(handler: Script) -> None:
        handler.session["a"] = 2
        raise HTTPError(500)

    browser = make_browser()
    await _do(browser, lambda handler: handler.session.set("a", 1))
    assert (await _do(browser, fail)).status == 500
    assert await _peek(browser, "a") == 1


async def test_writing_after_finish_is_still_refused(make_browser: MakeBrowser) -> None:
    def respond(handler: Script) -> None:
        handler.session["a"] = 1
        handler.finish("done")
        with pytest.raises(RuntimeError):
            handler.write("more")
        with pytest.raises(RuntimeError):
            handler.finish("again")

    assert (await _do(make_browser(), respond)).text == "done"


async def test_regenerate_changes_the_id_and_keeps_the_data(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    await _do(browser, lambda handler: handler.session.set("a", 1))
    old = dict(browser.cookies)
    await _do(browser, lambda handler: handler.session.regenerate())
    assert browser.cookies.keys() == old.keys()
    assert browser.cookies != old
    assert await _peek(browser, "a") == 1
    browser.cookies = old
    assert await _peek(browser, "a") == "absent"


async def test_19_destroy_ends_the_session_and_clears_the_cookie(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    await _do(browser, lambda handler: handler.session.set("a", 1))
    old = dict(browser.cookies)
    page = await _do(browser, lambda handler: handler.session.destroy())
    assert browser.session_cookie is None
    assert page.set_cookies[0].attributes.keys() == {
        "expires", "httponly", "secure", "path", "samesite",
    }  # fmt: skip
    browser.cookies = old
    assert await _peek(browser, "a") == "absent"


async def test_what_is_set_after_destroy_begins_a_new_session(make_browser: MakeBrowser) -> None:
    def restart(handler: Script) -> None:
        handler.session.destroy()
        assert not handler.session
        handler.session["b"] = 2

    browser = make_browser()
    await _do(browser, lambda handler: handler.session.set("a", 1))
    old = dict(browser.cookies)
    await _do(browser, restart)
    assert browser.cookies != old
    assert await _peek(browser, "a") == "absent"
    assert await _peek(browser, "b") == 2


async def test_modify_loses_nothing(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    await _do(browser, lambda handler: handler.session.set("begun", True))

    async def append(handler: Script) -> None:
        await handler.session.modify("list", lambda items: [*items, len(items)], [])

    await asyncio.gather(*(_do(browser, append) for _ in range(8)))
    assert await _peek(browser, "list") == list(range(8))


async def test_modify_begins_a_session(make_browser: MakeBrowser) -> None:
    async def count(handler: Script) -> Any:
        return await handler.session.modify("count", lambda n: n + 1, 0)

    browser = make_browser()
    assert '"result": 1' in (await _do(browser, count)).text
    assert '"result": 2' in (await _do(browser, count)).text


async def test_a_request_does_not_undo_what_another_wrote_meanwhile(
    make_browser: MakeBrowser,
) -> None:
    browser = make_browser()
    await _do(browser, lambda handler: handler.session.update(a=0, b=0))
    entered, leave = asyncio.Event(), asyncio.Event()

    async def slow(handler: Script) -> None:
        handler.session["a"] = 1
        entered.set()
        await leave.wait()

    waiting = asyncio.ensure_future(_do(browser, slow))
    await entered.wait()
    await _do(browser, lambda handler: handler.session.set("b", 1))
    leave.set()
    await waiting
    assert (await _peek(browser, "a"), await _peek(browser, "b")) == (1, 1)


@pytest.mark.parametrize("how", ["destroy", "regenerate"])
async def test_26_a_session_ended_meanwhile_stays_dead(make_browser: MakeBrowser, how: str) -> None:
    browser = make_browser()
    await _do(browser, lambda handler: handler.session.set("a", 0))
    old = dict(browser.cookies)
    entered, leave = asyncio.Event(), asyncio.Event()

    async def slow(handler: Script) -> None:
        handler.session["a"] = "resurrected"
        entered.set()
        await leave.wait()

    waiting = asyncio.ensure_future(_do(browser, slow))
    await entered.wait()
    await _do(browser, lambda handler: getattr(handler.session, how)())
    leave.set()
    assert (await waiting).set_cookies == []
    browser.cookies = old
    assert await _peek(browser, "a") == "absent"


async def test_07_an_id_that_was_never_given_out_is_not_adopted(
    make_browser: MakeBrowser, store: Store
) -> None:
    browser, other = make_browser(), make_browser()
    await _do(other, lambda handler: handler.session.set("a", 1))
    planted = store.signer.sign("A" * 43)
    headers = {"Cookie": f"__Host-sid={planted}"}
    Script.does = staticmethod(lambda handler: handler.session.set("a", 1))
    page = await browser.get("/", headers=headers)
    assert "A" * 43 not in page.set_cookies[0].value
    assert page.set_cookies[0].value != planted


async def test_20_the_cookie_of_a_session_that_expired_is_cleared(
    make_browser: MakeBrowser, store: Store
) -> None:
    browser = make_browser()
    await _do(browser, lambda handler: handler.session.set("a", 1))
    key = await _key(browser)
    snapshot = await store.sessions.load(key)
    assert snapshot is not None
    await store.sessions.write(key, dict.fromkeys(snapshot.fields), 60, create=False)
    await _do(browser, lambda handler: None)
    assert browser.session_cookie is None


async def test_17_the_absolute_limit_holds_under_constant_use(
    make_browser: MakeBrowser, clock: Clock
) -> None:
    browser = make_browser(clock=clock)
    await _do(browser, lambda handler: handler.session.set("a", 1))
    for _ in range(59):
        clock.advance(DAY_S / 2)
        assert await _peek(browser, "a") == 1
    clock.advance(DAY_S / 2)
    assert await _peek(browser, "a") == "absent"
    assert browser.session_cookie is None


async def test_18_a_remembered_session_outlives_the_browser_but_not_the_limit(
    make_browser: MakeBrowser, clock: Clock
) -> None:
    browser = make_browser(clock=clock)

    def remember(handler: Script) -> None:
        handler.session["a"] = 1
        handler.session.remember(days=20)

    await _do(browser, remember)
    browser.close()
    clock.advance(19 * DAY_S)
    assert await _peek(browser, "a") == 1
    renewed = browser.session_cookie
    assert renewed is not None and renewed.expires is not None
    assert renewed.expires == pytest.approx(clock() + 11 * DAY_S, abs=5)
    clock.advance(12 * DAY_S)
    assert await _peek(browser, "a") == "absent"


async def test_a_session_that_is_not_remembered_ends_with_the_browser(
    make_browser: MakeBrowser,
) -> None:
    browser = make_browser()
    await _do(browser, lambda handler: handler.session.set("a", 1))
    browser.close()
    assert browser.session_cookie is None


async def test_the_manager_works_without_the_mixin(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    assert [(await browser.get("/plain")).text for _ in range(3)] == ["1", "2", "3"]


async def test_a_finished_request_needs_no_garbage_collector(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    await _do(browser, lambda handler: handler.session.update(name="ada"))
    handlers: list[weakref.ref[Script]] = []

    def read_and_change(handler: Script) -> None:
        handlers.append(weakref.ref(handler))
        handler.session["seen"] = handler.session["name"]

    gc.collect()
    gc.disable()
    try:
        await _do(browser, read_and_change)
        async with asyncio.timeout(5):
            while handlers[0]() is not None:
                await asyncio.sleep(0.01)
    finally:
        gc.enable()


async def test_a_forgotten_super_prepare_is_named(make_browser: MakeBrowser) -> None:
    page = await make_browser().get("/forgetful")
    assert "await super().prepare()" in page.text


async def test_a_prepare_of_ones_own_finds_the_session(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    assert [(await browser.get("/counting")).text for _ in range(2)] == ["1", "2"]


def test_mixins_in_the_wrong_order_are_named() -> None:
    with pytest.raises(TypeError, match=r"class Wrong\(SessionMixin, RequestHandler\)"):

        class Wrong(RequestHandler, SessionMixin):  # type: ignore[misc]
            pass


async def _key(browser: Any) -> str:
    keys: list[str] = []
    await _do(
        browser,
        lambda handler: keys.append(handler.session.store.key("session", handler.session.id)),
    )
    return keys[0]
