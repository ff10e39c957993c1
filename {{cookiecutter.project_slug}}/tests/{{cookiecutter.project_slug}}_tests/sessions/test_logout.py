"""A logout stands, though the store or a block fails later in the same request."""

from __future__ import annotations

import contextlib

import pytest

from {{cookiecutter.project_slug}}.sessions import Store, StoreUnavailable

from .acts import Act
from .conftest import MakeBrowser, Script, run, value_of

pytestmark = pytest.mark.gen_test

BEGINS: dict[str, Act] = {
    "a value": lambda handler: handler.session.set("name", "grace"),
    "an owner": lambda handler: setattr(handler.session, "owner", "grace"),
}


@pytest.mark.parametrize("begins", BEGINS)
async def test_a_session_that_cannot_begin_after_a_logout_is_a_503_and_the_old_one_is_over(
    store: Store, make_browser: MakeBrowser, monkeypatch: pytest.MonkeyPatch, begins: str
) -> None:
    async def fail(*args: object, **options: object) -> None:
        raise StoreUnavailable("the store", "no answer")

    def log_out_and_begin(handler: Script) -> None:
        handler.session.destroy()
        BEGINS[begins](handler)

    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("name", "ada"))
    before = dict(browser.cookies)
    with monkeypatch.context() as patch:
        patch.setattr(store.sessions, "write", fail)
        page = await run(browser, log_out_and_begin)
    assert page.status == 503
    assert browser.session_cookie is None
    browser.cookies = before
    assert await value_of(browser, "name") == "absent"


async def test_a_message_that_cannot_be_kept_after_a_logout_does_not_stop_it(
    store: Store, make_browser: MakeBrowser, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*args: object, **options: object) -> None:
        raise StoreUnavailable("the store", "no answer")

    def log_out(handler: Script) -> None:
        handler.session.destroy()
        handler.notifications.add("You are logged out.")

    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("name", "ada"))
    with monkeypatch.context() as patch:
        patch.setattr(store.sessions, "write", fail)
        page = await run(browser, log_out)
    assert page.status == 200
    assert browser.session_cookie is None


async def log_out_before_a_block_that_fails(handler: Script) -> None:
    handler.session.destroy()
    with contextlib.suppress(ZeroDivisionError):
        async with handler.session:
            raise ZeroDivisionError


@pytest.mark.parametrize("reads", [True, False], ids=["read afterwards", "not read"])
async def test_a_logout_before_a_block_that_fails_leaves_no_session(
    make_browser: MakeBrowser, reads: bool
) -> None:
    async def does(handler: Script) -> None:
        await log_out_before_a_block_that_fails(handler)
        if reads:
            handler.session.get("user")

    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("user", {"name": "ada"}))
    assert (await run(browser, does, "POST")).status == 200
    assert browser.session_cookie is None


async def test_a_session_is_empty_after_a_logout_and_a_block_that_fails(
    make_browser: MakeBrowser,
) -> None:
    seen: list[object] = []

    async def does(handler: Script) -> None:
        await log_out_before_a_block_that_fails(handler)
        seen.append(dict(handler.session))

    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("user", {"name": "ada"}))
    await run(browser, does, "POST")
    assert seen == [{}]
