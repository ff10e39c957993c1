"""Fixtures for the sessions package alone: an application of a few small handlers, and a clock.

A test module names its handlers in a `handlers` fixture; `app` overrides the suite's own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from tornado.ioloop import IOLoop
from tornado.web import Application

from {{cookiecutter.project_slug}}.sessions import Store
from {{cookiecutter.project_slug}}.sessions.engines import ENGINES, Engine
from {{cookiecutter.project_slug}}.sessions.engines.memory import MemoryEngine

from ..conftest import COOKIE_SECRET

Routes = list[tuple[str, Any]]


class Clock:
    """A clock that a test can move. It goes on ticking by itself."""

    def __init__(self) -> None:
        self._ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self._ahead_s

    def advance(self, seconds: float) -> None:
        self._ahead_s += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def records(engine: str, storage: dict[str, Any], io_loop: IOLoop) -> Iterator[Engine]:
    """The engine itself."""
    opened = ENGINES[engine].open(storage, "sessions", 2.0)
    yield opened
    io_loop.run_sync(opened.close)


@pytest.fixture
def key(key_prefix: str) -> str:
    """A key that no other test uses."""
    return f"{key_prefix}:session:key"


@pytest.fixture
def pycket() -> dict[str, Any]:
    """More of settings["pycket"]; a module overrides it."""
    return {}


@pytest.fixture
def app(
    handlers: Routes,
    engine: str,
    storage: dict[str, Any],
    key_prefix: str,
    pycket: dict[str, Any],
    clock: Clock,
    io_loop: IOLoop,
) -> Iterator[Application]:
    application = Application(
        handlers,
        cookie_secret=COOKIE_SECRET,
        pycket={"engine": engine, "storage": storage, "key_prefix": key_prefix, **pycket},
    )
    store = Store.of(application)
    store.clock = clock
    for each in (store.sessions, store.notifications):
        if isinstance(each, MemoryEngine):
            each.clock = clock
    yield application
    io_loop.run_sync(store.close)


@pytest.fixture
def store(app: Application) -> Store:
    return Store.of(app)
