"""The session is a dictionary: what is put in comes back, in one order, and what cannot is refused."""

from __future__ import annotations

import copy
import pickle
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from tornado.web import Finish, HTTPError

from .conftest import MakeBrowser, Script, run, value_of

pytestmark = pytest.mark.gen_test

VALUES = [
    None,
    True,
    False,
    0,
    -1,
    2**63 - 1,
    1.5,
    "",
    "für 名前 🍪",
    b"\x00\xff",
    [],
    [1, ["two", None]],
    {},
    {"a": {"b": [1, 2]}, 1: "int key"},
    datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    datetime(2026, 1, 2, 3, 4, 5, 678901),
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
async def test_values_come_back_as_they_were(make_browser: MakeBrowser, value: object) -> None:
    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("name", value))
    seen = await value_of(browser, "name")
    assert seen == value
    assert type(seen) is type(value)


async def test_a_tuple_and_a_set_come_back_as_lists(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    await run(browser, lambda handler: handler.session.update(pair=(1, 2), single={3}))
    assert await value_of(browser, "pair") == [1, 2]
    assert await value_of(browser, "single") == [3]


async def test_a_moment_comes_back_in_utc(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    moment = datetime.fromisoformat("2026-01-02T03:04:05+05:30")
    await run(browser, lambda handler: handler.session.set("at", moment))
    assert await value_of(browser, "at") == moment


@pytest.mark.parametrize(
    "value",
    [object(), 1j, {"deep": [object()]}, 2**64, "\ud800", {(1, 2): 3}, timedelta(1), type],
    ids=["object", "complex", "nested", "too large", "half a character", "key", "delta", "class"],
)
async def test_a_value_that_would_not_come_back_is_refused_where_it_is_assigned(
    make_browser: MakeBrowser, value: object
) -> None:
    refused = []

    def assign(handler: Script) -> None:
        with pytest.raises(TypeError) as caught:
            handler.session["name"] = value
        refused.append(str(caught.value))

    browser = make_browser()
    assert (await run(browser, assign)).status == 200
    assert refused
    assert browser.session_cookie is None


async def test_a_list_that_contains_itself_is_refused(make_browser: MakeBrowser) -> None:
    loop: list[Any] = []
    loop.append(loop)

    def assign(handler: Script) -> None:
        with pytest.raises(TypeError, match="contains itself"):
            handler.session["loop"] = loop

    assert (await run(make_browser(), assign)).status == 200


async def test_it_is_a_mapping(make_browser: MakeBrowser) -> None:
    def use(handler: Script) -> None:
        session = handler.session
        assert not session and len(session) == 0 and session.get("a") is None
        session.update(a=1, b=None, c="")
        assert list(session) == ["a", "b", "c"] and dict(session) == {"a": 1, "b": None, "c": ""}
        assert "b" in session and "d" not in session and session.get("b", "default") is None
        assert session.pop("a") == 1 and session.setdefault("e", 5) == 5
        session.delete("b", "no such name")
        del session["c"]
        with pytest.raises(KeyError):
            session["c"]
        with pytest.raises(KeyError):
            del session["c"]
        assert dict(session) == {"e": 5}
        session.clear()
        assert not session

    assert (await run(make_browser(), use)).status == 200


async def test_our_own_fields_are_out_of_reach(make_browser: MakeBrowser) -> None:
    def use(handler: Script) -> None:
        handler.session["a"] = 1
        assert ":created" not in handler.session
        assert handler.session.get(":created") is None
        with pytest.raises(ValueError, match="our own fields"):
            handler.session[":created"] = 0

    browser = make_browser()
    await run(browser, use)
    assert (await run(browser, use)).status == 200


async def test_a_change_inside_a_value_is_noticed(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("cart", {"items": []}))
    await run(browser, lambda handler: handler.session["cart"]["items"].append("x"))
    assert await value_of(browser, "cart") == {"items": ["x"]}


async def test_a_deleted_name_is_gone(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    await run(browser, lambda handler: handler.session.update(a=1, b=2))
    await run(browser, lambda handler: handler.session.delete("a"))
    assert await value_of(browser, "a") == "absent"
    assert await value_of(browser, "b") == 2


NAMES = ["zebra", "apple", "Äpfel", "mango", "10", "9", "🍪", "", " "]


async def test_names_are_in_alphabetical_order_before_and_after_a_reload(
    make_browser: MakeBrowser,
) -> None:
    orders: list[Any] = []

    def look(handler: Script) -> None:
        session = handler.session
        orders.extend([list(session), list(session.keys()), [name for name, _ in session.items()]])
        orders.append(list(dict(session)))

    def begin(handler: Script) -> None:
        for name in NAMES:
            handler.session[name] = name
        look(handler)

    browser = make_browser()
    await run(browser, begin)
    await run(browser, look)
    assert orders == [sorted(NAMES)] * 8


async def test_popitem_takes_the_last(make_browser: MakeBrowser) -> None:
    popped: list[Any] = []

    def does(handler: Script) -> None:
        while handler.session:
            popped.append(handler.session.popitem())
        with pytest.raises(KeyError, match="empty"):
            handler.session.popitem()

    browser = make_browser()
    await run(browser, lambda handler: handler.session.update(b=2, c=[3], a=1))
    await run(browser, does)
    assert popped == [("c", [3]), ("b", 2), ("a", 1)]
    assert await value_of(browser, "a") == "absent"


async def test_clear_removes_thousands_of_names_in_a_moment(make_browser: MakeBrowser) -> None:
    """No other request is served meanwhile."""
    took_s: list[float] = []

    def does(handler: Script) -> None:
        handler.session.update({f"name {number}": number for number in range(5000)})
        begun = time.thread_time()
        handler.session.clear()
        took_s.append(time.thread_time() - begun)
        assert not handler.session

    assert (await run(make_browser(), does)).status == 200
    assert took_s[0] < 1


async def test_it_can_be_compared_copied_and_merged_as_a_dictionary(
    make_browser: MakeBrowser,
) -> None:
    def does(handler: Script) -> None:
        session = handler.session
        session.update({"a": 1}, b=2)
        session.update([("c", 3)])
        assert session == {"a": 1, "b": 2, "c": 3} != {"a": 1}
        assert {**session, "d": 4} == {"a": 1, "b": 2, "c": 3, "d": 4}
        assert session.pop("d", "default") == "default"
        with pytest.raises(KeyError, match="'d'"):
            session.pop("d")
        assert (session.setdefault("a", 5), session.get("x", 6)) == (1, 6)
        assert sorted(session.values()) == [1, 2, 3] and ("a", 1) in session.items()
        del session["a"], session["b"]
        assert session.popitem() == ("c", 3) and not session
        for fails in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match=r"dict\(session\)"):
                fails(session)

    assert (await run(make_browser(), does)).status == 200


@pytest.mark.parametrize("name", [1, None, b"name", ("a",), True], ids=repr)
async def test_a_name_is_a_str(make_browser: MakeBrowser, name: Any) -> None:
    def does(handler: Script) -> None:
        with pytest.raises(TypeError, match="is a str"):
            handler.session[name] = 1
        assert name not in handler.session

    page = await run(make_browser(), does)
    assert (page.status, page.set_cookies) == (200, [])


async def test_a_name_that_is_not_unicode_is_refused_where_it_is_set(
    make_browser: MakeBrowser,
) -> None:
    def does(handler: Script) -> None:
        with pytest.raises(TypeError, match="not valid Unicode"):
            handler.session["\ud800"] = 1

    page = await run(make_browser(), does)
    assert (page.status, page.set_cookies) == (200, [])


DEEP: dict[str, tuple[Any, str]] = {
    "list": ({"items": [{"price": Decimal(1)}]}, r"session\['cart'\]\['items'\]\[0\]\['price'\]"),
    "tuple": (({"price": Decimal(1)},), r"session\['cart'\]\[0\]\['price'\]"),
    "key": ({"by id": {(1, 2): "tea"}}, r"a key of session\['cart'\]\['by id'\]"),
    "large": ({"count": 2**70}, r"session\['cart'\]"),
    "not unicode": ({"name": "\ud800"}, r"session\['cart'\]"),
}


@pytest.mark.parametrize("case", DEEP)
async def test_the_refusal_names_the_place_at_the_assignment_and_at_the_commit(
    make_browser: MakeBrowser, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    value, place = DEEP[case]

    def assign(handler: Script) -> None:
        with pytest.raises(TypeError, match=place):
            handler.session["cart"] = value

    def change(handler: Script) -> None:
        handler.session["cart"].append(value)

    browser = make_browser()
    assert (await run(browser, assign)).status == 200
    await run(browser, lambda handler: handler.session.set("cart", []))
    assert (await run(browser, change)).status == 500
    assert "session['cart'][0]" in caplog.text or "session['cart']" in caplog.text
    assert await value_of(browser, "cart") == []


@pytest.mark.parametrize("error", [HTTPError(404), Finish("done")], ids=["404", "Finish"])
async def test_a_value_that_cannot_be_kept_is_a_500_however_the_handler_ends(
    make_browser: MakeBrowser, error: Exception
) -> None:
    def does(handler: Script) -> None:
        handler.session["cart"].append(Decimal(1))
        raise error

    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("cart", []))
    assert (await run(browser, does)).status == 500
    assert await value_of(browser, "cart") == []


# --- modify


async def test_modify_refuses_a_function_that_returns_none(make_browser: MakeBrowser) -> None:
    async def does(handler: Script) -> None:
        with pytest.raises(TypeError, match=r"lambda items: \[\*items, item\]"):
            await handler.session.modify("items", lambda items: items.append(2), [])

    browser = make_browser()
    assert (await run(browser, does)).status == 200
    await run(browser, lambda handler: handler.session.set("items", [1]))
    assert (await run(browser, does)).status == 200
    assert await value_of(browser, "items") == [1]


async def test_modify_refuses_what_could_not_be_given_back_and_names_of_our_own(
    make_browser: MakeBrowser,
) -> None:
    async def does(handler: Script) -> None:
        with pytest.raises(TypeError, match=r"session\['items'\]"):
            await handler.session.modify("items", lambda items: object(), [])
        with pytest.raises(ValueError, match="our own fields"):
            await handler.session.modify(":created", lambda created: 0)

    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("items", [1]))
    assert (await run(browser, does)).status == 200
    assert await value_of(browser, "items") == [1]


async def test_modify_sees_what_was_changed_before_in_this_request(
    make_browser: MakeBrowser,
) -> None:
    async def does(handler: Script) -> None:
        handler.session["count"] = 5
        assert await handler.session.modify("count", lambda count: count + 1, 0) == 6
        handler.session["count"] += 1
        assert await handler.session.modify("count", lambda count: count + 1, 0) == 8

    browser = make_browser()
    for _ in range(2):
        assert (await run(browser, does)).status == 200
        assert await value_of(browser, "count") == 8


async def test_the_default_of_modify_is_not_changed(make_browser: MakeBrowser) -> None:
    default: list[int] = []

    def append(items: list[int]) -> list[int]:
        items.append(1)
        return items

    for _ in range(2):
        await run(make_browser(), lambda handler: handler.session.modify("items", append, default))
    assert default == []
