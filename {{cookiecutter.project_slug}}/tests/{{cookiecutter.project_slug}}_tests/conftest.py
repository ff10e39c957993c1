"""Fixtures of the whole suite.

A test that asks for `app`, `http_client` or `make_browser` runs on a real private server; many of
sessions/ run on the embedded memory engine as well. pytest-tornado supplies `io_loop`,
`http_client` and `base_url`.
"""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.ioloop import IOLoop
from tornado.web import Application

from {{cookiecutter.project_slug}}.app import App, make_app
from {{cookiecutter.project_slug}}.database import Database
from {{cookiecutter.project_slug}}.handlers import auth
from {{cookiecutter.project_slug}}.mail import KEPT
from {{cookiecutter.project_slug}}.passwords import PASSWORD_COST
from {{cookiecutter.project_slug}}.settings import Settings

from .app_process import Process
from .browser import Browser
from .server_{{cookiecutter.engine}} import nowhere, server, unused_storage  # noqa: F401 - fixtures
from .servers import Server

# pytest-tornado asks for the current event loop, which Python 3.11 creates on the way, and nobody
# closes; later versions refuse. Without a current one it makes its own.
asyncio.set_event_loop(None)

COOKIE_SECRET = "only-for-tests-" + "0123456789abcdef" * 2
# The real parameters cost 50 ms and 19 MiB per password: right for a login page, wrong for a suite.
CHEAP_HASHES = replace(PASSWORD_COST, time_cost=1, memory_cost=8)

MakeBrowser = Callable[..., Browser]
Start = Callable[..., Process]


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what stays until the end: most of what there is."""
    gc.freeze()


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores for `-n auto`: some tests wait."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture
def engine() -> str:
    """The name of the session engine. To run on both, see sessions/conftest.py."""
    return "{{cookiecutter.engine}}"


@pytest.fixture(autouse=True)
def _email_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most tests register without an address, whatever accounts.py says."""
    monkeypatch.setattr(auth, "email_required", False)


@pytest.fixture
def _server(engine: str, request: pytest.FixtureRequest) -> Server | None:
    """The server behind the engine; it is started by the first test that needs it. None for the
    memory engine.
    """
    return None if engine == "memory" else request.getfixturevalue("server")


@pytest.fixture
def storage(_server: Server | None) -> dict[str, Any]:
    """What settings["pycket"]["storage"] takes for the engine of this test."""
    return dict(_server.storage) if _server else {}


@pytest.fixture
def key_prefix() -> str:
    """A random prefix, so that tests that share a server cannot meet."""
    return f"test_{secrets.token_hex(8)}"


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with all tables and no rows. Tests copy it: that is quicker than to migrate."""
    file = tmp_path_factory.mktemp("database") / "empty.db"

    async def migrate() -> None:
        database = Database(f"sqlite+aiosqlite:///{file}")
        try:
            await database.migrate()
        finally:
            await database.close()

    with ThreadPoolExecutor(1) as thread:  # this one may have an event loop of a test already
        thread.submit(lambda: asyncio.run(migrate())).result()
    return file


@pytest.fixture
def database_url(empty_database: Path, tmp_path: Path) -> str:
    """The URL of a database of the test's own."""
    return f"sqlite+aiosqlite:///{shutil.copy(empty_database, tmp_path / 'app.db')}"


@pytest.fixture
def settings(engine: str, _server: Server | None, key_prefix: str, database_url: str) -> Settings:
    """The app's settings, as outside debug. A test module overrides this fixture to change one: see
    test_throttle.py.
    """
    return Settings(
        session_engine=engine,
        cookie_secret=COOKIE_SECRET,
        database_url=database_url,
        key_prefix=key_prefix,
        password_cost=CHEAP_HASHES,
        smtp_url=KEPT,
        **(_server.options if _server else {}),
    )


@pytest.fixture
def app(settings: Settings, io_loop: IOLoop) -> Iterator[App]:
    """The app, started; pytest-tornado serves it at `base_url`."""
    app = make_app(settings)
    io_loop.run_sync(app.start)
    yield app
    io_loop.run_sync(app.close)


@pytest.fixture
def make_browser(app: Application, http_client: AsyncHTTPClient, base_url: str) -> MakeBrowser:
    """Makes browsers that share nothing: `make_browser()`, or `make_browser(headers={...})`.

    It asks for `app` by name so that pytest sees at collection which engines a test runs on.
    """

    def make(**options: Any) -> Browser:
        return Browser(http_client, base_url, **options)

    return make


@pytest.fixture
def browser(make_browser: MakeBrowser) -> Browser:
    """One browser, for the tests that need only one."""
    return make_browser()


@pytest.fixture
def start(tmp_path: Path, database_url: str) -> Iterator[Start]:
    """Starts the app in a process of its own, with variables: `start(PROCESSES="2")`. The memory
    engine serves it, unless they say otherwise. See app_process.py.
    """
    processes = []

    def start(**options: Any) -> Process:
        processes.append(Process(tmp_path, **{"COOKIE_SECRET": COOKIE_SECRET, **options}))
        return processes[-1]

    yield start
    for each in processes:
        each.kill()
