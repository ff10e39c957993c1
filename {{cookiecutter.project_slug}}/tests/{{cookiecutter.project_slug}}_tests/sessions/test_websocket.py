"""WebSockets: the session lasts as long as the connection; `save()` and blocks store it.

test_websocket_closes.py tests what is saved when the connection closes.
"""

from __future__ import annotations

import logging
from typing import Any

import pytest
from tornado.httpclient import HTTPClientError

from .acts import Act
from .conftest import ON_MEMORY, Clock, MakeBrowser, Routes, run, value_of
from .sockets import Socket, connected, routes, say, visitor

pytestmark = pytest.mark.gen_test


@pytest.fixture
def handlers() -> Routes:
    return routes()


async def test_it_reads_saves_and_sees_what_others_have_stored(
    make_browser: MakeBrowser, base_url: str
) -> None:
    browser = await visitor(make_browser)

    async def save(socket: Socket) -> None:
        socket.session["said"] = 1
        await socket.session.save()

    async def look(socket: Socket) -> Any:
        await socket.session.reload(touch=False)
        return socket.session["name"]

    async with connected(browser, base_url) as connection:
        assert await say(connection, lambda socket: socket.session["name"]) == "ada"
        await say(connection, save)
        assert await value_of(browser, "said") == 1
        await run(browser, lambda handler: handler.session.set("name", "grace"))
        assert await say(connection, look) == "grace"
        assert (
            await say(connection, lambda socket: socket.session.modify("said", lambda n: n + 1))
            == "2"
        )
    assert await value_of(browser, "said") == 2


async def test_a_change_in_prepare_that_is_not_saved_opens_no_socket_and_says_why(
    make_browser: MakeBrowser, base_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    browser = await visitor(make_browser)
    Socket.prepares = staticmethod(lambda socket: socket.session.set("a", 1))
    with pytest.raises(HTTPClientError) as caught:
        async with connected(browser, base_url):
            raise AssertionError("it opened")
    assert caught.value.code == 500
    assert "`await self.session.save()` in prepare()" in caplog.text
    assert await value_of(browser, "a") == "absent"


async def test_a_session_that_prepare_saves_begins_with_the_handshake(
    make_browser: MakeBrowser, base_url: str
) -> None:
    async def begin(socket: Socket) -> None:
        socket.session["a"] = 1
        await socket.session.save()

    Socket.prepares = staticmethod(begin)
    browser = make_browser()
    async with connected(browser, base_url) as connection:
        assert connection.headers is not None
        header = connection.headers["Set-Cookie"]
    name, _, value = header.partition(";")[0].partition("=")
    seen: list[Any] = []
    await run(
        browser, lambda handler: seen.append(handler.session.get("a")), Cookie=f"{name}={value}"
    )
    assert seen == [1]


async def test_a_session_cannot_begin_move_or_get_messages_once_the_socket_is_open(
    make_browser: MakeBrowser, base_url: str
) -> None:
    async with connected(make_browser(), base_url) as connection:
        for does in (
            lambda socket: socket.session.set("a", 1),
            lambda socket: socket.notifications.add("hello"),
            lambda socket: socket.session.modify("a", lambda a: a + 1, 0),
        ):
            assert "needs a cookie" in await say(connection, does)
    Socket.closed.clear()

    async def move(socket: Socket) -> None:
        socket.session.regenerate()
        await socket.session.save()

    async with connected(await visitor(make_browser), base_url) as connection:
        assert "the new one needs a cookie" in await say(connection, move)


async def test_a_session_that_has_ended_is_lost_to_the_socket(
    make_browser: MakeBrowser, base_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    browser = await visitor(make_browser)

    async def look(socket: Socket) -> Any:
        await socket.session.reload()
        return dict(socket.session)

    async def save(socket: Socket) -> Any:
        socket.session["late"] = True
        await socket.session.save()
        return dict(socket.session)

    async with connected(browser, base_url) as connection:
        await run(browser, lambda handler: handler.session.destroy())
        assert await say(connection, look) == "{}"
        with caplog.at_level(logging.INFO):
            assert await say(connection, save) == "{}"
        assert "dropped what a request changed" in caplog.text
    assert await value_of(browser, "late") == "absent"


async def test_a_socket_takes_messages_once(make_browser: MakeBrowser, base_url: str) -> None:
    browser = await visitor(make_browser)

    async def take(socket: Socket) -> Any:
        return [text for text, _ in await socket.notifications.take()]

    async with connected(browser, base_url) as connection:
        assert await say(connection, take) == "[]"
        await run(browser, lambda handler: handler.notifications.add("hello"))
        assert await say(connection, take) == "['hello']"
        assert await say(connection, take) == "[]"


async def test_a_block_leaves_the_session_of_a_socket_open(
    make_browser: MakeBrowser, base_url: str
) -> None:
    browser = await visitor(make_browser)

    async def in_a_block(socket: Socket) -> None:
        async with socket.session as session:
            session["first"] = 1

    async def by_itself(socket: Socket) -> None:
        socket.session["second"] = 2
        await socket.session.save()

    async with connected(browser, base_url) as connection:
        assert await say(connection, in_a_block) == "None"
        assert await say(connection, by_itself) == "None"
    assert (await value_of(browser, "first"), await value_of(browser, "second")) == (1, 2)


async def test_a_block_sees_what_others_have_stored_and_ended(
    make_browser: MakeBrowser, base_url: str
) -> None:
    browser = await visitor(make_browser)

    async def in_a_block(socket: Socket) -> Any:
        async with socket.session as session:
            return session.get("name")

    async with connected(browser, base_url) as connection:
        assert await say(connection, in_a_block) == "ada"
        await run(browser, lambda handler: handler.session.set("name", "grace"))
        assert await say(connection, in_a_block) == "grace"
        await run(browser, lambda handler: handler.session.destroy(), "POST")
        assert await say(connection, in_a_block) == "None"


async def test_a_block_sees_lists_that_others_have_stored(
    make_browser: MakeBrowser, base_url: str
) -> None:
    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("cart", ["first"]))

    async def look(socket: Socket) -> Any:
        async with socket.session as session:
            return session["cart"]

    async def add(socket: Socket) -> Any:
        async with socket.session as session:
            session["cart"].append("third")

    async with connected(browser, base_url) as connection:
        assert await say(connection, look) == "['first']"
        await run(browser, lambda handler: handler.session["cart"].append("second"))
        assert await say(connection, look) == "['first', 'second']"
        await say(connection, add)
    assert await value_of(browser, "cart") == ["first", "second", "third"]


async def test_what_was_handed_out_before_a_block_may_be_changed_in_it(
    make_browser: MakeBrowser, base_url: str
) -> None:
    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("cart", ["first"]))
    carts: list[Any] = []

    async def add(socket: Socket) -> Any:
        async with socket.session:
            carts[0].append("second")

    Socket.opens = staticmethod(lambda socket: carts.append(socket.session["cart"]))
    async with connected(browser, base_url) as connection:
        await say(connection, add)
    assert await value_of(browser, "cart") == ["first", "second"]


