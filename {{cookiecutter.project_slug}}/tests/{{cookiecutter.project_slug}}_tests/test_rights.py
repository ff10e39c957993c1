"""Roles and confirmed addresses: who may open a page, and that a right ends at once."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from {{cookiecutter.project_slug}}.accounts import RoleRefused
from {{cookiecutter.project_slug}}.app import App
from {{cookiecutter.project_slug}}.handlers.base import BaseHandler
from {{cookiecutter.project_slug}}.handlers.rights import confirmed, require
from {{cookiecutter.project_slug}}.sessions import Owner
from {{cookiecutter.project_slug}}.settings import Settings
from {{cookiecutter.project_slug}}.user_command import UserCommand

from .browser import Browser
from .conftest import COOKIE_SECRET, MakeBrowser
from .project_copy import PACKAGE, ROOT


class Admins(BaseHandler):
    @require("admin", "owner")
    async def get(self) -> None:
        self.write("for admins")

    @require("admin")
    async def post(self) -> None:
        self.write("done")


class Members(BaseHandler):
    @confirmed
    async def get(self) -> None:
        self.write("for the confirmed")

    @confirmed
    async def post(self) -> None:
        self.write("done")


@pytest.fixture
def app(app: App) -> App:
    app.add_handlers(".*", [("/admins", Admins), ("/members", Members)])
    return app


async def set_role(app: App, role: str, name: str = "ada") -> None:
    user = await app.services.accounts.find_by(username=name)
    assert user is not None
    assert await app.services.accounts.set_role(user.id, role)


@pytest.mark.gen_test
async def test_a_page_for_a_role_is_for_that_role(app: App, make_browser: MakeBrowser) -> None:
    ada, eve, visitor = make_browser(), make_browser(), make_browser()
    await ada.register("ada")
    await eve.register("eve")
    await set_role(app, "admin")
    assert (await ada.get("/admins")).text == "for admins"
    assert (await ada.post("/admins")).text == "done"
    assert (await eve.get("/admins")).status == 403
    assert (await eve.post("/admins")).status == 403
    assert (await visitor.get("/admins")).url == "/login?next=%2Fadmins"


@pytest.mark.gen_test
async def test_a_role_that_is_taken_away_is_gone_at_once_without_a_query(
    app: App, make_browser: MakeBrowser
) -> None:
    here, there = make_browser(), make_browser()
    await here.register("ada")
    await set_role(app, "admin")
    await there.login("ada")  # a login brings it too
    session = app.services.database.session
    app.services.database.session = None  # type: ignore[method-assign, assignment]
    for browser in (here, there):
        assert (await browser.get("/admins")).status == 200
    app.services.database.session = session  # type: ignore[method-assign]
    await set_role(app, "")
    for browser in (here, there):
        assert (await browser.get("/admins")).status == 403
        assert (await browser.get("/account")).status == 200


@pytest.mark.gen_test
async def test_a_login_under_way_brings_no_role_that_was_taken_away(
    app: App, browser: Browser
) -> None:
    accounts = app.services.accounts
    await accounts.register("ada", "correct horse", role="admin")
    for name in ("has_password", "note_login"):
        original = getattr(accounts, name)

        async def overtaken(*args: Any, original: Any = original) -> Any:
            done = await original(*args)
            await set_role(app, "")
            return done

        setattr(accounts, name, overtaken)
        await browser.login()
        setattr(accounts, name, original)
        page = await browser.get("/admins")
        assert page.text != "for admins"
        await browser.post("/logout")
        await set_role(app, "admin")


@pytest.mark.gen_test
async def test_a_role_that_is_taken_away_while_it_is_given_is_in_no_session(
    app: App, make_browser: MakeBrowser, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = make_browser()
    await ada.register("ada")
    give, takes = Owner.set, list[asyncio.Task[None]]()

    async def slow(owner: Owner, name: str, value: object) -> int:
        if value == "admin":
            takes.append(asyncio.create_task(set_role(app, "")))
            await asyncio.wait(takes, timeout=0.2)
        return await give(owner, name, value)

    with monkeypatch.context() as patch:
        patch.setattr(Owner, "set", slow)
        await set_role(app, "admin")
        await asyncio.gather(*takes)
    assert (await ada.get("/admins")).status == 403


@pytest.mark.gen_test
async def test_a_page_for_the_confirmed_sends_others_to_do_so(app: App, browser: Browser) -> None:
    await browser.post("/register", username="ada", email="a@example.com", password="correct horse")
    page = await browser.get("/members")
    assert page.url == "/account"
    assert page.flashes[-1] == ("info", "Confirm your e-mail address first.")
    assert (await browser.post("/members")).status == 403
    token = app.services.mail.outbox[0].text.partition("token=")[2].partition("\n")[0]
    await browser.post("/confirm", token=token)
    assert (await browser.get("/members")).text == "for the confirmed"
    assert (await browser.post("/members")).text == "done"


@pytest.mark.gen_test
async def test_an_account_without_a_password_is_nobodys_to_guess(
    app: App, make_browser: MakeBrowser
) -> None:
    await app.services.accounts.register("ada", email="ada@example.com")
    for password in ("", "None", "correct horse"):
        assert (await make_browser().login("ada", password)).status == 403


# --- The command line


@pytest.fixture
def command(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs `python -m ... user`, beside the app, with a password on standard input."""

    def command(*arguments: str, typed: str = "correct horse") -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO(f"{typed}\n"))
        with ThreadPoolExecutor(1) as thread:  # this one has the event loop of the test
            thread.submit(UserCommand(list(arguments)), settings).result()

    return command


