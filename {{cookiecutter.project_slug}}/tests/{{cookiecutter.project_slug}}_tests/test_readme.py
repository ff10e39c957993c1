"""The examples of README.md and docs/ are run as they stand: they must work, and the first must
stay short.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from {{cookiecutter.project_slug}}.app import App
from {{cookiecutter.project_slug}}.settings import Settings

from .browser import Browser
from .examples import EXAMPLES, add, run


def test_the_first_example_is_short() -> None:
    first = next(iter(EXAMPLES.values()))
    assert len([line for line in first.splitlines() if line.strip()]) < 20


@pytest.mark.gen_test
async def test_the_first_example_adds_a_page_with_session_and_flash(
    app: App, browser: Browser
) -> None:
    add(app, "GreetingHandler")
    page = await browser.post("/greeting", name="Ada & Co")
    assert page.flashes == [("success", "We will remember your name.")]
    assert (await browser.get("/greeting")).plain == "Hello, Ada & Co"


@pytest.mark.gen_test
async def test_the_example_of_changed_rights_changes_the_id(app: App, browser: Browser) -> None:
    add(app, "UnlockHandler")
    await browser.register()
    before = browser.session_token
    page = await browser.post("/unlock")
    assert page.flashes[-1][1].startswith("Unlocked")
    assert browser.session_token != before


@pytest.mark.gen_test
async def test_the_example_of_a_job_that_follows_the_response_saves(
    app: App, browser: Browser
) -> None:
    add(app, "ImportHandler")
    await browser.post("/import")
    assert (await browser.get("/import")).text == '{"imported": "done"}'


@pytest.mark.gen_test
async def test_the_example_of_a_query_counts_the_members(app: App, browser: Browser) -> None:
    add(app, "MembersHandler")
    await browser.register()
    assert (await browser.get("/members")).text == '{"members": 1}'


async def _user_id(app: App) -> str:
    user = await app.services.accounts.authenticate("ada", "correct horse")
    assert user is not None
    return user.id


@pytest.mark.gen_test
async def test_the_example_of_a_message_from_a_job_reaches_the_user(
    app: App, browser: Browser
) -> None:
    await browser.register()
    job = run("tell_that_export_is_ready").tell_that_export_is_ready
    assert await job(app, await _user_id(app)) == 1
    assert ("success", "Your export is ready.") in (await browser.get("/")).flashes


@pytest.mark.gen_test
async def test_the_example_of_a_script_ends_the_users_sessions(
    app: App, browser: Browser, settings: Settings
) -> None:
    await browser.register()
    script = run("log_out_everywhere").log_out_everywhere
    assert await script(settings, await _user_id(app)) == 1
    assert (await browser.get("/account", follow=False)).status == 302


def test_every_example_is_run_by_a_test_of_its_own() -> None:
    tests = [each.read_text(encoding="utf-8") for each in Path(__file__).parent.glob("test_*.py")]
    assert [name for name in EXAMPLES if not any(f'"{name}"' in each for each in tests)] == []
