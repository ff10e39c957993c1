"""Forms: what people typed comes back, whatever happened to it; errors lead to the faulty field."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import pytest
from tornado.web import HTTPError

from {{cookiecutter.project_slug}}.app import App
from {{cookiecutter.project_slug}}.handlers.base import BaseHandler
from {{cookiecutter.project_slug}}.handlers.rights import (
    authenticated,
    require,
)
from {{cookiecutter.project_slug}}.sessions import StoreUnavailable
from {{cookiecutter.project_slug}}.settings import Settings

from .browser import Browser, Page
from .conftest import MakeBrowser

pytestmark = pytest.mark.gen_test

IS_OVER = "Your session is over. Log in to go on"


@dataclass(frozen=True)
class Typed:
    """What is in a form that somebody sends."""

    text: str = "a <b>long</b> text"
    email: str = "ada@example.com"
    password: str = "a secret"
    new_Password: str = "my new one"
    passphrase: str = "a third"
    handle: str = "nobody typed this"


class Essay(BaseHandler):
    """A page as an owner writes it: it knows nothing of what is kept."""

    @authenticated
    async def get(self) -> None:
        await self.render_page("confirm.html", token="", username="", email="")

    @authenticated
    async def post(self) -> None:
        raise HTTPError(int(self.field("status")))


class Part(BaseHandler):
    """Takes a form, and has no page."""

    @require("")
    async def post(self) -> None:
        self.see_other("/essay")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return replace(settings, max_body_bytes=100_000)  # for what is too long for a session


@pytest.fixture
def app(app: App) -> App:
    app.add_handlers(".*", [("/essay", Essay), ("/essay/part/of", Part)])
    return app


async def send(browser: Browser, path: str, referrer: str | None = None, **more: str) -> Page:
    """Send a form, and say that it is on the page `referrer`."""
    headers = None if referrer is None else {"Referer": browser.base_url + referrer}
    return await browser.post(path, headers=headers, **(vars(Typed()) | more))


def assert_only_what_was_typed_is_on(page: Page) -> None:
    assert "a &lt;b&gt;long&lt;/b&gt; text" in page.text
    assert "ada@example.com" in page.text
    for left_out in ("a secret", "my new one", "a third", "nobody typed"):
        assert left_out not in page.plain


@pytest.mark.parametrize(
    ("path", "referrer", "page"),
    [
        ("/essay", "/essay", "/essay"),
        ("/essay", "/essay?draft=1&sure=yes", "/essay?draft=1&sure=yes"),
        ("/essay", None, "/essay"),  # the browser does not say
        ("/essay/part/of", "/essay?draft=1", "/essay?draft=1"),
        ("/essay/part/of", None, "/essay"),
        ("/essay/part/of", "/essay/part/of", "/essay"),  # it had come back with an error
        ("/account/email/send-again", "/account/delete?x=1", "/account"),
        ("/essay", "/gone/for/good", "/"),
    ],
)
async def test_a_form_whose_session_is_over_leads_to_the_login_and_back(
    make_browser: MakeBrowser, path: str, referrer: str | None, page: str
) -> None:
    await make_browser().register()
    browser = make_browser()
    shown = await send(browser, path, referrer)
    assert shown.url.startswith("/login?next=")
    assert shown.flashes == [("info", f"{IS_OVER}: what you typed is kept.")]
    next_ = re.findall(r'name="next" value="([^"]*)"', shown.text)[0].replace("&amp;", "&")
    assert "ada@example.com" not in (await browser.get("/logout")).text  # only on its own page
    shown = await browser.login(next=next_)
    assert (shown.status, shown.url) == (200, page)
    assert_only_what_was_typed_is_on(shown)
    assert "ada@example.com" not in (await browser.get(page)).text  # once


async def test_what_was_typed_is_in_its_field_again(make_browser: MakeBrowser) -> None:
    await make_browser().register()
    browser = make_browser()
    await browser.post("/account/email", email="new@example.com", password="a secret")
    page = await browser.login(next="/account")
    assert re.search(r'<input id="email"[^>]* value="new@example.com"', page.text)
    assert page.text.count("new@example.com") == 1
    assert "What you typed" not in page.plain


async def test_a_form_without_text_leads_to_the_login_too(make_browser: MakeBrowser) -> None:
    page = await make_browser().post("/account/sessions/end", handle="x")
    assert page.url == "/login?next=%2Faccount"
    assert page.flashes == [("info", f"{IS_OVER}.")]


async def test_what_is_too_long_for_a_session_can_be_copied(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    page = await send(browser, "/essay", text="word " * 5000)
    assert (page.status, browser.cookies) == (409, {})
    assert "word " * 100 in page.text
    assert "a secret" not in page.text


async def test_long_names_of_fields_are_too_long_for_a_session_too(browser: Browser) -> None:
    page = await browser._send("POST", "/essay", "x" * 30_000 + "=y", True, None)
    assert (page.status, browser.cookies) == (409, {})


async def test_a_script_that_is_not_logged_in_gets_a_status(browser: Browser) -> None:
    headers = {"Content-Type": "application/json"}
    assert (await browser._send("POST", "/essay", '{"text": "x"}', True, headers)).status == 403


@pytest.mark.parametrize("referrer", ["https://evil.example//x", "", "http://[", "//evil.example"])
async def test_29_a_form_leads_to_own_pages_only(browser: Browser, referrer: str) -> None:
    page = await browser.post("/essay", headers={"Referer": referrer}, text="x")
    assert page.url in ("/login?next=%2F", "/login?next=%2Fessay")


@pytest.mark.parametrize("status", [409, 429, 500, 503])
async def test_what_was_typed_is_on_the_error_page(browser: Browser, status: int) -> None:
    await browser.register()
    page = await send(browser, "/essay", status=str(status))
    assert page.status == status
    assert_only_what_was_typed_is_on(page)


@pytest.mark.parametrize("method", ["load", "write"])
async def test_what_was_typed_is_still_there_when_the_store_is_down(
    app: App, browser: Browser, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    await browser.post("/", text="the first")

    async def fail(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("nowhere", "it is broken")

    monkeypatch.setattr(app.services.store.sessions, method, fail)
    page = await send(browser, "/")
    assert page.status == 503
    assert_only_what_was_typed_is_on(page)


async def test_after_an_error_title_and_focus_lead_to_the_faulty_field(browser: Browser) -> None:
    for path, fields, name in [
        ("/register", {"username": "ada", "password": "short"}, "password"),
        ("/register", {"username": "", "password": "short"}, "username"),
        ("/login", {"username": "ada", "password": "wrong one"}, "password"),
        ("/", {"text": ""}, "text"),
    ]:
        assert "<title>Error: " not in (await browser.get(path)).text
        page = await browser.post(path, follow=True, headers=None, **fields)
        assert "<title>Error: " in page.text
        (focused,) = re.findall(r"<input[^>]*\bautofocus\b[^>]*>", page.text)
        assert f'name="{name}"' in focused
