"""The pages: what a visitor sees, and the headers that come with everything."""

from __future__ import annotations

import pytest
from tornado.web import HTTPError

from {{cookiecutter.project_slug}}.app import App
from {{cookiecutter.project_slug}}.handlers.base import BaseHandler

from .browser import Browser

HOSTILE = """<script>alert(1)</script>"><img src=x onerror='alert(1)'>"""


@pytest.mark.gen_test
async def test_33_what_people_write_is_escaped_on_every_page(browser: Browser) -> None:
    pages = [
        await browser.post("/", text=HOSTILE),
        await browser.post("/register", username=HOSTILE, password="short"),
        await browser.post("/login", username=HOSTILE, password="short", next=HOSTILE),
        await browser.register(HOSTILE),
        await browser.get("/account"),
        await browser.get("/logout"),
        await browser.get(f"/{HOSTILE.replace(' ', '%20')}"),
    ]
    assert pages[3].status == 200
    assert "Welcome, <script>alert(1)" in pages[3].plain
    for page in pages:
        assert "<script>" not in page.text
        assert "<img src=x" not in page.text


class Broken(BaseHandler):
    def get(self) -> None:
        raise RuntimeError("secret detail")


class Refusing(BaseHandler):
    async def prepare(self) -> None:
        raise HTTPError(503)  # before the session is loaded


@pytest.mark.gen_test
async def test_33_every_answer_has_the_security_headers(app: App, browser: Browser) -> None:
    app.add_handlers(".*", [("/broken", Broken), ("/refusing", Refusing)])
    answers = {
        "/": 200,
        "/login": 200,
        "/static/style.css": 200,
        "/static/nothing.css": 404,
        "/static/%00": 404,
        "/static/": 404,
        "/nothing": 404,
        "/healthz": 200,
        "/account/delete": 405,
        "/broken": 500,
        "/refusing": 503,
    }
    for path, status in answers.items():
        page = await browser.get(path)
        assert page.status == status, path
        policy = page.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert page.headers["X-Frame-Options"] == "DENY"
        assert page.headers["Referrer-Policy"] == "same-origin"
        assert page.headers["Strict-Transport-Security"].startswith("max-age=")
        assert page.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert "Server" not in page.headers


@pytest.mark.gen_test
async def test_error_pages_speak_in_words_and_tell_nothing(app: App, browser: Browser) -> None:
    app.add_handlers(".*", [("/broken", Broken)])
    page = await browser.get("/broken")
    assert "It is not your fault" in page.plain
    assert "secret detail" not in page.text
    assert page.headers["X-Request-ID"] in page.plain  # the same as in the log


@pytest.mark.gen_test
async def test_an_error_page_needs_no_session(app: App, browser: Browser) -> None:
    app.add_handlers(".*", [("/refusing", Refusing)])
    await browser.register()
    assert "does not answer" in (await browser.get("/refusing")).plain


@pytest.mark.gen_test
async def test_a_wrong_method_is_answered_with_the_right_ones(browser: Browser) -> None:
    page = await browser.get("/account/delete")
    assert page.status == 405
    assert page.headers["Allow"] == "POST"


@pytest.mark.gen_test
async def test_30_posts_from_other_sites_are_refused(browser: Browser) -> None:
    await browser.register()
    for headers in (
        {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "same-site", "Origin": "https://blog.localhost"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ):
        for path in ("/", "/login", "/logout", "/account", "/account/delete"):
            page = await browser.post(path, headers=headers, text="x", password="correct horse")
            assert page.status == 403
    assert (await browser.get("/account")).url == "/account"  # still logged in, still there


@pytest.mark.gen_test
async def test_pages_of_members_are_kept_by_no_cache(browser: Browser) -> None:
    await browser.register()
    for path in ("/", "/account", "/logout"):
        assert (await browser.get(path)).headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/login", "/register"])
@pytest.mark.gen_test
async def test_form_fields_have_labels_and_tell_password_managers_what_they_are(
    browser: Browser, path: str
) -> None:
    page = await browser.get(path)
    kind = "current" if path == "/login" else "new"
    assert '<label for="username">' in page.text
    assert '<label for="password">' in page.text
    assert 'autocomplete="username"' in page.text
    assert f'autocomplete="{kind}-password"' in page.text


@pytest.mark.gen_test
async def test_a_visitor_who_only_looks_at_the_login_page_gets_no_cookie(browser: Browser) -> None:
    for path in ("/login", "/register", "/logout", "/nothing", "/static/style.css", "/healthz"):
        await browser.get(path)
    assert browser.cookies == {}


@pytest.mark.gen_test
async def test_a_body_that_is_no_text_is_refused_in_words(browser: Browser) -> None:
    page = await browser._send("POST", "/login", "username=%ff%fe&password=x", True, None)
    assert page.status == 400
    assert "made no sense" in page.plain
