"""Processes that share a port share the work."""

from __future__ import annotations

from pathlib import Path

from .conftest import OF_ONE_ENGINE, Launch
from .test_limits import KEPT, holding

CONNECTIONS = 64


@OF_ONE_ENGINE
def test_two_processes_share_the_connections_that_a_proxy_keeps(launch: Launch) -> None:
    app = launch(PROCESSES="2")
    before = [_files(pid) for pid in app.children]
    with holding(app, CONNECTIONS, KEPT) as connections:
        for connection in connections:
            assert connection.recv(1) == b"H"  # the first byte of an answer
        shares = [_files(pid) - idle for pid, idle in zip(app.children, before, strict=True)]
    print(f"{CONNECTIONS} connections: {shares}")
    # By chance, one process gets fewer than 12 of 64 once in ten million times.
    assert min(shares) >= 12


def _files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
