"""The session as a handler sees it, through HTTP and cookies."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest
from tornado.web import HTTPError, RequestHandler

from {{cookiecutter.project_slug}}.sessions import (
    SessionManager,
    SessionMixin,
    Store,
)

from .conftest import MakeBrowser, Routes, Script, run, value_of

pytestmark = pytest.mark.gen_test


class Plain(RequestHandler):
    """Uses the manager itself, as pycket's users may."""

    async def get(self) -> None:
        async with SessionManager(self) as session:
            session["count"] = session.get("count", 0) + 1
            self.write(str(session["count"]))


class Counting(SessionMixin, RequestHandler):
    async def prepare(self) -> None:
        await super().prepare()
        self.session["count"] = self.session.get("count", 0) + 1

    def get(self) -> None:
        self.write(str(self.session["count"]))


@pytest.fixture
def handlers() -> Routes:
    return [("/", Script), ("/plain", Plain), ("/counting", Counting)]


async def test_a_visitor_who_stores_nothing_gets_no_cookie(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    page = await run(browser, lambda handler: handler.session.get("a"))
    assert page.set_cookies == []
    assert page.headers["Vary"] == "Cookie"


async def test_21_the_response_that_sets_the_id_is_not_cached(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    page = await run(browser, lambda handler: handler.session.set("a", 1))
    assert page.headers["Cache-Control"] == "no-store"
    cookie = page.set_cookies[0]
    assert cookie.name == "__Host-sid"
    assert cookie.attributes == {"httponly": "", "secure": "", "path": "/", "samesite": "Lax"}
    page = await run(browser, lambda handler: handler.session.set("a", 2))
    assert page.set_cookies == []


async def test_two_browsers_do_not_see_each_other(make_browser: MakeBrowser) -> None:
    first, second = make_browser(), make_browser()
    await run(first, lambda handler: handler.session.set("a", "first"))
    await run(second, lambda handler: handler.session.set("a", "second"))
    assert await value_of(first, "a") == "first"
    assert await value_of(second, "a") == "second"


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
    assert (await run(browser, respond)).status == status
    assert await value_of(browser, "a") == 1


async def test_a_response_of_500_saves_nothing(make_browser: MakeBrowser) -> None:
    def fail(handler: Script) -> None:
        handler.session["a"] = 2
        raise HTTPError(500)

    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("a", 1))
    assert (await run(browser, fail)).status == 500
    assert await value_of(browser, "a") == 1


@pytest.mark.parametrize(("status", "kept"), [(499, 1), (500, "absent")])
async def test_a_block_without_the_mixin_that_raises_saves_below_500(
    make_browser: MakeBrowser, monkeypatch: pytest.MonkeyPatch, status: int, kept: object
) -> None:
    browser = make_browser()

    async def fail(handler: Plain) -> None:
        async with SessionManager(handler) as session:
            session["a"] = 1
            raise HTTPError(status)

    with monkeypatch.context() as patch:
        patch.setattr(Plain, "get", fail)
        assert (await browser.get("/plain")).status == status
    assert await value_of(browser, "a") == kept


async def test_writing_after_finish_is_still_refused(make_browser: MakeBrowser) -> None:
    def respond(handler: Script) -> None:
        handler.session["a"] = 1
        handler.finish("done")
        with pytest.raises(RuntimeError):
            handler.write("more")
        with pytest.raises(RuntimeError):
            handler.finish("again")

    assert (await run(make_browser(), respond)).text == "done"


async def test_regenerate_changes_the_id_and_keeps_the_data(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("a", 1))
    old = dict(browser.cookies)
    await run(browser, lambda handler: handler.session.regenerate())
    assert browser.cookies.keys() == old.keys()
    assert browser.cookies != old
    assert await value_of(browser, "a") == 1
    browser.cookies = old
    assert await value_of(browser, "a") == "absent"


async def test_regenerate_keeps_what_others_stored_meanwhile(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    await run(browser, lambda handler: handler.session.update(changed=[1], kept=1, removed=1))
    other = make_browser()
    other.cookies.update(browser.cookies)
    loaded, go_on = asyncio.Event(), asyncio.Event()

    async def regenerate(handler: Script) -> None:
        assert handler.session["changed"] == [1]
        loaded.set()
        await go_on.wait()
        handler.session["own"] = 1
        handler.session.regenerate()
        for _ in range(2):
            await handler.session.save()

    regenerating = asyncio.ensure_future(run(browser, regenerate))
    await loaded.wait()

    def change(handler: Script) -> None:
        handler.session.update(changed=[1, 2], new=2)
        del handler.session["removed"]

    await run(other, change)
    go_on.set()
    await regenerating
    held: list[dict[str, Any]] = []
    await run(browser, lambda handler: held.append(dict(handler.session)))
    assert held == [{"changed": [1, 2], "kept": 1, "new": 2, "own": 1}]


async def test_19_destroy_ends_the_session_and_clears_the_cookie(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("a", 1))
    old = dict(browser.cookies)
    page = await run(browser, lambda handler: handler.session.destroy())
    assert browser.session_cookie is None
    assert page.set_cookies[0].attributes.keys() == {
        "expires", "httponly", "secure", "path", "samesite",
    }  # fmt: skip
    browser.cookies = old
    assert await value_of(browser, "a") == "absent"


async def test_what_is_set_after_destroy_begins_a_new_session(make_browser: MakeBrowser) -> None:
    def restart(handler: Script) -> None:
        handler.session.destroy()
        assert not handler.session
        handler.session["b"] = 2

    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("a", 1))
    old = dict(browser.cookies)
    await run(browser, restart)
    assert browser.cookies != old
    assert await value_of(browser, "a") == "absent"
    assert await value_of(browser, "b") == 2


async def test_modify_loses_nothing(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("begun", True))

    async def append(handler: Script) -> None:
        await handler.session.modify("list", lambda items: [*items, len(items)], [])

    await asyncio.gather(*(run(browser, append) for _ in range(8)))
    assert await value_of(browser, "list") == list(range(8))


async def test_modify_begins_a_session(make_browser: MakeBrowser) -> None:
    async def count(handler: Script) -> Any:
        handler.write({"result": await handler.session.modify("count", lambda n: n + 1, 0)})

    browser = make_browser()
    assert '"result": 1' in (await run(browser, count)).text
    assert '"result": 2' in (await run(browser, count)).text


async def test_a_request_does_not_undo_what_another_wrote_meanwhile(
    make_browser: MakeBrowser,
) -> None:
    browser = make_browser()
    await run(browser, lambda handler: handler.session.update(a=0, b=0))
    entered, leave = asyncio.Event(), asyncio.Event()

    async def slow(handler: Script) -> None:
        handler.session["a"] = 1
        entered.set()
        await leave.wait()

    waiting = asyncio.ensure_future(run(browser, slow))
    await entered.wait()
    await run(browser, lambda handler: handler.session.set("b", 1))
    leave.set()
    await waiting
    assert (await value_of(browser, "a"), await value_of(browser, "b")) == (1, 1)


@pytest.mark.parametrize("how", ["destroy", "regenerate"])
async def test_26_a_session_ended_meanwhile_stays_dead(make_browser: MakeBrowser, how: str) -> None:
    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("a", 0))
    old = dict(browser.cookies)
    entered, leave = asyncio.Event(), asyncio.Event()

    async def slow(handler: Script) -> None:
        handler.session["a"] = "resurrected"
        entered.set()
        await leave.wait()

    waiting = asyncio.ensure_future(run(browser, slow))
    await entered.wait()
    await run(browser, lambda handler: getattr(handler.session, how)())
    leave.set()
    assert (await waiting).set_cookies == []
    browser.cookies = old
    assert await value_of(browser, "a") == "absent"


