"""A private redis-server for the suite: on a free port, without a disk, gone when the suite ends.

Nothing is ever flushed: each test keeps to itself by a random key prefix (see `key_prefix` in
conftest.py).
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mirakuru import TCPExecutor

from .servers import HOST, Server, free_port, need


def storage_at(port: int) -> dict[str, Any]:
    return {"host": HOST, "port": port}


@pytest.fixture
def unused_storage() -> dict[str, Any]:
    """The storage of a server that is not there."""
    return storage_at(free_port())


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    port = free_port()
    directory: Path = tmp_path_factory.mktemp("redis")
    command = [need("redis-server"), "--bind", HOST, "--port", str(port), "--dir", str(directory)]
    command += ["--save", "", "--appendonly", "no", "--loglevel", "warning"]
    with TCPExecutor(
        command, host=HOST, port=port, timeout=10, sleep=0.02, stdin=None, stdout=subprocess.DEVNULL
    ):
        yield Server(
            storage=storage_at(port),
            options={"redis_url": f"redis://{HOST}:{port}"},
            host=HOST,
            port=port,
        )


@pytest.fixture
def nowhere() -> dict[str, str]:
    """The environment of an app whose store does not answer."""
    return {"REDIS_URL": f"redis://{HOST}:{free_port()}"}
