"""Addresses: confirmed, changed, and used to replace a forgotten password."""

from __future__ import annotations

import asyncio
import logging
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from {{cookiecutter.project_slug}}.app import App
from {{cookiecutter.project_slug}}.database import DatabaseUnavailable
from {{cookiecutter.project_slug}}.mail import Mail
from {{cookiecutter.project_slug}}.settings import Settings
from {{cookiecutter.project_slug}}.throttle import mail_limit
from {{cookiecutter.project_slug}}.tokens import Token

from .browser import Browser, Page
from .conftest import MakeBrowser

ADDRESS = "ada@example.com"


async def register(browser: Browser, username: str = "ada", email: str = ADDRESS) -> Page:
    return await browser.post("/register", username=username, email=email, password="correct horse")


async def mails(app: App, count: int) -> list[Mail]:
    """The mails that were sent, once there are so many."""
    outbox = app.services.mail.outbox
    while len(outbox) < count:
        await asyncio.sleep(0.01)
    return list(outbox)


def link(mail: Mail) -> str:
    """The path of the link in a mail."""
    found = re.search(rf"^ +{re.escape(Settings.base_url)}(/\S+)$", mail.text, re.MULTILINE)
    assert found is not None, mail.text
    return found[1]


async def press(browser: Browser, path: str, **fields: Any) -> Page:
    """Open a link, and send the form that it shows."""
    page = await browser.get(path)
    return await browser.post(path.partition("?")[0], token=token_of(page), **fields)


def token_of(page: Page) -> str:
    """Return the token in the form on a page that a link leads to."""
    token = re.search(r'name="token" value="([^"]+)"', page.text)
    assert token is not None, page.plain
    return token[1]


async def confirmed(app: App, browser: Browser) -> None:
    """Register, and confirm the address."""
    await register(browser)
    await press(browser, link((await mails(app, 1))[0]))
    app.services.mail.outbox.clear()


@pytest.mark.gen_test
async def test_who_registers_is_logged_in_and_gets_a_link_that_confirms(
    app: App, browser: Browser
) -> None:
    page = await register(browser, email=" Ada@Example.COM ")
    assert page.flashes[0][0] == "success"
    (mail,) = await mails(app, 1)
    assert mail.to == ADDRESS
    assert "not confirmed yet" in (await browser.get("/account")).plain
    page = await press(browser, link(mail))
    assert (page.url, page.flashes) == ("/account", [("success", f"{ADDRESS} is confirmed.")])
    assert f"{ADDRESS} \u00b7 confirmed" in page.plain


@pytest.mark.gen_test
async def test_an_address_is_optional(app: App, browser: Browser) -> None:
    assert (await register(browser, email="")).status == 200
    assert not app.services.mail.outbox
    user = await app.services.accounts.find_by(username="ada")
    assert user is not None
    assert user.email is None


@pytest.mark.gen_test
async def test_a_fault_in_an_address_is_named_beside_the_others(browser: Browser) -> None:
    page = await browser.post("/register", username="", email="ada@", password="x")
    assert page.status == 422
    assert all(map(page.error_of, ("username", "email", "password")))
    assert 'value="ada@"' in page.text


@pytest.mark.gen_test
async def test_an_address_belongs_to_one_account(make_browser: MakeBrowser) -> None:
    await register(make_browser())
    page = await register(make_browser(), "eve", "ADA@example.com")
    assert page.error_of("email") == "Another account has this address."


@pytest.mark.gen_test
async def test_an_address_logs_in_too(app: App, make_browser: MakeBrowser) -> None:
    await register(make_browser())
    assert (await make_browser().login("ADA@example.com")).status == 200


@pytest.mark.gen_test
async def test_32_guesses_by_name_and_by_address_count_together(make_browser: MakeBrowser) -> None:
    await register(make_browser())
    for n in range(5):
        page = await make_browser().login(("ada", ADDRESS)[n % 2], "a wrong guess")
        assert page.status == 403
    assert (await make_browser().login(ADDRESS)).status == 429
    assert (await make_browser().login("ada")).status == 429


@pytest.mark.gen_test
async def test_a_link_can_be_opened_elsewhere_and_reaches_the_open_session(
    app: App, make_browser: MakeBrowser
) -> None:
    desk, phone = make_browser(), make_browser()
    await register(desk)
    page = await press(phone, link((await mails(app, 1))[0]))
    assert page.url == "/login"
    assert f"{ADDRESS} \u00b7 confirmed" in (await desk.get("/account")).plain


