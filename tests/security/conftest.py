"""The generated app as its owner runs it: a process of its own, on a real store or in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..promises.servers import Server, started
from .process import App, Start

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def start(project: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts the app on the memory engine: `start("--port=1", COOKIE_SECRET=...)`."""
    apps: list[App] = []

    def start(*arguments: str, **environment: str) -> App:
        apps.append(App(project, tmp_path / str(len(apps)), arguments, environment))
        return apps[-1]

    yield start
    for app in apps:
        app.stop()


@pytest.fixture(scope="module")
def store(project: Path) -> Iterator[Server]:
    """A private server of the engine that the project was made for."""
    with started(engine_of(project)) as server:
        yield server


def engine_of(project: Path) -> str:
    engines = {path.stem for path in project.rglob("sessions/engines/*.py")}
    (engine,) = engines & {"redis", "memcached"}
    return engine
