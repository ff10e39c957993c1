"""A session's own idle limit: kept by the store, whatever the cookie says; nonsense is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest

from ..conftest import MakeBrowser
from .conftest import Clock, Routes
from .script import ROUTES, begin, do, show

pytestmark = pytest.mark.gen_test
DAY_S = 24 * 3600.0


@pytest.fixture
def engine() -> str:
    """The memory engine alone: a test can move its clock."""
    return "memory"


@pytest.fixture
def handlers() -> Routes:
    return ROUTES


def _expire(**options: Any) -> Any:
    def act(handler: Any) -> None:
        handler.session["name"] = "ada"
        handler.session.expire(**options)

    return act


@pytest.mark.parametrize(("idle_s", "ends_s"), [(300.0, 301), (5 * DAY_S, 5 * DAY_S + 1)])
async def test_a_session_may_live_shorter_or_longer_than_others(
    make_browser: MakeBrowser, clock: Clock, idle_s: float, ends_s: float
) -> None:
    browser = make_browser()
    await do(browser, _expire(idle_s=idle_s))
    thief = make_browser()
    thief.cookies = dict(browser.cookies)
    clock.advance(idle_s - 1)
    assert "ada" in (await do(browser, show)).text  # it is in use, and lives on
    clock.advance(idle_s - 1)
    assert "ada" in (await do(browser, show)).text
    clock.advance(ends_s)
    assert "ada" not in (await do(thief, show)).text


async def test_a_short_remembrance_ends_the_session_and_not_only_its_cookie(
    make_browser: MakeBrowser, clock: Clock
) -> None:
    browser = make_browser()

    def remember(handler: Any) -> None:
        begin(handler)
        handler.session.remember(1 / 24 / 12)  # five minutes

    page = await do(browser, remember)
    (cookie,) = page.set_cookies
    assert cookie.expires is not None
    assert 0 < cookie.expires - clock() <= 300
    header = f"{cookie.name}={cookie.value}"
    clock.advance(301)
    assert (await do(make_browser(), show, Cookie=header)).text == '{"result": {}}'


async def test_its_own_limit_survives_a_new_id_and_can_be_taken_back(
    make_browser: MakeBrowser, clock: Clock
) -> None:
    browser = make_browser()
    await do(browser, _expire(idle_s=300))
    await do(browser, lambda handler: handler.session.regenerate())
    await do(browser, lambda handler: handler.session.expire())
    clock.advance(3600)
    assert "ada" in (await do(browser, show)).text


@pytest.mark.parametrize("days", [-1, 0, 10**6, math.inf, math.nan, "7"])
async def test_a_remembrance_that_cannot_be_kept_is_refused(
    make_browser: MakeBrowser, days: Any
) -> None:
    def remember(handler: Any) -> None:
        with pytest.raises((ValueError, TypeError)):
            handler.session.remember(days)

    assert (await do(make_browser(), remember)).status == 200


@pytest.mark.parametrize("idle_s", [0, -5, 0.5, 31 * DAY_S, True, "300", math.nan])
async def test_a_limit_that_cannot_be_kept_is_refused_with_what_to_write(
    make_browser: MakeBrowser, idle_s: Any
) -> None:
    def expire(handler: Any) -> None:
        with pytest.raises(ValueError, match=r"write 1 to 2592000 \(absolute_timeout\)"):
            handler.session.expire(idle_s)

    assert (await do(make_browser(), expire)).status == 200


async def test_a_look_that_does_not_count_as_use_lets_the_session_end(
    make_browser: MakeBrowser, clock: Clock
) -> None:
    browser = make_browser()
    sessions: list[Any] = []

    def keep(handler: Any) -> None:
        begin(handler)
        sessions.append(handler.session)

    await do(browser, keep)
    for _ in range(3):
        clock.advance(0.4 * DAY_S)
        await sessions[0].reload(touch=False)
    assert (await do(browser, show)).text == '{"result": {}}'


async def test_a_reload_counts_as_use(make_browser: MakeBrowser, clock: Clock) -> None:
    browser = make_browser()
    sessions: list[Any] = []

    def keep(handler: Any) -> None:
        begin(handler)
        sessions.append(handler.session)

    await do(browser, keep)
    for _ in range(3):
        clock.advance(0.4 * DAY_S)
        await sessions[0].reload()
    assert "ada" in (await do(browser, show)).text