@pytest.mark.gen_test
async def test_the_first_admin_comes_from_the_command_line(
    command: Callable[..., None], browser: Browser, capsys: pytest.CaptureFixture[str]
) -> None:
    command("add", "Ada", "--role", "admin", "--email=ada@example.com")
    assert capsys.readouterr().out == "Ada has an account and is admin.\n"
    assert (await browser.login("ada@example.com")).status == 200
    assert (await browser.get("/admins")).status == 200


@pytest.mark.gen_test
async def test_the_command_line_takes_a_role_from_open_sessions(
    settings: Settings, command: Callable[..., None], browser: Browser
) -> None:
    command("add", "ada", "--role=admin")
    await browser.login()
    assert (await browser.get("/admins")).status == 200
    command("role", "ada", "")
    assert (await browser.get("/admins")).status == 403
    command("role", "ada", "admin")
    assert (await browser.get("/admins")).status == 200


@pytest.mark.gen_test
async def test_the_command_line_says_what_cannot_be(app: App, command: Callable[..., None]) -> None:
    command("add", "ada", typed="")  # without a password
    user = await app.services.accounts.find_by(username="ada")
    assert user is not None and user.password_hash is None
    for arguments, typed, words in [
        (["add", "ADA"], "correct horse", "taken"),
        (["add", "eve"], "short", "at least 8"),
        (["add", "eve", "--email=eve"], "correct horse", "name@example.com"),
        (["role", "eve", "admin"], "", "no user eve"),
    ]:
        with pytest.raises(SystemExit, match=words):
            command(*arguments, typed=typed)


def test_options_of_the_app_go_behind_the_command(tmp_path: Path, empty_database: Path) -> None:
    url = f"--database-url=sqlite:///{shutil.copy(empty_database, tmp_path)}"
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "COOKIE_SECRET": COOKIE_SECRET}
    add = [sys.executable, "-m", PACKAGE, "user", "add", "ada"]
    done = subprocess.run(
        [*add, url, "--session-engine=memory"],
        env=environ, input="correct horse\n", capture_output=True, text=True, timeout=60, cwd=tmp_path,
    )  # fmt: skip
    assert done.stdout == "ada has an account.\n", done.stderr


@pytest.mark.parametrize("role", ["r" * 21, "ad\x00min", "ad\nmin"])
@pytest.mark.gen_test
async def test_a_role_that_the_database_could_not_keep_is_refused(
    app: App, make_browser: MakeBrowser, role: str
) -> None:
    await make_browser().register()
    with pytest.raises(RoleRefused):
        await set_role(app, role)
    with pytest.raises(RoleRefused):
        await app.services.accounts.register("eve", "correct horse", role=role)
