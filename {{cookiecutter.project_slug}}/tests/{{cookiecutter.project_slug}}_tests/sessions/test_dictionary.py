"""The session is a dictionary: its order, its errors, and what `modify` refuses."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from ..conftest import MakeBrowser
from .conftest import Routes
from .script import ROUTES, do

pytestmark = pytest.mark.gen_test


@pytest.fixture
def handlers() -> Routes:
    return ROUTES


async def test_names_are_in_alphabetical_order_before_and_after_a_reload(
    make_browser: MakeBrowser,
) -> None:
    browser = make_browser()

    def fill(handler: Any) -> object:
        for name in ("pear", "apple", "fig"):
            handler.session[name] = 1
        return list(handler.session)

    assert (await do(browser, fill)).text == '{"result": ["apple", "fig", "pear"]}'
    page = await do(browser, lambda handler: list(handler.session))
    assert page.text == '{"result": ["apple", "fig", "pear"]}'


async def test_popitem_takes_the_last_and_raises_on_an_empty_session(
    make_browser: MakeBrowser,
) -> None:
    def pop(handler: Any) -> object:
        handler.session.update(b=2, a=1)
        popped = [handler.session.popitem(), handler.session.popitem()]
        with pytest.raises(KeyError):
            handler.session.popitem()
        return popped

    assert (await do(make_browser(), pop)).text == '{"result": [["b", 2], ["a", 1]]}'


async def test_a_value_that_cannot_be_kept_is_named_with_the_place_inside(
    make_browser: MakeBrowser,
) -> None:
    def assign(handler: Any) -> None:
        with pytest.raises(TypeError, match=r"session\['cart'\]\[0\]\['price'\] is Decimal"):
            handler.session["cart"] = [{"name": "pen", "price": Decimal("1.50")}]
        assert "cart" not in handler.session

    assert (await do(make_browser(), assign)).status == 200


async def test_a_value_that_was_put_inside_later_is_named_when_it_is_saved(
    make_browser: MakeBrowser, caplog: pytest.LogCaptureFixture
) -> None:
    def append(handler: Any) -> None:
        handler.session["cart"] = []
        handler.session["cart"].append({"price": Decimal("1.50")})

    assert (await do(make_browser(), append)).status == 500
    assert "session['cart'][0]['price']" in caplog.text


async def test_modify_refuses_a_function_that_returns_none(make_browser: MakeBrowser) -> None:
    browser = make_browser()

    async def modify(handler: Any) -> None:
        await handler.session.modify("items", lambda items: [*items, 1], default=[])
        with pytest.raises(TypeError, match=r"write: lambda items: \[\*items, item\]"):
            await handler.session.modify("items", lambda items: items.append(2))

    assert (await do(browser, modify)).status == 200
    page = await do(browser, lambda handler: handler.session["items"])
    assert page.text == '{"result": [1]}'


async def test_none_zero_and_the_empty_text_are_values(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    await do(browser, lambda handler: handler.session.update(none=None, zero=0, empty=""))
    page = await do(
        browser, lambda handler: [handler.session.get(n, "absent") for n in handler.session]
    )
    assert page.text == '{"result": ["", null, 0]}'


async def test_created_last_used_and_new_can_be_read(make_browser: MakeBrowser) -> None:
    browser = make_browser()

    def read(handler: Any) -> object:
        session = handler.session
        return [session.new, session.created is None, session.last_used is None]

    assert (await do(browser, read)).text == '{"result": [true, true, true]}'
    await do(browser, lambda handler: handler.session.set("name", "ada"))
    assert (await do(browser, read)).text == '{"result": [false, false, false]}'
