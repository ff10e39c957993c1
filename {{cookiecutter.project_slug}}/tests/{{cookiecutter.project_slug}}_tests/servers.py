"""What the real servers of the suite have in common."""

from __future__ import annotations

import shutil
import socket
from dataclasses import dataclass
from typing import Any

import pytest

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Server:
    """A running store server.

    `storage` is what settings["pycket"]["storage"] takes; `options` is the same as fields of
    `Settings`.
    """

    storage: dict[str, Any]
    options: dict[str, Any]
    host: str
    port: int


def free_port() -> int:
    """A TCP port of this machine that nothing listens on right now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def need(program: str) -> str:
    """The path of `program`. The test fails, and says what to install, where there is none."""
    path = shutil.which(program)
    if path is None:
        pytest.fail(
            f"{program} is missing; the suite starts a private one. `make test` installs it."
        )
    return path
