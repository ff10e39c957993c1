"""Two generated projects on one machine: they share a store and a browser, and leave each other be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import ENGINES, Bake
from .promises.servers import Server, started
from .security.process import App, Visitor

pytestmark = pytest.mark.slow


@pytest.fixture(params=ENGINES)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with started(request.param) as server:
        yield server


@pytest.mark.parametrize("debug", ["true", "false"])
def test_two_projects_share_a_store_and_a_browser_and_nobody_is_logged_out(
    bake: Bake, tmp_path: Path, server: Server, debug: str
) -> None:
    environment = {**server.environment, "SESSION_ENGINE": server.engine, "DEBUG": debug}
    names = ("harbour", "lighthouse")
    apps = [
        App(
            bake(engine=server.engine, project_slug=name),
            tmp_path / f"run-{name}",
            environment=environment,
        )
        for name in names
    ]
    try:
        harbour, lighthouse = (Visitor(app) for app in apps)
        lighthouse.jar = harbour.jar  # cookies ignore ports
        assert harbour.register("ada").status == 303
        assert lighthouse.register("grace").status == 303
        assert harbour.logged_in
        assert lighthouse.logged_in
        assert "ada" in harbour.get("/account").text
        assert "grace" in lighthouse.get("/account").text
        assert harbour.post("/logout").status == 303
        assert not harbour.logged_in
        assert lighthouse.logged_in
    finally:
        for app in apps:
            app.stop()
