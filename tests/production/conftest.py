"""The generated app as a process, on stores of the size that people run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..promises.generated import PROJECT
from ..security.process import App, Start

HERE = Path(__file__).parent


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
