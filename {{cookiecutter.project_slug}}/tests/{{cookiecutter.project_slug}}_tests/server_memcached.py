"""A private memcached for the suite: on a free port, gone when the suite ends.

Nothing is ever flushed: each test keeps to itself by a random key prefix (see `key_prefix` in
conftest.py).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from mirakuru import TCPExecutor

from .servers import HOST, Server, free_port, need


def storage_at(port: int) -> dict[str, Any]:
    return {"servers": [f"{HOST}:{port}"]}


@pytest.fixture
def unused_storage() -> dict[str, Any]:
    """The storage of a server that is not there."""
    return storage_at(free_port())


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    port = free_port()
    command = [need("memcached"), "-l", HOST, "-p", str(port), "-U", "0"]
    if os.geteuid() == 0:
        command += [
            "-u",
            "root",
        ]  # memcached refuses to run as root unless told to (containers, CI)
    with TCPExecutor(
        command, host=HOST, port=port, timeout=10, sleep=0.02, stdin=None, stdout=subprocess.DEVNULL
    ):
        yield Server(
            storage=storage_at(port),
            options={"memcached_servers": (f"{HOST}:{port}",)},
            host=HOST,
            port=port,
        )


@pytest.fixture
def nowhere() -> dict[str, str]:
    """The environment of an app whose store does not answer."""
    return {"MEMCACHED_SERVERS": f"{HOST}:{free_port()}"}
