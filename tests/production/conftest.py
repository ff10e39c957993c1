"""The generated app as a process, on stores of the size that people run, or behind nginx."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ..promises.generated import PROJECT
from ..promises.servers import Server
from ..security import conftest as security
from ..security.process import App, Start
from .instance import Instance

HERE = Path(__file__).parent

Launch = Callable[..., Instance]

store = security.store  # a fixture

# For tests in which the store plays no part: one engine is enough.
OF_ONE_ENGINE = pytest.mark.parametrize("project", ["redis"], indirect=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a process of the app: `start(REDIS_URL=...)`. They share one database."""
    apps: list[App] = []
    database = f"sqlite+aiosqlite:///{tmp_path / 'app.db'}"

    def start(*arguments: str, **environment: str) -> App:
        environment = {"DATABASE_URL": database, **environment}
        apps.append(App(PROJECT, tmp_path / f"app-{len(apps)}", arguments, environment))
        return apps[-1]

    yield start
    for app in apps:
        app.stop()


@pytest.fixture
def launch(project: Path, store: Server, tmp_path: Path) -> Iterator[Launch]:
    """Starts instances that share the store and a database: `launch(PROCESSES="2")`."""
    with ExitStack() as stack:

        def launch(
            program: tuple[str, ...] | None = None, files: int | None = None, **environment: str
        ) -> Instance:
            instance = Instance(
                project, tmp_path, {**store.environment, **environment}, program, files
            )
            stack.callback(instance.kill)
            instance.start()
            return instance

        yield launch
