"""What the app's own pages cost: trips to the session store, one after the other."""

from __future__ import annotations

import pytest

from {{cookiecutter.project_slug}}.app import App

from .browser import Browser
from .conftest import MakeBrowser
from .sessions.trips import Trips

pytestmark = pytest.mark.gen_test


@pytest.fixture
def trips(app: App, monkeypatch: pytest.MonkeyPatch) -> Trips:
    return Trips(app.services.store, monkeypatch)


@pytest.mark.parametrize("path", ["/", "/login", "/register", "/logout", "/account", "/none"])
async def test_a_page_costs_a_visitor_without_a_session_nothing(
    trips: Trips, browser: Browser, path: str
) -> None:
    page = await browser.get(path, follow=False)
    assert (trips.made, page.set_cookies) == ([], [])


@pytest.mark.parametrize(("path", "expected"), [("/", 1), ("/account", 3), ("/healthz", 0)])
async def test_a_page_costs_somebody_who_is_logged_in(
    trips: Trips, browser: Browser, path: str, expected: int
) -> None:
    await browser.register()
    await browser.get("/")
    trips.clear()
    assert (await browser.get(path, follow=False)).status == 200
    assert trips.in_a_row == expected, trips.made


async def test_the_page_after_a_form_costs_two_as_it_shows_a_message(
    trips: Trips, browser: Browser
) -> None:
    await browser.register()
    await browser.get("/")
    await browser.post("/", text="a note", follow=False)
    trips.clear()
    page = await browser.get("/")
    assert page.flashes == [("success", "Your note is saved.")]
    assert trips.in_a_row == 2, trips.made


async def test_the_account_page_costs_no_more_in_a_row_with_many_sessions(
    trips: Trips, make_browser: MakeBrowser
) -> None:
    browser = make_browser()
    await browser.register()
    await browser.get("/")
    for _ in range(5):
        await make_browser().login()
    trips.clear()
    page = await browser.get("/account")
    assert page.status == 200
    assert trips.in_a_row == 3, trips.made
