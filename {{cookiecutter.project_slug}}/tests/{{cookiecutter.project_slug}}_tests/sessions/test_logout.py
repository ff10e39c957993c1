"""Logging out and starting a new session in one request, while the store fails in between."""

from __future__ import annotations

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