@pytest.mark.gen_test
async def test_opening_a_link_changes_nothing_and_using_it_works_once(
    app: App, browser: Browser
) -> None:
    await register(browser)
    path = link((await mails(app, 1))[0])
    pages = [await browser.get(path) for _ in range(3)]  # a scanner of mails, a preview
    assert "not confirmed yet" in (await browser.get("/account")).plain
    answers = await asyncio.gather(
        *(browser.post("/confirm", token=token_of(page)) for page in pages)
    )
    assert sorted(page.status for page in answers) == [200, 410, 410]
    assert "does not work any more" in (await browser.get(path)).plain


@pytest.mark.parametrize("path", ["/confirm", "/confirm?token=x", "/reset?token=%00", "/reset"])
@pytest.mark.gen_test
async def test_a_link_that_is_none_is_refused_in_words(browser: Browser, path: str) -> None:
    for page in (await browser.get(path), await browser.post(path, new_password="another horse")):
        assert page.status == 410
        assert "does not work any more" in page.plain


@pytest.mark.gen_test
async def test_a_link_works_for_a_while_only(app: App, browser: Browser) -> None:
    await register(browser)
    (mail,) = await mails(app, 1)
    async with app.services.database.session() as db:
        late = datetime.now(UTC) - timedelta(seconds=1)
        await db.execute(update(Token).values(expires_at=late))
        await db.commit()
    assert (await browser.get(link(mail))).status == 410


@pytest.mark.gen_test
async def test_a_link_for_one_purpose_is_none_for_another(app: App, browser: Browser) -> None:
    await register(browser)
    (mail,) = await mails(app, 1)
    reset = link(mail).replace("/confirm", "/reset")
    assert (await browser.get(reset)).status == 410
    assert (await browser.post(reset, new_password="another horse")).status == 410
    assert (await browser.login()).status == 200


@pytest.mark.gen_test
async def test_only_the_newest_link_works_and_it_can_be_sent_again(
    app: App, browser: Browser
) -> None:
    await register(browser)
    await browser.post("/account/email/send-again")
    first, second = await mails(app, 2)
    assert (await browser.get(link(first))).status == 410
    assert (await press(browser, link(second))).status == 200


@pytest.mark.gen_test
async def test_a_new_address_counts_once_it_is_confirmed_and_the_old_one_is_told(
    app: App, browser: Browser
) -> None:
    await confirmed(app, browser)
    page = await browser.post("/account/email", email="new@example.com", password="correct horse")
    assert "new@example.com" in page.flashes[0][1]
    assert f"{ADDRESS} \u00b7 confirmed" in page.plain
    (mail,) = await mails(app, 1)
    assert mail.to == "new@example.com"
    page = await press(browser, link(mail))
    assert "new@example.com \u00b7 confirmed" in page.plain
    _, told = await mails(app, 2)
    assert told.to == ADDRESS
    assert "new@example.com" in told.text


@pytest.mark.gen_test
async def test_a_new_address_needs_the_password(app: App, browser: Browser) -> None:
    await confirmed(app, browser)
    page = await browser.post("/account/email", email="new@example.com", password="a guess")
    assert page.status == 403
    assert page.error_of("password") == ""  # of the form above it
    assert "This is not your current password." in page.plain
    assert 'value="new@example.com"' in page.text
    assert not app.services.mail.outbox


@pytest.mark.gen_test
async def test_an_address_that_somebody_got_first_is_not_taken_from_them(
    app: App, make_browser: MakeBrowser
) -> None:
    ada, eve = make_browser(), make_browser()
    await confirmed(app, ada)
    await ada.post("/account/email", email="new@example.com", password="correct horse")
    (mail,) = await mails(app, 1)
    await register(eve, "eve", "new@example.com")
    page = await press(ada, link(mail))
    assert page.url == "/forgot"
    assert page.flashes[0][1].startswith("Another account has this address.")
    assert f"{ADDRESS} \u00b7 confirmed" in (await ada.get("/account")).plain


# --- Forgotten passwords


@pytest.mark.gen_test
async def test_a_forgotten_password_is_replaced_and_all_sessions_end(
    app: App, make_browser: MakeBrowser
) -> None:
    there, here = make_browser(), make_browser()
    await confirmed(app, there)
    await here.post("/forgot", email=" ADA@example.com")
    (mail,) = await mails(app, 1)
    page = await press(here, link(mail), new_password="short")
    assert page.status == 422
    assert page.error_of("new_password")
    page = await press(here, link(mail), new_password="another horse")
    assert (page.url, page.flashes[0][0]) == ("/login", "success")
    assert (await there.get("/account")).url.startswith("/login")
    assert (await make_browser().login()).status == 403
    assert (await make_browser().login(password="another horse")).status == 200
    assert (await here.get(link(mail))).status == 410