async def test_a_socket_that_takes_messages_for_days_keeps_nothing_of_them(
    make_browser: MakeBrowser, base_url: str
) -> None:
    browser = await visitor(make_browser)
    sizes: list[int] = []

    async def take(socket: Socket) -> None:
        async with socket.session as session:
            assert len(await socket.notifications.take()) == 1
        sizes.append(len(session.taken))

    async with connected(browser, base_url) as connection:
        for _ in range(3):
            await run(browser, lambda handler: handler.notifications.add("hello"))
            assert await say(connection, take) == "None"
    assert sizes == [0, 0, 0]


async def use_in_a_block(socket: Socket) -> Any:
    async with socket.session as session:
        session["count"] = session.get("count", 0) + 1
        return session.get("name")


async def use_and_save(socket: Socket) -> Any:
    socket.session["count"] = socket.session.get("count", 0) + 1
    await socket.session.save()
    return socket.session.get("name")


async def use_by_modify(socket: Socket) -> Any:
    await socket.session.modify("count", lambda count: count + 1, default=0)
    return socket.session.get("name")


@ON_MEMORY
@pytest.mark.parametrize("pycket", [{"absolute_timeout": 3600, "idle_timeout": 3600}], ids=["hour"])
@pytest.mark.parametrize("use", [use_in_a_block, use_and_save, use_by_modify])
async def test_a_session_that_a_socket_uses_all_the_time_ends_at_its_limit(
    make_browser: MakeBrowser, base_url: str, clock: Clock, use: Act
) -> None:
    browser = await visitor(make_browser)
    async with connected(browser, base_url) as connection:
        clock.advance(3590)
        for _ in range(20):  # less than a second apart
            answer = await say(connection, use)
            clock.advance(0.9)
    assert answer != "ada"
    assert await value_of(browser, "name") == "absent"


@ON_MEMORY
async def test_opening_a_socket_is_a_use(
    make_browser: MakeBrowser, base_url: str, clock: Clock
) -> None:
    browser = await visitor(make_browser)
    for _ in range(30):
        clock.advance(3600)
        async with connected(browser, base_url) as connection:
            assert await say(connection, lambda socket: socket.session["name"]) == "ada"
        Socket.closed.clear()


async def add_an_object(socket: Socket) -> None:
    socket.session["cart"].append(object())


async def add_an_object_in_a_block(socket: Socket) -> None:
    async with socket.session as session:
        session["cart"].append(object())


async def change_the_id_in_a_block(socket: Socket) -> None:
    async with socket.session as session:
        session.regenerate()


@pytest.mark.parametrize("mistake", [add_an_object, add_an_object_in_a_block])
async def test_a_value_that_cannot_be_kept_does_not_end_the_session(
    make_browser: MakeBrowser, base_url: str, mistake: Act
) -> None:
    browser = await visitor(make_browser, cart=[])
    async with connected(browser, base_url) as connection:
        for hears in (mistake, use_in_a_block):
            await say(connection, hears)
    assert await value_of(browser, "name") == "ada"


@pytest.mark.parametrize("fails", [add_an_object_in_a_block, change_the_id_in_a_block])
async def test_blocks_after_one_that_cannot_be_saved_are_saved(
    make_browser: MakeBrowser, base_url: str, fails: Act
) -> None:
    browser = await visitor(make_browser, cart=[])
    async with connected(browser, base_url) as connection:
        assert "Error" in await say(connection, fails)
        for _ in range(2):
            assert await say(connection, use_in_a_block) == "ada"
    assert await value_of(browser, "count") == 2
