"""The health endpoints, and how the app starts and stops."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from {{cookiecutter.project_slug}}.accounts import DatabaseUnavailable
from {{cookiecutter.project_slug}}.app import App
from {{cookiecutter.project_slug}}.handlers import health
from {{cookiecutter.project_slug}}.sessions import StoreUnavailable

from .browser import Browser
from .conftest import COOKIE_SECRET
from .servers import HOST, free_port

ROOT = Path(__file__).parent.parent


@pytest.fixture
def engine() -> str:
    """What is tested here has nothing to do with the store: once is enough."""
    return "memory"


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
async def test_readyz_does_not_wait_for_a_part_that_hangs(
    app: App, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang() -> None:
        await asyncio.sleep(60)

    assert health.patience_s <= 1
    monkeypatch.setattr(health, "patience_s", 0.05)
    app.accounts.ping = hang  # type: ignore[method-assign]
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


def break_store(app: App) -> None:
    async def ping() -> None:
        raise StoreUnavailable("nowhere", "it is broken")

    app.store.ping = ping  # type: ignore[method-assign]


def break_database(app: App) -> None:
    async def fail(*_: Any) -> Any:
        raise DatabaseUnavailable("nowhere", OSError("it is broken"))

    app.accounts.ping = fail  # type: ignore[method-assign]
    app.accounts._find = fail  # type: ignore[method-assign, assignment]


# --- The process


class Process:
    """`python -m` with these variables, on a free port."""

    def __init__(self, directory: Path, **environ: str) -> None:
        self.port = int(environ.get("PORT", free_port()))
        base = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
        base |= {"COOKIE_SECRET": COOKIE_SECRET, "PORT": str(self.port)}
        base |= {"SESSION_ENGINE": "memory"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "{{cookiecutter.project_slug}}"],
            cwd=directory,
            env={**base, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def first_line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def end(self) -> tuple[int, str]:
        """Wait for the end; returns the status and what was printed."""
        output, _ = self.process.communicate(timeout=10)
        return self.process.returncode, output


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    processes = []

    def start(**environ: str) -> Process:
        processes.append(Process(tmp_path, **environ))
        return processes[-1]

    yield start
    for each in processes:
        if each.process.poll() is None:
            each.process.kill()
        each.process.communicate()


def test_the_app_prints_its_address_serves_and_leaves_in_good_order(start: Any) -> None:
    app = start()
    assert app.first_line().startswith(f"Serving on http://localhost:{app.port}")
    with urlopen(f"http://{HOST}:{app.port}/readyz", timeout=5) as answer:
        assert answer.status == 200
    app.process.send_signal(signal.SIGTERM)
    status, output = app.end()
    assert status == 0
    assert "Traceback" not in output


def test_a_store_that_does_not_answer_is_one_line_with_both_ways_out(
    start: Any, nowhere: dict[str, str]
) -> None:
    app = start(SESSION_ENGINE="{{cookiecutter.engine}}", **nowhere)
    status, output = app.end()
    assert status == 1
    assert output.count("\n") == 1
    (where,) = nowhere.values()
    assert where.rpartition("/")[2] in output
    assert "{{cookiecutter.engine}}" in output
    assert "make run ENGINE=memory" in output


def test_a_busy_port_is_one_line(start: Any) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        status, output = start(PORT=str(port)).end()
    assert status == 1
    assert output == (
        f"Cannot listen on 127.0.0.1: port {port} is in use: "
        f"stop what listens there, or write PORT={port + 1}\n"
    )


def test_a_database_that_does_not_answer_is_one_line_without_the_password(start: Any) -> None:
    url = f"postgresql://me:hunter2@{HOST}:{free_port()}/app"
    status, output = start(DATABASE_URL=url).end()
    assert status == 1
    assert output.count("\n") == 1
    assert "does not answer" in output
    assert "hunter2" not in output


def test_faults_of_the_settings_are_lines_and_no_traceback(start: Any) -> None:
    status, output = start(COOKIE_SECRET="short", PROCESSES="0").end()
    assert status == 1
    assert output.count("\n") == 2