async def test_07_an_id_that_was_never_given_out_is_not_adopted(
    make_browser: MakeBrowser, store: Store
) -> None:
    browser, other = make_browser(), make_browser()
    await run(other, lambda handler: handler.session.set("a", 1))
    planted = store.signer.sign("A" * 43)
    headers = {"Cookie": f"__Host-sid={planted}"}
    Script.does = staticmethod(lambda handler: handler.session.set("a", 1))
    page = await browser.get("/", headers=headers)
    assert "A" * 43 not in page.set_cookies[0].value
    assert page.set_cookies[0].value != planted


async def test_the_manager_works_without_the_mixin(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    assert [(await browser.get("/plain")).text for _ in range(3)] == ["1", "2", "3"]


@pytest.mark.parametrize("fails", [False, True])
async def test_a_finished_request_needs_no_garbage_collector(
    make_browser: MakeBrowser, fails: bool
) -> None:
    browser = make_browser()
    await run(browser, lambda handler: handler.session.update(name="ada"))
    handlers: list[weakref.ref[Script]] = []

    def read_and_change(handler: Script) -> None:
        handlers.append(weakref.ref(handler))
        handler.session["seen"] = handler.session["name"]
        if fails:
            raise HTTPError(404)

    gc.collect()
    gc.disable()
    try:
        await run(browser, read_and_change)
        async with asyncio.timeout(5):
            while handlers[0]() is not None:
                await asyncio.sleep(0.01)
    finally:
        gc.enable()


async def test_a_prepare_of_ones_own_finds_the_session(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    assert [(await browser.get("/counting")).text for _ in range(2)] == ["1", "2"]


def test_mixins_in_the_wrong_order_are_named() -> None:
    with pytest.raises(TypeError, match=r"class Wrong\(SessionMixin, RequestHandler\)"):

        class Wrong(RequestHandler, SessionMixin):  # type: ignore[misc]
            pass
