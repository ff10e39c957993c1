"""/readyz on stores that answer, and do not work: what it says, what the log says, and what the app
says where it cannot start.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ..conftest import clean_environment
from ..promises.generated import PROJECT, empty_database
from ..promises.servers import HOST, Server, free_port, started
from ..security.process import COOKIE_SECRET, App, Start, Visitor
from .stores import on_three_memcached

FAULTS = {
    # what is wrong: how it is done, a part of the cause, a part of what to do
    "full": ("CONFIG SET maxmemory 1", "it is full", "maxmemory-policy to volatile-lru"),
    "a replica": (f"REPLICAOF {HOST} 1", "it is a read-only replica", "or REDIS_SENTINELS"),
    "scripts forbidden": ("ACL SETUSER default -eval", "it does not permit", "+@scripting"),
}


@contextmanager
def redis() -> Iterator[Server]:
    with started("redis", "--maxmemory-policy", "noeviction") as server:
        yield server


def ready(app: App) -> tuple[int, str]:
    """What /readyz says, and about the store; always within its time."""
    begun = time.monotonic()
    answer = Visitor(app).get("/readyz")
    assert time.monotonic() - begun < 1.5
    return answer.status, json.loads(answer.text)["store"]


@pytest.mark.parametrize("kind", FAULTS)
def test_a_redis_that_cannot_be_used_is_not_ready_and_why_is_logged_once(
    kind: str, start: Start
) -> None:
    command, cause, cure = FAULTS[kind]
    with redis() as server:
        app = start(**server.environment)
        assert ready(app) == (200, "ok")
        assert server.ask(command).startswith("+OK")
        for _ in range(3):
            assert ready(app) == (503, "unavailable")
        assert app.log.count("not ready: store") == 1
        assert cause in app.log
        assert Visitor(app).post("/", text="a note").status == 503
        assert cure in app.log  # with the variables that people set


@pytest.mark.parametrize("kind", FAULTS)
def test_a_redis_that_cannot_be_used_stops_the_start_with_one_line(
    kind: str, tmp_path: Path
) -> None:
    command, cause, cure = FAULTS[kind]
    with redis() as server:
        assert server.ask(command).startswith("+OK")
        (line,) = last_words(tmp_path, server.environment)
        assert f"The session store at redis://{HOST}:{server.port} cannot be used: {cause}" in line
        assert cure in line


def test_instances_stay_ready_without_one_of_their_memcached_servers(
    tmp_path: Path, start: Start
) -> None:
    with on_three_memcached(tmp_path) as store:
        app = start(**store.environment)
        store.servers[0].kill()
        for _ in range(3):
            assert ready(app) == (200, "degraded")
        # It does not stop a start, either.
        second = start(**store.environment)
        assert ready(second) == (200, "degraded")
        for each in (app, second):
            assert each.log.count(f"memcached://{HOST}:{store.servers[0].port}") >= 1
            assert each.log.count("some visitors cannot be served: store") == 1
        # A half is lost: the other one is worth staying for.
        store.servers[1].kill()
        assert ready(app) == (200, "degraded")
        store.servers[2].kill()
        assert ready(app) == (503, "unavailable")


def test_instances_that_most_visitors_cannot_use_are_not_ready(
    tmp_path: Path, start: Start
) -> None:
    with on_three_memcached(tmp_path) as store:
        app = start(**store.environment)
        store.servers[2].freeze()  # it has half of them
        assert ready(app) == (200, "degraded")
        store.servers[0].kill()
        for _ in range(3):
            assert ready(app) == (503, "unavailable")
        assert app.log.count("not ready: store") <= 2  # no answer, and then known to be silent
        (line,) = last_words(tmp_path, store.environment)
        assert str(store.servers[0].port) in line
        assert str(store.servers[2].port) in line
        store.servers[2].thaw()


def test_a_fault_of_the_settings_is_told_from_one_of_the_store(tmp_path: Path) -> None:
    nobody = {"SESSION_ENGINE": "redis", "REDIS_SENTINELS": f"{HOST}:{free_port()}"}
    (line,) = last_words(tmp_path, nobody)
    assert line.startswith("The session store at redis service mymaster ")
    lines = last_words(tmp_path, {**nobody, "REDIS_CLUSTER": "yes", "STORAGE_TIMEOUT": "0"})
    assert [line.split()[0] for line in lines] == ["REDIS_SENTINELS", "STORAGE_TIMEOUT"]


def last_words(directory: Path, environment: dict[str, str]) -> list[str]:
    """What the app prints as it exits, because it cannot start."""
    done = subprocess.run(
        [sys.executable, "-m", PROJECT.name, f"--port={free_port()}"],
        cwd=directory,
        env={
            **clean_environment(),
            "PYTHONPATH": str(PROJECT),
            "COOKIE_SECRET": COOKIE_SECRET,
            "DATABASE_URL": f"sqlite+aiosqlite:///{empty_database()}",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    return done.stderr.splitlines()
