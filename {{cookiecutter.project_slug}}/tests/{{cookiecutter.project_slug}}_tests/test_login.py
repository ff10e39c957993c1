"""Register, log in, log out: through HTTP, as people do."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import update
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port

from {{cookiecutter.project_slug}}.accounts import User
from {{cookiecutter.project_slug}}.app import App, make_app
from {{cookiecutter.project_slug}}.handlers.auth import second_try
from {{cookiecutter.project_slug}}.handlers.paths import own_path
from {{cookiecutter.project_slug}}.settings import Settings
from {{cookiecutter.project_slug}}.throttle import account_limit

from .browser import Browser
from .conftest import MakeBrowser


@pytest.mark.gen_test
async def test_registering_logs_in_and_welcomes_once(browser: Browser) -> None:
    page = await browser.register("Ada")
    assert page.flashes == [("success", "Welcome, Ada! Your account is ready.")]
    assert "Ada" in page.plain
    assert (await browser.get("/")).flashes == []


@pytest.mark.gen_test
async def test_members_pages_send_visitors_to_the_login_and_back(
    make_browser: MakeBrowser,
) -> None:
    await make_browser().register()
    browser = make_browser()
    page = await browser.get("/account")
    assert page.url == "/login?next=%2Faccount"
    assert page.flashes == [("info", "Log in to see that page.")]
    assert 'name="next" value="/account"' in page.text
    page = await browser.login(next="/account")
    assert page.url == "/account"
    assert page.flashes == [("success", "Welcome back, ada.")]


@pytest.mark.gen_test
async def test_28_wrong_credentials_all_get_the_same_answer(make_browser: MakeBrowser) -> None:
    await make_browser().register()
    pages = [
        await make_browser().login("ada", "a wrong guess"),
        await make_browser().login("eve", "a wrong guess"),
        await make_browser().login("eve", "a wrong guess" * 200),
        await make_browser().login("", ""),
    ]
    for page, username in zip(pages, ["ada", "eve", "eve", ""], strict=True):
        assert page.status == 403
        assert page.flashes == [("error", "Username or password is wrong.")]
        assert page.error_of("password") == "Username or password is wrong."
        assert f'value="{username}"' in page.text
        assert "a wrong guess" not in page.text
    assert pages[0].text == pages[1].text.replace('"eve"', '"ada"')


@pytest.mark.gen_test
async def test_28_an_unknown_name_costs_a_password_check_too(app: App) -> None:
    await app.services.accounts.register("ada", "correct horse")
    checked = []
    hasher = app.services.accounts._hasher._argon2

    class Watching:
        hash = staticmethod(hasher.hash)

        def verify(self, hash_: str, password: str) -> bool:
            checked.append(hash_)
            return hasher.verify(hash_, password)

    app.services.accounts._hasher._argon2 = Watching()  # type: ignore[assignment]
    assert await app.services.accounts.authenticate("ada", "wrong password") is None
    assert await app.services.accounts.authenticate("nobody", "wrong password") is None
    assert len(checked) == 2
    assert checked[0].split("$")[:4] == checked[1].split("$")[:4]  # at the same cost


@pytest.mark.gen_test
async def test_15_login_gives_a_new_id_keeps_the_data_and_ends_the_old_one(
    make_browser: MakeBrowser,
) -> None:
    await make_browser().register()
    browser = make_browser()
    await browser.post("/", text="written before")
    before = browser.session_cookie
    assert before is not None
    await browser.login()
    after = browser.session_cookie
    assert after is not None
    assert after.value != before.value
    assert "written before" in (await browser.get("/")).text
    attacker = make_browser()
    attacker.cookies[before.name] = before  # the planted one
    page = await attacker.get("/")
    assert "written before" not in page.text
    assert "ada" not in page.plain


@pytest.mark.gen_test
async def test_logging_in_as_somebody_else_brings_nothing_along(browser: Browser) -> None:
    await browser.register("ada")
    await browser.post("/", text="a note of ada's")
    await browser.register("grace")
    page = await browser.get("/")
    assert "grace" in page.plain
    assert "a note of ada's" not in page.plain


@pytest.mark.gen_test
async def test_logging_in_again_keeps_what_is_in_the_session(browser: Browser) -> None:
    await browser.register("ada")
    await browser.post("/", text="a note of ada's")
    before = browser.session_token
    page = await browser.login("ada")
    assert page.flashes == [("success", "Welcome back, ada.")]
    assert "a note of ada's" in page.plain
    assert browser.session_token != before


@pytest.mark.gen_test
async def test_a_login_that_is_sent_twice_logs_in_twice(
    app: App, make_browser: MakeBrowser
) -> None:
    await make_browser().register()
    first, second = make_browser(), make_browser()
    await first.post("/", text="written before")
    second.cookies = dict(first.cookies)
    both = asyncio.Barrier(2)  # both have loaded the session before either changes its id
    find_login = app.services.accounts.find_login

    async def find(name: str) -> User | None:
        await both.wait()
        return await find_login(name)

    app.services.accounts.find_login = find  # type: ignore[method-assign]
    answers = await asyncio.gather(first.login(), second.login())
    assert [answer.status for answer in answers] == [200, 200]
    pages = [await each.get("/account") for each in (first, second)]
    assert [page.url for page in pages] == ["/account", "/account"]
    notes = ["written before" in (await each.get("/")).plain for each in (first, second)]
    assert notes.count(True) == 1


@pytest.mark.gen_test
async def test_19_logout_ends_the_session_and_a_replayed_cookie_is_refused(
    make_browser: MakeBrowser,
) -> None:
    browser = make_browser()
    await browser.register()
    old = browser.session_cookie
    assert old is not None
    answer = await browser.post("/logout", follow=False)
    assert (answer.status, answer.location) == (303, "/logout")
    assert browser.session_cookie is None  # cleared with matching attributes
    thief = make_browser()
    thief.cookies[old.name] = old
    assert (await thief.get("/account")).url.startswith("/login")


@pytest.mark.gen_test
async def test_22_logout_says_so_and_clears_what_the_browser_keeps(browser: Browser) -> None:
    await browser.register()
    answer = await browser.post("/logout", follow=False)
    assert answer.headers["Clear-Site-Data"] == '"cookies", "storage"'
    # Nothing the next page needs is in a cookie: the browser may have just deleted it.
    browser.cookies.clear()
    page = await browser.get(answer.location)
    assert page.flashes == [("success", "You are logged out.")]


@pytest.mark.gen_test
async def test_30_a_get_never_logs_out(browser: Browser) -> None:
    await browser.register()
    page = await browser.get("/logout")
    assert "You are logged in as ada." in page.plain
    assert (await browser.get("/account")).url == "/account"


@pytest.mark.gen_test
async def test_14_the_cookie_ends_with_the_browser_unless_asked_to_stay(
    make_browser: MakeBrowser,
) -> None:
    await make_browser().register()
    forgetful, staying = make_browser(), make_browser()
    await forgetful.login()
    await staying.login(remember=True)
    for browser in (forgetful, staying):
        browser.close()
    assert (await forgetful.get("/account")).url.startswith("/login")
    assert (await staying.get("/account")).url == "/account"


@pytest.mark.gen_test
async def test_the_login_says_how_long_one_stays(settings: Settings, browser: Browser) -> None:
    unit = "day" if settings.remember_days == 1 else "days"
    assert f"For up to {settings.remember_days} {unit}," in (await browser.get("/login")).plain


@pytest.mark.gen_test
async def test_a_registration_that_cannot_be_comes_back_with_the_reason(browser: Browser) -> None:
    for username, password, field, words in [
        ("", "correct horse", "username", "Choose a username."),
        ("a\u200bb", "correct horse", "username", "can be seen"),
        ("ada", "2short!", "password", "at least 8"),
        ("ada", "x" * 1025, "password", "at most 1024"),
        ("ada lovelace", "ADA Lovelace", "password", "your name or address"),
        ("\u0301", "correct horse", "username", "can be seen"),
        ("ada", "Password123", "password", "anybody would try"),
    ]:
        page = await browser.register(username, password)
        assert page.status == 422
        assert words in page.error_of(field)
        assert page.flashes[0][0] == "error"
        assert f'value="{password}"' not in page.text


@pytest.mark.gen_test
async def test_every_fault_of_a_form_is_named_at_once(browser: Browser) -> None:
    page = await browser.post("/register", username="", password="x")
    assert page.error_of("username")
    assert page.error_of("password")


@pytest.mark.gen_test
async def test_of_two_people_who_ask_for_a_name_at_once_one_gets_it(
    make_browser: MakeBrowser,
) -> None:
    names = ["Ada", "ada", "ADA", "\uff21da", " ada "]
    pages = await asyncio.gather(
        *(make_browser().register(name, f"correct horse {n}") for n, name in enumerate(names))
    )
    assert sorted(page.status for page in pages) == [200, 422, 422, 422, 422]
    refused = next(page for page in pages if page.status == 422)
    assert "taken" in refused.error_of("username")


@pytest.mark.parametrize("email", ["", "ada@example.com"])
@pytest.mark.gen_test
async def test_registering_twice_with_the_right_password_logs_in(
    make_browser: MakeBrowser, email: str
) -> None:
    form: dict[str, Any] = {"username": "ada", "password": "correct horse", "email": email}
    browser = make_browser()
    pages = await asyncio.gather(*(browser.post("/register", **form) for _ in range(2)))
    assert {page.status for page in pages} == {200}  # a double click
    assert (await browser.get("/account")).url == "/account"
    assert (await make_browser().post("/register", **form)).url == "/"
    wrong = await make_browser().post("/register", **form | {"password": "another horse"})
    assert wrong.status == 422
    assert wrong.error_of("username")
    assert not wrong.error_of("email")


@pytest.mark.gen_test
async def test_32_registering_is_no_way_to_guess_more(make_browser: MakeBrowser) -> None:
    await make_browser().register()
    statuses = [(await make_browser().register(password=f"a guess {n}")).status for n in range(6)]
    assert statuses == [422] * 5 + [429]


@pytest.mark.gen_test
async def test_the_way_on_is_kept_between_login_and_register_through_errors(
    make_browser: MakeBrowser,
) -> None:
    to_register, to_login = 'href="/register?next=%2Faccount"', 'href="/login?next=%2Faccount"'
    browser = make_browser()
    assert to_register in (await browser.get("/account")).text
    assert to_login in (await browser.get("/register?next=%2Faccount")).text
    refused = await browser.post("/login", username="ada", password="wrong", next="/account")
    assert to_register in refused.text
    assert 'name="next" value="/account"' in refused.text
    form: dict[str, Any] = {"username": "ada", "password": "correct horse", "next": "/account"}
    refused = await browser.post("/register", **form | {"password": "short"})
    assert to_login in refused.text
    assert 'name="next" value="/account"' in refused.text
    assert (await browser.post("/register", **form)).url == "/account"
    assert (await make_browser().login(next="/account")).url == "/account"


@pytest.mark.gen_test
async def test_40_no_cache_keeps_a_form_that_takes_a_password(browser: Browser) -> None:
    for path in ("/login", "/register", "/forgot"):
        assert (await browser.get(path)).headers["Cache-Control"] == "no-store"
    refused = await browser.login("nobody", "a wrong guess")
    assert refused.headers["Cache-Control"] == "no-store"


@pytest.mark.gen_test
async def test_logins_live_on_through_a_rotation_of_the_secret(
    settings: Settings, browser: Browser, http_client: AsyncHTTPClient
) -> None:
    await browser.register()
    old, new = str(settings.cookie_secret), "the-new-secret-" * 3
    rotations: list[tuple[dict[int, str], str]] = [
        ({1: new, 0: old}, "/account"),
        ({1: new}, "/login?next=%2Faccount"),
    ]
    for secrets, leads_to in rotations:
        rotated = make_app(replace(settings, cookie_secret=secrets, key_version=1))
        server, (sock, port) = HTTPServer(rotated), bind_unused_port()
        server.add_socket(sock)
        visitor = Browser(http_client, f"http://localhost:{port}")
        visitor.cookies.update(browser.cookies)
        assert (await visitor.get("/account")).url == leads_to
        server.stop()
        await server.close_all_connections()
        await rotated.close()


@pytest.mark.gen_test
async def test_a_password_is_taken_as_typed_spaces_included(make_browser: MakeBrowser) -> None:
    await make_browser().register(password="  correct horse  ")
    assert (await make_browser().login(password="correct horse")).status == 403
    assert (await make_browser().login(password="  correct horse  ")).status == 200


@pytest.mark.gen_test
async def test_a_login_that_a_password_change_overtakes_is_refused(
    app: App, make_browser: MakeBrowser
) -> None:
    accounts = app.services.accounts
    await make_browser().register()
    has_password = accounts.has_password

    async def slowly(user: User | None, password: str) -> bool:
        right = await has_password(user, password)
        assert user is not None
        current = await accounts.find(user.id)
        assert current is not None
        await accounts.set_password(current, "another horse")
        return right

    accounts.has_password = slowly  # type: ignore[method-assign]
    browser = make_browser()
    assert (await browser.login()).status == 403
    assert (await browser.get("/account")).url.startswith("/login")


@pytest.mark.gen_test
async def test_23_a_failed_login_is_logged_without_name_or_password(
    browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        await browser.login("my-password-in-the-wrong-box", "another secret")
    assert "login failed request=" in caplog.text
    assert "wrong-box" not in caplog.text
    assert "another secret" not in caplog.text


@pytest.mark.gen_test
async def test_a_form_full_of_accents_does_not_hold_up_the_event_loop(
    settings: Settings, browser: Browser
) -> None:
    # As many as can be sent four times; normalising the first 40,000 would take seconds.
    accents = "\u0300\u0316" * min(20_000, settings.max_body_bytes // 50)
    for path in ("/login", "/register", "/"):
        began = time.perf_counter()
        page = await browser.post(
            path, username=accents, password=accents, next=f"/{accents}", text=accents
        )
        assert page.status in (403, 422)
        assert time.perf_counter() - began < 1


OWN = ["/", "/account", "/search?q=a//b&next=https://x", "/a%20b", "/caf%C3%A9", "/a#b"]
FOREIGN = [
    "",
    "account",
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "https://evil.example",
    "https:evil.example",
    "HTTPS:/evil.example",
    "javascript:alert(1)",
    "/\t/evil.example",
    "/\n/evil.example",
    "\t//evil.example",
    " //evil.example",
    "/%2fevil.example",
    "/%2Fevil.example",
    "/%5cevil.example",
    "/%252fevil.example",
    "/%09/evil.example",
    "/.//evil.example",
    "/\u2028/evil.example",
    "/\x00/evil.example",
    "/a\r\nSet-Cookie: sid=x",
    "/" + "a" * 3000,
]


@pytest.mark.parametrize("path", OWN)
def test_a_login_leads_on_to_own_pages(path: str) -> None:
    assert own_path(path) == path


@pytest.mark.parametrize("path", FOREIGN)
def test_29_a_login_never_leads_to_another_site(path: str) -> None:
    assert own_path(path) == "/"


@pytest.mark.gen_test
async def test_29_register_and_login_go_where_they_may(app: App, browser: Browser) -> None:
    fields = {"username": "ada", "password": "correct horse"}
    for form in ("/register", "/login"):
        for asked, leads_to in (("//evil.example", "/"), ("/account", "/account")):
            answer = await browser.post(form, follow=False, headers=None, **fields, next=asked)
            assert (answer.status, answer.location) == (303, leads_to)
            assert "evil" not in (await browser.get(f"/login?next={asked}")).text
            fields["username"] += "a" if form == "/register" else ""
        fields["username"] = "ada"


@pytest.mark.gen_test
async def test_a_login_gets_in_although_the_account_changes_meanwhile(
    app: App, make_browser: MakeBrowser, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_browser().register()
    accounts = app.services.accounts
    has_password = accounts.has_password
    roles = iter(["admin"])

    async def slow(user: User | None, password: str) -> bool:
        result = await has_password(user, password)
        if user is not None and (role := next(roles, None)):
            await accounts.set_role(user.id, role)
        return result

    monkeypatch.setattr(accounts, "has_password", slow)
    page = await make_browser().login()
    assert page.flashes == [("success", "Welcome back, ada.")]


@pytest.mark.gen_test
async def test_who_wants_the_name_of_an_older_account_locks_nobody_out(
    app: App, make_browser: MakeBrowser
) -> None:
    await make_browser().register()
    async with app.services.database.session() as db:
        await db.execute(update(User).values(created_at=datetime.now(UTC) - 2 * second_try))
        await db.commit()
    for _ in range(account_limit.times + 1):
        page = await make_browser().register("ada", "another horse")
        assert page.status == 422
        assert "taken" in page.error_of("username")
    page = await make_browser().login()
    assert page.flashes == [("success", "Welcome back, ada.")]
