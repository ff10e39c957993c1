"""What a thief of the store's contents could do with them."""

from __future__ import annotations

import base64
import re
import time
from itertools import product

from ..promises.servers import Server
from .process import COOKIE, COOKIE_SECRET, Start, Visitor


def test_27_a_dump_of_the_store_yields_no_usable_cookie(start: Start, store: Server) -> None:
    app = start(**store.environment)
    visitor = Visitor(app)
    visitor.register()
    visitor.login(remember="1")
    visitor.post("/", text="a note in the session")
    value = visitor.jar[COOKIE]
    token = base64.b64decode(value.split("|")[4].partition(":")[2]).decode().partition(".")[0]

    dump = dumped(store)
    assert "a note in the session" in dump  # it is a dump of the sessions
    assert token not in dump
    assert value not in dump
    assert "correct horse" not in dump
    # Everything in it that has the form of an id, or can be cut to it, tried as a cookie: even by
    # somebody who can sign.
    found = {word[:43] for word in re.findall(r"[A-Za-z0-9_-]{43,}", dump)}
    found |= {word[-43:] for word in re.findall(r"[A-Za-z0-9_-]{43,}", dump)}
    assert found
    for thing, lifetime in product(found, ["", ".2592000"]):
        for cookie in (thing, signed(app.package, thing + lifetime)):
            thief = Visitor(app)
            thief.jar[COOKIE] = cookie
            assert not thief.logged_in
    assert visitor.logged_in
    thief = Visitor(app)
    thief.jar[COOKIE] = signed(app.package, token)  # so a good one would have been found
    assert thief.logged_in


def signed(package: str, token: str) -> str:
    from tornado.web import create_signed_value

    now = time.time()
    value = create_signed_value({0: COOKIE_SECRET}, COOKIE, token, clock=lambda: now, key_version=0)
    return value.decode()


def dumped(store: Server) -> str:
    """All keys and values of a store."""
    if store.engine == "redis":
        return dumped_redis(store.port)
    return dumped_memcached(store)


def dumped_redis(port: int) -> str:
    import redis

    parts: list[bytes] = []
    for database in (0, 1):
        with redis.Redis(port=port, db=database) as client:
            for key in client.scan_iter():
                parts.append(key)
                parts += [each for pair in client.hgetall(key).items() for each in pair]
    return b"\n".join(parts).decode(errors="replace")


def dumped_memcached(store: Server) -> str:
    import memcache

    lines = store.ask("lru_crawler metadump all").splitlines()
    keys = [line.partition(" ")[0].removeprefix("key=") for line in lines if line[:4] == "key="]
    client = memcache.Client(store.storage["servers"])
    values = [client.get(key.replace("%3A", ":")) for key in keys]
    client.disconnect_all()
    assert all(values)
    return "\n".join([*keys, *(value.decode(errors="replace") for value in values)])
