"""HEAD works wherever GET does: the same headers, no body, and nothing is used up."""

from __future__ import annotations

import pytest

from {{cookiecutter.project_slug}}.app import App

from .browser import Browser

pytestmark = pytest.mark.gen_test

VARY_EACH_TIME = ("Date", "X-Request-Id", "Etag")  # /account tells the time


async def test_head_works_wherever_get_does(app: App, browser: Browser) -> None:
    await browser.register()
    paths = {
        "/": 200,
        "/login": 302,
        "/account": 200,
        "/logout": 200,
        "/forgot": 200,
        "/reset?token=x": 410,
        "/healthz": 200,
        "/readyz": 200,
        "/static/app.js": 200,
        "/static/nothing.js": 404,
        "/nothing": 404,
        "/account/delete": 405,
    }
    for path, status in paths.items():
        shown, head = await browser.get(path, follow=False), await browser.head(path)
        assert (shown.status, head.status, head.text) == (status, status, ""), path
        for headers in (shown.headers, head.headers):
            for name in VARY_EACH_TIME:
                headers.pop(name, None)
        assert dict(head.headers) == dict(shown.headers), path


async def test_visitors_get_the_same_from_head(browser: Browser) -> None:
    for path in ("/login", "/register", "/account"):
        shown, head = await browser.get(path, follow=False), await browser.head(path)
        assert (head.status, head.text) == (shown.status, "")
        assert head.headers.get("Content-Length") == shown.headers.get("Content-Length")
        assert head.headers.get("Location") == shown.headers.get("Location")
    assert browser.cookies == {}


async def test_a_wrong_method_names_head_beside_get(browser: Browser) -> None:
    assert (await browser.get("/account/delete")).headers["Allow"] == "POST"
    assert (await browser.post("/healthz")).headers["Allow"] == "GET, HEAD"


async def test_a_head_takes_no_message_away(browser: Browser) -> None:
    await browser.post("/", follow=False, text="a note")
    await browser.head("/")
    assert (await browser.get("/")).flashes == [("success", "Your note is saved.")]
