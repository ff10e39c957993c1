"""How the promises are tested: on both engines, every warning an error, asyncio in debug mode.

A test that is a coroutine function runs in a loop of its own. Whatever that loop would only log,
an exception that was never retrieved or a task that was destroyed, fails the test.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import generated  # noqa: F401 - renders the package that the tests import
from .processes import Process, running
from .servers import ENGINES, Server, started

HERE = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "plain_loop: without asyncio's debug mode, for mass tests")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("error"))
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    wanted = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in wanted}
    unheard: list[str] = []

    def hear(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        unheard.append(f"{context['message']}: {context.get('exception')!r}")

    debug = pyfuncitem.get_closest_marker("plain_loop") is None
    with asyncio.Runner(debug=debug) as runner:
        runner.get_loop().set_exception_handler(hear)
        runner.run(pyfuncitem.obj(**arguments))
        gc.collect()
    gc.collect()
    assert not unheard, unheard
    return True


TRIED = pytest.StashKey[list[int]]()


@pytest.fixture
def tried(pytestconfig: pytest.Config) -> list[int]:
    """Takes how many orders of trips a test has run; the sum is printed at the end."""
    return pytestconfig.stash.setdefault(TRIED, [])


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if orders := config.stash.get(TRIED, []):
        what = f"two requests in every order of their trips: {sum(orders):,} orders, {len(orders)} cases"
        terminalreporter.write_line(what)


@pytest.fixture(scope="session", params=ENGINES)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server that the tests share; each keeps to itself by a key prefix of its own."""
    with started(request.param) as server:
        yield server


@pytest.fixture(scope="session")
def processes(server: Server) -> Iterator[list[Process]]:
    """Two processes of the generated app that share a server."""
    with running(2, server.environment) as processes:
        yield processes


@pytest.fixture(params=ENGINES)
def own_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server to kill, freeze and start again."""
    with started(request.param) as server:
        yield server