@pytest.mark.gen_test
async def test_nobody_learns_who_has_an_address(
    app: App, make_browser: MakeBrowser, caplog: pytest.LogCaptureFixture
) -> None:
    await register(make_browser())
    app.services.mail.outbox.clear()
    known = await make_browser().post("/forgot", email=ADDRESS)
    await mails(app, 1)
    unknown = await make_browser().post("/forgot", email="eve@example.com")
    assert (known.status, known.text) == (200, unknown.text.replace("eve@example.com", ADDRESS))
    assert known.set_cookies == unknown.set_cookies == []
    assert len(await mails(app, 1)) == 1
    assert "example.com" not in caplog.text


@pytest.mark.gen_test
async def test_a_password_that_was_changed_makes_links_worthless(
    app: App, browser: Browser
) -> None:
    await confirmed(app, browser)
    await browser.post("/forgot", email=ADDRESS)
    (mail,) = await mails(app, 1)
    await browser.post("/account", password="correct horse", new_password="another horse")
    assert (await browser.get(link(mail))).status == 410


@pytest.mark.gen_test
async def test_a_former_address_replaces_no_password(app: App, browser: Browser) -> None:
    await confirmed(app, browser)
    await browser.post("/forgot", email=ADDRESS)
    await browser.post("/account/email", email="new@example.com", password="correct horse")
    sent = await mails(app, 2)
    reset = next(mail for mail in sent if mail.to == ADDRESS)
    await press(browser, link(next(mail for mail in sent if mail is not reset)))
    assert (await browser.get(link(reset))).status == 410
    answer = await browser.post(link(reset), new_password="another horse")
    assert answer.status == 410


@pytest.mark.gen_test
async def test_nobody_is_flooded_with_mail(app: App, make_browser: MakeBrowser) -> None:
    await register(make_browser())
    statuses = [
        (await make_browser().post("/forgot", email=ADDRESS)).status
        for _ in range(mail_limit.times + 1)
    ]
    # The registration has sent the first one.
    assert statuses == [200] * (mail_limit.times - 1) + [429] * 2


@pytest.mark.gen_test
async def test_nobody_is_flooded_by_registrations_either(
    app: App, make_browser: MakeBrowser
) -> None:
    for number in range(mail_limit.times + 1):
        browser = make_browser()
        assert (await register(browser, f"name {number}")).status == 200
        await browser.post("/account/delete", password="correct horse")
    assert len(await mails(app, mail_limit.times)) == mail_limit.times


@pytest.mark.gen_test
async def test_a_forgotten_password_meets_a_database_that_is_away(
    app: App, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(user_id: str) -> None:
        raise DatabaseUnavailable("the database", "gone")

    monkeypatch.setattr(app.services.accounts, "find", away)
    for email in (ADDRESS, "nobody@example.com"):
        assert (await browser.post("/forgot", email=email)).status == 503


@pytest.mark.gen_test
async def test_no_link_is_promised_where_no_mail_can_be_sent(
    app: App, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    await register(browser)
    monkeypatch.setattr(app.services.mail, "can_send", False)
    form: dict[str, Any] = {"email": "new@example.com", "password": "correct horse"}
    for path in ("/account/email", "/account/email/send-again"):
        assert (await browser.post(path, **form)).status == 404


@pytest.mark.gen_test
async def test_41_a_link_leads_to_the_configured_address_whatever_the_request_says(
    app: App, browser: Browser
) -> None:
    await register(browser)
    app.services.mail.outbox.clear()
    headers = {"Host": "127.0.0.1:99", "X-Forwarded-Host": "evil.example"}
    await browser.post("/forgot", headers=headers, email=ADDRESS)
    (mail,) = await mails(app, 1)
    assert link(mail).startswith("/reset?token=")


@pytest.mark.gen_test
async def test_23_a_token_is_in_no_log_and_only_its_hash_in_the_database(
    app: App, browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        await register(browser)
        (mail,) = await mails(app, 1)
        token = link(mail).partition("token=")[2]
        async with app.services.database.session() as db:
            assert token not in [each.hash for each in await db.scalars(select(Token))]
        await press(browser, link(mail))
        await browser.get(link(mail))
    assert "/confirm" in caplog.text
    assert token not in caplog.text
    assert ADDRESS not in caplog.text
