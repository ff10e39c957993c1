"""The members' page: password, active sessions, deletion."""

from __future__ import annotations

import re

import pytest

from {{cookiecutter.project_slug}}.app import App

from .browser import Browser, Page
from .conftest import MakeBrowser

FIREFOX = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}
SAFARI = {
    "User-Agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1"
}


def handles(page: Page) -> list[str]:
    """The handles of the sessions that the page offers to end."""
    return re.findall(r'name="handle" value="([^"]+)"', page.text)


@pytest.mark.gen_test
async def test_25_a_password_change_asks_for_the_current_one(
    browser: Browser, make_browser: MakeBrowser
) -> None:
    await browser.register()
    page = await browser.post("/account", password="a guess", new_password="another horse")
    assert page.status == 403
    assert page.error_of("password") == "This is not your current password."
    assert "a guess" not in page.text
    assert (await make_browser().login(password="another horse")).status == 403


@pytest.mark.gen_test
async def test_after_a_password_change_only_the_new_one_works(
    browser: Browser, make_browser: MakeBrowser
) -> None:
    await browser.register()
    before = browser.session_cookie
    page = await browser.post("/account", password="correct horse", new_password="another horse")
    assert (page.status, page.url) == (200, "/account")
    assert page.flashes == [("success", "Your password is changed.")]
    assert browser.session_cookie != before  # a new id
    assert (await make_browser().login(password="correct horse")).status == 403
    assert (await make_browser().login(password="another horse")).status == 200


@pytest.mark.gen_test
async def test_a_password_change_ends_all_other_sessions(make_browser: MakeBrowser) -> None:
    mine, other, third = make_browser(), make_browser(), make_browser()
    await mine.register()
    for browser in (other, third):
        await browser.login()
    page = await mine.post("/account", password="correct horse", new_password="another horse")
    assert "2 other sessions are ended." in page.flashes[0][1]
    for browser in (other, third):
        assert (await browser.get("/account")).url.startswith("/login")
    page = await mine.get("/account")
    assert "this one" in page.plain  # it stays in the list, so that it can be ended from elsewhere
    assert handles(page) == []


@pytest.mark.gen_test
async def test_a_new_password_that_is_too_weak_is_refused(browser: Browser) -> None:
    await browser.register()
    for new in ("short", "password123", "x" * 1025):
        page = await browser.post("/account", password="correct horse", new_password=new)
        assert page.status == 422
        assert page.error_of("new_password")
        assert page.error_of("password") == ""


@pytest.mark.gen_test
async def test_24_the_page_lists_where_one_is_logged_in(make_browser: MakeBrowser) -> None:
    here, there = make_browser(headers=FIREFOX), make_browser(headers=SAFARI)
    await here.register()
    await there.login()
    page = await here.get("/account")
    assert "Firefox on Linux this one" in page.plain
    assert "Safari on iPhone" in page.plain
    assert "127.0.0.1" in page.plain
    assert len(handles(page)) == 1  # one does not end the session one sits at
    for browser in (here, there):
        assert browser.session_cookie is not None
        assert browser.session_cookie.value not in page.text


@pytest.mark.gen_test
async def test_24_one_session_can_be_ended_and_is_dead_at_once(make_browser: MakeBrowser) -> None:
    here, there, third = make_browser(), make_browser(headers=SAFARI), make_browser(headers=FIREFOX)
    await here.register()
    await third.login()
    await there.login()
    page = await here.get("/account")
    handle = handles(page)[page.plain.index("Firefox") < page.plain.index("Safari")]
    page = await here.post("/account/sessions/end", handle=handle)
    assert page.flashes == [("success", "That session is ended.")]
    assert "Safari" not in page.plain
    assert (await there.get("/account")).url.startswith("/login")
    assert (await third.get("/account")).url == "/account"


@pytest.mark.gen_test
async def test_24_all_others_can_be_ended(make_browser: MakeBrowser) -> None:
    here, there, third = make_browser(), make_browser(), make_browser()
    await here.register()
    await there.login()
    await third.login()
    page = await here.post("/account/sessions/end-others")
    assert page.flashes == [("success", "2 other sessions are ended.")]
    for browser in (there, third):
        assert (await browser.get("/account")).url.startswith("/login")


@pytest.mark.gen_test
async def test_nobody_ends_the_sessions_of_another_user(make_browser: MakeBrowser) -> None:
    ada, grace, mallory = make_browser(), make_browser(), make_browser()
    await ada.register("ada")
    await grace.login("ada")
    handle = handles(await ada.get("/account"))[0]
    await mallory.register("mallory")
    page = await mallory.post("/account/sessions/end", handle=handle)
    assert page.flashes == [("error", "That session had ended already.")]
    assert (await grace.get("/account")).url == "/account"


@pytest.mark.gen_test
async def test_sessions_that_logged_out_leave_the_list(make_browser: MakeBrowser) -> None:
    here, there = make_browser(), make_browser()
    await here.register()
    await there.login()
    await there.post("/logout")
    assert handles(await here.get("/account")) == []


@pytest.mark.gen_test
async def test_25_deleting_an_account_asks_for_the_password(browser: Browser) -> None:
    await browser.register()
    page = await browser.post("/account/delete", password="a guess")
    assert page.status == 403
    assert "This is not your current password." in page.plain
    assert (await browser.get("/account")).url == "/account"


@pytest.mark.gen_test
async def test_a_deleted_account_is_gone_with_all_its_sessions(
    app: App, make_browser: MakeBrowser
) -> None:
    here, there = make_browser(), make_browser()
    await here.register()
    await there.login()
    page = await here.post("/account/delete", password="correct horse")
    assert page.url == "/"
    assert page.flashes == [("success", "Your account is deleted.")]
    for browser in (here, there):
        assert (await browser.get("/account")).url.startswith("/login")
    assert (await make_browser().login()).status == 403
    assert (await make_browser().register()).status == 200  # the name is free again


@pytest.mark.gen_test
async def test_visitors_can_change_nothing(browser: Browser) -> None:
    for path in ("", "/delete", "/sessions/end", "/sessions/end-others"):
        page = await browser.post(f"/account{path}", password="x", new_password="y", handle="z")
        assert page.url.startswith("/login")
