"""How many trips to the store a request costs, one after the other."""

from __future__ import annotations

from typing import Any

import pytest

from {{cookiecutter.project_slug}}.sessions import Store
from {{cookiecutter.project_slug}}.sessions.engines import Engine

from ..conftest import MakeBrowser
from .conftest import Clock, Routes
from .script import ROUTES, begin, do, show

pytestmark = pytest.mark.gen_test


class Trips:
    """Counts the calls of both engines; those that are under way together count as one."""

    def __init__(self, store: Store, patch: pytest.MonkeyPatch) -> None:
        self.count = self._under_way = 0
        for engine in (store.sessions, store.notifications):
            for name in ("load", "write", "end"):
                patch.setattr(engine, name, self._counted(engine, name))

    def _counted(self, engine: Engine, name: str) -> Any:
        call = getattr(engine, name)

        async def counted(*args: Any, **kwargs: Any) -> Any:
            self.count += self._under_way == 0
            self._under_way += 1
            try:
                return await call(*args, **kwargs)
            finally:
                self._under_way -= 1

        return counted

    def since_last(self) -> int:
        count, self.count = self.count, 0
        return count


@pytest.fixture
def handlers() -> Routes:
    return ROUTES


@pytest.fixture
def trips(store: Store, monkeypatch: pytest.MonkeyPatch) -> Trips:
    return Trips(store, monkeypatch)


async def _take(handler: Any) -> object:
    return [dict(handler.session), [each.value for each in await handler.notifications.take()]]


async def test_a_page_of_a_visitor_without_a_session_costs_none(
    make_browser: MakeBrowser, trips: Trips
) -> None:
    await do(make_browser(), _take)
    assert trips.since_last() == 0


async def test_a_page_with_nothing_waiting_costs_one_and_a_change_two(
    make_browser: MakeBrowser, trips: Trips
) -> None:
    browser = make_browser()
    await do(browser, begin)
    trips.since_last()
    await do(browser, _take)
    assert trips.since_last() == 1
    await do(browser, lambda handler: handler.session.set("name", "grace"))
    assert trips.since_last() == 2
    await do(browser, lambda handler: handler.session.set("name", "grace"))  # as it was
    assert trips.since_last() == 1


async def test_a_page_that_shows_a_message_costs_at_most_two_in_a_row(
    make_browser: MakeBrowser, trips: Trips, engine: str
) -> None:
    browser = make_browser()
    await do(browser, lambda handler: handler.notifications.add("hello"))
    trips.since_last()
    assert "hello" in (await do(browser, _take)).text
    # The memory engine answers before the second of two calls is made.
    assert trips.since_last() <= (3 if engine == "memory" else 2)
    await do(browser, _take)
    assert trips.since_last() == 1


async def test_the_use_of_a_session_is_noted_once_a_minute(
    make_browser: MakeBrowser, trips: Trips, clock: Clock
) -> None:
    browser = make_browser()
    await do(browser, begin)
    clock.advance(61)
    trips.since_last()
    counts = []
    for _ in range(3):
        await do(browser, show)
        counts.append(trips.since_last())
    assert counts == [2, 1, 1]
