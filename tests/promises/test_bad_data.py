"""What lies in the store and is no record of ours is dropped; what is too large is not written."""

from __future__ import annotations

import pickle
import re
import secrets
import socket
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from promised.sessions import SessionTooLarge

from .servers import HOST, Server, started
from .site import Page, Site, site

TOO_LARGE = 1024 * 1024
"""memcached's default limit for an item, key and header included."""

pack = msgspec.msgpack.encode


class Bomb:
    """Unpickling it leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


CREATED = pack(1_000_000_000.0)
DEEP = b"\x91" * 100_000

# Redis: either the fields of a hash, or a value of another type.
FOREIGN_FIELDS: dict[str, dict[Any, bytes]] = {
    "no field of ours": {"other": pack("ada")},
    "truncated value": {":created": CREATED, "name": pack("ada" * 100)[:-5]},
    "garbage": {":created": CREATED, "name": b"\xc1\xff\x00"},
    "trailing bytes": {":created": CREATED, "name": pack("ada") + b"\x00"},
    "text": {":created": b"yesterday", "name": b"ada"},
    "created is no number": {":created": pack("yesterday")},
    "created is not a time": {":created": pack([1])},
    "deeply nested": {":created": CREATED, "name": DEEP},
    "promises more than it holds": {":created": CREATED, "name": b"\xdd\xff\xff\xff\xff"},
    "unknown extension": {":created": CREATED, "name": b"\xd4\x63\x00"},
    "bad date": {":created": CREATED, "name": b"\xc7\x03\x01abc"},
    "empty": {":created": b""},
    "name is no text": {b"\xff\xfe": pack(1)},
}

WITHOUT_A_NAME = {name for name, fields in FOREIGN_FIELDS.items() if "name" not in fields}
"""Of these a notice has lost its value: there is nothing to complain about."""

# Memcached: flags (python-memcached reads 1 as a pickle, 2 and 4 as numbers, 8 as compressed) and
# the value.
FOREIGN_VALUES: dict[str, tuple[int, bytes]] = {
    "garbage": (0, b"\xc1\xff\x00"),
    "empty": (0, b""),
    "text": (16, b"hello"),
    "bad text": (16, b"\xff\xfe"),
    "number": (2, b"42"),
    "no number": (2, b"forty-two"),
    "no long number": (4, b"forty-two"),
    "compressed": (8, zlib.compress(b"x" * 1_000_000)),
    "badly compressed": (8, b"not compressed"),
    "compressed pickle": (9, zlib.compress(pickle.dumps([1]))),
    "bad pickle": (1, b"\x80\x04garbage"),
    "unknown flags": (1 << 15, b"x"),
    "all flags": (0xFFFFFFFF, b"x"),
    "another shape": (0, pack({"user": "ada"})),
    "fields are no fields": (0, pack([["name"]])),
    "why it ended is no text": (0, pack([{"name": b"x"}, 1])),
    "deeply nested": (0, DEEP),
    "promises more than it holds": (0, b"\xdd\xff\xff\xff\xff"),
    "truncated": (0, pack([{":created": CREATED, "name": pack("ada" * 99)}])[:-7]),
    **{
        f"fields: {name}": (0, pack([fields]))
        for name, fields in FOREIGN_FIELDS.items()
        if all(isinstance(field, str) for field in fields)
    },
}


@pytest.mark.parametrize("kind", ["session", "notice"])
async def test_a_foreign_record_is_dropped_and_the_visitor_gets_a_fresh_session(
    server: Server, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with site(server.engine, server.storage) as running:
        cases = FOREIGN_FIELDS if server.engine == "redis" else FOREIGN_VALUES
        for name, foreign in cases.items():
            await _check(running, server, kind, name, foreign, caplog)
        if server.engine == "redis":
            for name in ("string", "list", "set"):
                await _check(running, server, kind, name, name, caplog)


async def test_a_pickle_in_the_store_is_never_loaded(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mark = tmp_path / "mark"
    bomb = pickle.dumps(Bomb(mark))
    async with site(server.engine, server.storage) as running:
        for kind in ("session", "notice"):
            if server.engine == "redis":
                fields = {":created": CREATED, "name": bomb}
                await _check(running, server, kind, "pickle", fields, caplog)
            else:
                for flags, value in ((1, bomb), (9, zlib.compress(bomb)), (0, bomb)):
                    await _check(running, server, kind, "pickle", (flags, value), caplog)
    assert not mark.exists()
    pickle.loads(bomb)
    assert mark.exists(), "the test is blunt: its pickle does nothing"


@asynccontextmanager
async def memcached_site() -> AsyncIterator[Site]:
    """A site on Memcached: Redis takes values up to 512 MB."""
    with started("memcached") as server:
        async with site(server.engine, server.storage) as running:
            yield running


async def test_a_record_over_memcacheds_item_limit_is_refused_and_the_old_one_stays() -> None:
    raised: list[SessionTooLarge] = []

    async def save(page: Page) -> None:
        page.session["large"] = secrets.token_bytes(TOO_LARGE)
        try:
            await page.session.save()
        except SessionTooLarge as error:
            raised.append(error)
        page.set_status(500)  # or the commit would try again

    async def modify(page: Page) -> None:
        with pytest.raises(SessionTooLarge):
            await page.session.modify("large", lambda _: secrets.token_bytes(TOO_LARGE))

    def at_the_commit(page: Page) -> None:
        page.session["large"] = secrets.token_bytes(TOO_LARGE)
        page.write("never seen")

    def in_a_notification(page: Page) -> None:
        page.notifications.add(secrets.token_bytes(TOO_LARGE))

    async with memcached_site() as running:
        visitor = running.browser()
        await running.do(visitor, lambda page: page.session.update(name="ada"))
        for act, status in (
            (save, 500),
            (modify, 200),
            (at_the_commit, 500),
            (in_a_notification, 500),
        ):
            page = await running.do(visitor, act)
            assert page.status == status, act
            assert "never seen" not in page.text
            assert (await running.do(visitor, _look)).json == {
                "session": {"name": "ada"},
                "messages": [],
            }
    (error,) = raised
    assert error.size_bytes > TOO_LARGE > error.limit_bytes > 1_000_000
    assert f"{error.size_bytes} bytes" in str(error)
    assert f"{error.limit_bytes}" in str(error)


async def test_a_record_just_below_memcacheds_item_limit_is_kept() -> None:
    async with memcached_site() as running:
        visitor = running.browser()
        value = secrets.token_bytes(TOO_LARGE - 1000)
        page = await running.do(visitor, lambda page: page.session.update(large=value))
        assert page.status == 200
        page = await running.do(visitor, lambda page: page.write(page.session["large"]))
        assert page.body == value


async def _check(
    running: Site,
    server: Server,
    kind: str,
    name: str,
    foreign: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    visitor = running.browser()

    def begin(page: Page) -> None:
        page.session["name"] = "ada"
        page.notifications.add("hello")

    await running.do(visitor, begin)
    key = await running.key(visitor, kind)
    old = dict(visitor.jar)
    plant(server, key, kind, foreign)

    caplog.clear()
    what = f"{server.engine}, {kind}: {name}"
    page = await running.do(visitor, _look)
    assert page.status == 200, what
    assert page.json["messages"] in ([], ["hello"] if kind == "session" else []), what
    if kind == "session" or name.removeprefix("fields: ") not in WITHOUT_A_NAME:
        assert re.search("dropped|ignored a record", caplog.text), what
    assert "Traceback" not in caplog.text, what
    assert key not in caplog.text, what
    if kind == "session":
        assert page.json["session"] == {}, what
        page = await running.do(visitor, lambda page: page.session.update(name="grace"))
        assert page.status == 200, what
        assert visitor.jar, what
        assert visitor.jar != old, what
    page = await running.do(visitor, _look)
    names = {"name": "grace" if kind == "session" else "ada"}
    assert page.json == {"session": names, "messages": []}, what


async def _look(page: Page) -> None:
    session = dict(page.session)
    messages = await page.notifications.take()
    page.write({"session": session, "messages": [message.value for message in messages]})


def plant(server: Server, key: str, kind: str, foreign: Any) -> None:
    """Put something in the place of a record; in a notice, what is called "name" stands in the
    place of the notice's own field.
    """
    if server.engine == "memcached":
        flags, value = foreign
        if kind == "notice":
            (field,) = msgspec.msgpack.decode(server.value(key))[0]
            value = value.replace(pack("name"), pack(field))
        with socket.create_connection((HOST, server.port)) as connection:
            command = f"set {key} {flags} 1000 {len(value)}\r\n"
            connection.sendall(command.encode() + value + b"\r\n")
            assert connection.recv(100) == b"STORED\r\n"
        return
    with redis.Redis(HOST, server.port, db=0 if kind == "session" else 1) as connection:
        fields: Any = connection.hkeys(key)
        assert connection.delete(key) == 1
        if kind == "notice" and "name" in foreign:
            foreign = {fields[0]: foreign["name"]}
        match foreign:
            case "string":
                connection.set(key, b"hello")
            case "list":
                connection.rpush(key, b"hello")
            case "set":
                connection.sadd(key, b"hello")
            case _:
                connection.hset(key, mapping=foreign)
