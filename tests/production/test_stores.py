"""Each store by settings alone: a process of the app starts on it, and people use it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from ..promises.servers import HOST, Server, started
from ..security.process import Start, Visitor
from .stores import Store, in_a_cluster, on_three_memcached, watched_by_sentinels

MakeStore = Callable[[Path], AbstractContextManager[Store]]


@pytest.mark.parametrize("make", [watched_by_sentinels, in_a_cluster, on_three_memcached])
def test_people_register_and_log_in_and_out(make: MakeStore, tmp_path: Path, start: Start) -> None:
    with make(tmp_path) as store:
        app = start(**store.environment)
        assert json.loads(Visitor(app).get("/readyz").text) == {"store": "ok", "database": "ok"}
        # Enough of them that each server has some.
        visitors = []
        for number in range(8):
            visitor, name = Visitor(app), f"visitor{number}"
            assert visitor.register(name).status == 303
            assert visitor.logged_in
            visitor.post("/logout")
            assert not visitor.logged_in
            assert visitor.login(name).status == 303
            visitors.append(visitor)
        assert all(visitor.logged_in for visitor in visitors)
        serving = store.servers[:1] if store.sentinels else store.servers[:3]
        assert all(_keys(server) > 0 for server in serving)
        # Another process knows them, too.
        second = start(**store.environment)
        for visitor in visitors:
            other = Visitor(second)
            other.jar = visitor.jar
            assert other.logged_in


def test_a_password_is_read_from_a_file_and_never_logged(tmp_path: Path, start: Start) -> None:
    password = secrets.token_hex(8)
    file = tmp_path / "redis_url"
    with started("redis", "--requirepass", password) as server:
        file.write_text(f"redis://:{password}@{HOST}:{server.port}\n")
        app = start(SESSION_ENGINE="redis", REDIS_URL_FILE=str(file))
        visitor = Visitor(app)
        assert visitor.register().status == 303
        assert visitor.logged_in
        server.kill()
        assert visitor.get("/account").status == 503
        assert password not in app.log


def _keys(server: Server) -> int:
    if server.engine == "redis":
        return int(server.ask("DBSIZE").strip().lstrip(":"))
    stats = dict(line.split()[1:3] for line in server.ask("stats").splitlines() if "STAT" in line)
    return int(stats["curr_items"])
