"""What a page costs: trips to the store, one after the other."""

from __future__ import annotations

from typing import Any

import pytest

from {{cookiecutter.project_slug}}.sessions import Store

from .acts import Act
from .conftest import Clock, MakeBrowser, Script, run
from .trips import Trips

pytestmark = pytest.mark.gen_test


async def show(handler: Script) -> None:
    """Render what waits, as a page with flash messages does."""
    messages = await handler.notifications.take()
    handler.write({"name": handler.session.get("name"), "messages": len(messages)})


async def change_and_tell(handler: Script) -> None:
    handler.session["name"] = "grace"
    handler.notifications.add("saved")


KNOWN: dict[str, tuple[Act, int]] = {
    "a page that does not look": (lambda handler: handler.write("hello"), 1),
    "a page with nothing waiting": (show, 1),
    "a peek at nothing": (lambda handler: handler.notifications.peek(), 1),
    "a name that does not wait": (lambda handler: handler.notifications.get("a"), 1),
    "a change": (lambda handler: handler.session.set("name", "grace"), 2),
    "two changes": (lambda handler: handler.session.update(a=1, b=2), 2),
    "a change to what it was": (lambda handler: handler.session.set("name", "ada"), 1),
    "a change and a message": (change_and_tell, 3),
    "modify": (lambda handler: handler.session.modify("n", lambda n: n + 1, 0), 2),
    "logout": (lambda handler: handler.session.destroy(), 2),
    "login": (lambda handler: handler.session.regenerate(), 3),
    "a failure": (lambda handler: handler.send_error(500), 1),
}


@pytest.mark.parametrize("page", KNOWN)
async def test_a_visitor_with_a_session_costs(
    trips: Trips, make_browser: MakeBrowser, page: str
) -> None:
    does, expected = KNOWN[page]
    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("name", "ada"))
    trips.clear()
    await run(browser, does)
    assert trips.in_a_row == expected, trips.made


async def test_a_page_that_shows_messages_costs_two_trips_in_a_row(
    trips: Trips, make_browser: MakeBrowser
) -> None:
    browser = make_browser()

    def tell(handler: Script) -> None:
        for number in range(3):
            handler.notifications.add(f"message {number}")

    await run(browser, tell)
    trips.clear()
    assert (await run(browser, show)).text == '{"name": null, "messages": 3}'
    assert trips.in_a_row == 2, trips.made
    trips.clear()
    assert (await run(browser, show)).text == '{"name": null, "messages": 0}'
    assert trips.in_a_row == 1, trips.made


NOBODY: dict[str, Act] = {
    "reads": lambda handler: handler.session.get("a"),
    "shows": show,
    "peeks": lambda handler: handler.notifications.peek(),
    "deletes": lambda handler: handler.session.delete("a"),
    "sets and deletes": lambda handler: (handler.session.update(a=1), handler.session.clear()),
    "logs out": lambda handler: handler.session.destroy(),
    "regenerates": lambda handler: handler.session.regenerate(),
    "reloads": lambda handler: handler.session.reload(),
    "saves nothing": lambda handler: handler.session.save(),
    "fails": lambda handler: handler.send_error(500),
}


@pytest.mark.parametrize("page", NOBODY)
async def test_a_visitor_without_a_session_costs_nothing(
    trips: Trips, make_browser: MakeBrowser, page: str
) -> None:
    for cookie in ("", "theme=dark", "__Host-sid=planted", "__Host-sid=2|1:0|10:1|3:sid|4:eA==|0"):
        response = await run(make_browser(), NOBODY[page], Cookie=cookie)
        assert response.set_cookies == []
    assert trips.made == []


@pytest.mark.parametrize("visit", ["first", "later"])
async def test_a_look_for_messages_where_none_waits_is_over_at_once(
    make_browser: MakeBrowser, visit: str
) -> None:
    def look(handler: Script) -> None:
        with pytest.raises(StopIteration) as done:
            handler.notifications.take().send(None)
        assert done.value.value == []

    browser = make_browser()
    if visit == "later":
        await run(browser, lambda handler: handler.session.set("a", 1))
    assert (await run(browser, look)).status == 200


async def test_a_first_session_costs_one_trip(trips: Trips, make_browser: MakeBrowser) -> None:
    await run(make_browser(), lambda handler: handler.session.set("a", 1))
    assert trips.made == ["write sessions"]


async def test_use_costs_a_second_trip_once_a_minute(
    trips: Trips, make_browser: MakeBrowser, clock: Clock
) -> None:
    browser = make_browser(clock=clock)
    await run(browser, lambda handler: handler.session.set("a", 1))
    costs: list[Any] = []
    for seconds in (0, 59, 2, 58, 3):
        clock.advance(seconds)
        trips.clear()
        await run(browser, show)
        costs.append(trips.in_a_row)
    assert costs == [1, 1, 2, 1, 2]


async def test_each_cookie_that_verifies_costs_a_trip_and_a_few_at_most(
    trips: Trips, make_browser: MakeBrowser, store: Store
) -> None:
    header = "; ".join(f"__Host-sid={store.signer.sign(c * 43)}" for c in "ABCDEFGH")
    await run(make_browser(), show, Cookie=header)
    assert trips.made == ["load sessions"] * 4
