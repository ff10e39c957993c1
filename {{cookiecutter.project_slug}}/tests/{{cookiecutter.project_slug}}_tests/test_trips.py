"""What the app's own pages cost the session store."""

from __future__ import annotations

import pytest

from {{cookiecutter.project_slug}}.app import App

from .conftest import MakeBrowser
from .sessions.test_trips import Trips

pytestmark = pytest.mark.gen_test


async def test_the_front_page_costs_a_member_one_trip_and_the_account_page_three_at_most(
    app: App, make_browser: MakeBrowser, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = make_browser()
    await browser.register()
    await browser.get("/")  # which shows the welcome
    trips = Trips(app.store, monkeypatch)
    await browser.get("/")
    assert trips.since_last() == 1
    await browser.get("/account")
    assert trips.since_last() <= 3


async def test_a_crawlers_pages_cost_no_trip_and_set_no_cookie(
    app: App, make_browser: MakeBrowser, monkeypatch: pytest.MonkeyPatch
) -> None:
    trips = Trips(app.store, monkeypatch)
    for path in ("/", "/login", "/register", "/logout", "/nowhere"):
        assert (await make_browser().get(path)).set_cookies == []
    assert trips.since_last() == 0
