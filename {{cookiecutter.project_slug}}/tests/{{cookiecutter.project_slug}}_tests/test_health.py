"""The health endpoints, and how the app starts and stops."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sqlite3
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from {{cookiecutter.project_slug}} import database, logs
from {{cookiecutter.project_slug}}.__main__ import main
from {{cookiecutter.project_slug}}.app import App
from {{cookiecutter.project_slug}}.database import DatabaseUnavailable
from {{cookiecutter.project_slug}}.handlers import health
from {{cookiecutter.project_slug}}.handlers.base import BaseHandler
from {{cookiecutter.project_slug}}.sessions import StoreUnavailable

from .app_process import SLOW
from .browser import Browser
from .conftest import COOKIE_SECRET, Start
from .servers import HOST, Server, free_port


@pytest.mark.gen_test
async def test_healthz_needs_nothing_and_sets_no_cookie(app: App, browser: Browser) -> None:
    break_store(app)
    break_database(app)
    page = await browser.get("/healthz")
    assert (page.status, json.loads(page.text)) == (200, {"status": "ok"})
    assert page.set_cookies == []


@pytest.mark.gen_test
async def test_readyz_says_when_all_is_well(browser: Browser) -> None:
    page = await browser.get("/readyz")
    assert (page.status, json.loads(page.text)) == (200, {"store": "ok", "database": "ok"})


@pytest.mark.gen_test
async def test_readyz_tells_which_part_is_missing_and_nothing_more(
    app: App, browser: Browser
) -> None:
    break_store(app)
    page = await browser.get("/readyz")
    assert (page.status, page.headers["Retry-After"]) == (503, "1")
    assert json.loads(page.text) == {"store": "unavailable", "database": "ok"}
    break_database(app)
    assert json.loads((await browser.get("/readyz")).text)["database"] == "unavailable"


@pytest.mark.gen_test
async def test_readyz_says_when_the_app_is_about_to_stop(app: App, browser: Browser) -> None:
    app.draining = True
    page = await browser.get("/readyz")
    assert (page.status, json.loads(page.text)) == (503, {"app": "stopping"})
    assert (await browser.get("/healthz")).status == 200


@pytest.mark.gen_test
async def test_readyz_does_not_wait_for_a_part_that_hangs(
    app: App, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang() -> None:
        await asyncio.sleep(60)

    assert health.patience_s <= 1
    monkeypatch.setattr(health, "patience_s", 0.5)
    app.services.database.ping = hang  # type: ignore[method-assign]
    page = await browser.get("/readyz")
    assert json.loads(page.text) == {"store": "ok", "database": "unavailable"}


@pytest.mark.gen_test
async def test_without_the_database_people_are_told_to_come_back(
    app: App, browser: Browser
) -> None:
    break_database(app)
    page = await browser.login()
    assert page.status == 503
    assert page.headers["Retry-After"] == "1"
    assert "does not answer" in page.plain


@pytest.mark.gen_test
async def test_readyz_logs_a_cause_once_and_says_when_all_is_well_again(
    app: App, browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    ping = app.services.store.ping
    break_store(app)
    for _ in range(3):
        assert (await browser.get("/readyz")).status == 503
    app.services.store.ping = ping  # type: ignore[method-assign]
    for _ in range(2):
        assert (await browser.get("/readyz")).status == 200
    said = [each.getMessage() for each in caplog.records if "ready" in each.getMessage()]
    said = [each for each in said if "/readyz" not in each]
    assert said == ["not ready: store: session store nowhere: it is broken", "ready again: store"]


@pytest.mark.gen_test
async def test_instances_that_can_serve_most_visitors_stay_ready(
    app: App, browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    async def ping(within_s: float | None = None) -> list[StoreUnavailable]:
        return [StoreUnavailable("one of three", "it is broken")]

    app.services.store.ping = ping  # type: ignore[method-assign]
    page = await browser.get("/readyz")
    assert (page.status, json.loads(page.text)["store"]) == (200, "degraded")
    assert "some visitors cannot be served: store: session store one of three" in caplog.text


def break_store(app: App) -> None:
    async def ping(within_s: float | None = None) -> list[StoreUnavailable]:
        raise StoreUnavailable("nowhere", "it is broken")

    app.services.store.ping = ping  # type: ignore[method-assign]


def break_database(app: App) -> None:
    async def fail(*_: Any) -> Any:
        raise DatabaseUnavailable("nowhere", OSError("it is broken"))

    app.services.database.ping = fail  # type: ignore[method-assign]
    app.services.accounts._find = fail  # type: ignore[method-assign]


class Slow(BaseHandler):
    def initialize(self, arrived: asyncio.Event, go_on: asyncio.Event) -> None:
        self.arrived, self.go_on = arrived, go_on

    async def get(self) -> None:
        self.arrived.set()
        await self.go_on.wait()
        self.write("done")


@pytest.mark.gen_test
async def test_a_shutdown_waits_for_the_requests_in_flight(app: App, browser: Browser) -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()
    app.add_handlers(".*", [("/slow", Slow, {"arrived": arrived, "go_on": go_on})])
    request = asyncio.create_task(browser.get("/slow"))
    await arrived.wait()
    await app.drain(timeout_s=0.05)  # it does not wait for ever
    assert not request.done()
    shutdown = asyncio.create_task(app.drain(timeout_s=5))
    await asyncio.sleep(0.05)
    assert not shutdown.done()
    go_on.set()
    await shutdown
    assert (await request).text == "done"


# --- The process


def test_the_app_prints_its_address_serves_and_leaves_in_good_order(start: Start) -> None:
    app = start()
    assert app.first_line().startswith(f"Serving on http://localhost:{app.port}")
    with urlopen(f"http://{HOST}:{app.port}/readyz", timeout=5) as answer:
        assert answer.status == 200
    app.send(signal.SIGTERM)
    status, output = app.end()
    assert status == 0
    assert "Traceback" not in output


def test_in_development_the_app_migrates_by_itself(start: Start, tmp_path: Path) -> None:
    app = start(DEBUG="true", DATABASE_URL=f"sqlite+aiosqlite:///{tmp_path / 'new.db'}")
    while not (line := app.first_line()).startswith("Serving"):
        assert line, "it ended"
    with urlopen(f"http://{HOST}:{app.port}/readyz", timeout=5) as answer:
        assert answer.status == 200
    app.send(signal.SIGTERM)
    assert app.end()[0] == 0


def test_every_process_that_serves_starts_the_background_jobs(start: Start, server: Server) -> None:
    ((name, where),) = server.options.items()
    store = {name.upper(): where if isinstance(where, str) else ",".join(where)}
    app = start(
        program=["-c", SLOW],
        PROCESSES="2",
        SESSION_ENGINE="{{cookiecutter.engine}}",
        **store,
    )
    ran_in: set[str] = set()
    while len(ran_in) < 2:
        line = app.first_line()
        assert line, "it ended"
        if line.startswith("serving "):
            ran_in.add(line)
    app.send(signal.SIGTERM)
    assert app.end()[0] == 0


def test_a_busy_port_is_one_line(start: Start) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        status, output = start(PORT=str(port)).end()
    assert status == 1
    assert output == (
        f"Cannot listen on 127.0.0.1: port {port} is in use: "
        f"stop what listens there, or write PORT={port + 1}\n"
    )


@pytest.fixture
def last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs the app with these variables, in this process; returns what it prints as it exits."""

    def run(**environ: str) -> str:
        given = {"COOKIE_SECRET": COOKIE_SECRET, "SESSION_ENGINE": "memory", **environ}
        monkeypatch.setattr(os, "environ", given)
        monkeypatch.setattr(sys, "argv", ["app"])
        monkeypatch.setattr(logs, "configure", lambda **_: None)
        monkeypatch.chdir(tmp_path)
        with ThreadPoolExecutor(1) as thread, pytest.raises(SystemExit) as end:
            thread.submit(main).result()  # it needs an event loop of its own
        return str(end.value.code)

    return run


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # the client library's
def test_a_store_that_does_not_answer_is_one_line_with_both_ways_out(
    last_words: Callable[..., str], nowhere: dict[str, str]
) -> None:
    words = last_words(SESSION_ENGINE="{{cookiecutter.engine}}", **nowhere)
    (address,) = nowhere.values()
    port = address.rpartition(":")[2]
    assert "\n" not in words
    assert address.rpartition("/")[2] in words
    assert re.search(rf"Start it: {{cookiecutter.engine}}\S* .*{port} ", words)
    assert words.endswith("make run ENGINE=memory")


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # the client library's
def test_a_store_where_something_else_listens_is_not_to_be_started(
    last_words: Callable[..., str], nowhere: dict[str, str]
) -> None:
    (address,) = nowhere.values()
    with socket.create_server((HOST, int(address.rpartition(":")[2]))):  # it never replies
        words = last_words(SESSION_ENGINE="{{cookiecutter.engine}}", STORAGE_TIMEOUT="0.2", **nowhere)
    assert words.endswith(" cannot be used: no reply within 0.2 s.")


def test_a_database_that_does_not_answer_is_one_line_without_the_password(
    last_words: Callable[..., str],
) -> None:
    words = last_words(DATABASE_URL=f"postgresql://me:hunter2@{HOST}:{free_port()}/app")
    assert "\n" not in words
    assert "does not answer" in words
    assert words.endswith("DATABASE_URL=sqlite+aiosqlite:///app.db")
    assert "hunter2" not in words


def test_a_file_that_cannot_be_used_is_one_line_about_files(
    last_words: Callable[..., str],
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(database, "timeout_s", 0)
    with closing(sqlite3.connect(tmp_path / "app.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        words = last_words(SESSION_ENGINE="memory", DATABASE_URL=database_url)
    assert "\n" not in words
    assert f"{database_url} cannot be used: database is locked. " in words
    assert words.endswith("If another program keeps the file locked, end that program.")


def test_faults_of_the_settings_are_one_line_each(last_words: Callable[..., str]) -> None:
    assert len(last_words(COOKIE_SECRET="short", PROCESSES="0").splitlines()) == 2
