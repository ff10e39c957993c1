"""Sockets from systemd: the app serves them, and what arrives during a restart is answered."""

from __future__ import annotations

import http.client
import os
import signal
import socket

import pytest

from {{cookiecutter.project_slug}}.socket_activation import inherited_sockets

from .conftest import Start
from .servers import HOST

# What systemd does: the socket is file 3, and the variables name the process.
AS_SYSTEMD = """
import os, runpy, sys
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
sys.argv = ["{{cookiecutter.project_slug}}"]
runpy.run_module("{{cookiecutter.project_slug}}", run_name="__main__")
"""


def test_a_request_that_arrives_during_a_restart_is_answered_after_it(start: Start) -> None:
    with socket.create_server((HOST, 0)) as listening:
        port = listening.getsockname()[1]
        run = {"program": ["-c", AS_SYSTEMD], "files": [listening.fileno()]}
        first = start(**run)
        assert first.first_line().startswith("Serving on")
        assert get(port) == 200
        first.send(signal.SIGTERM)
        assert first.end()[0] == 0

        waiting = http.client.HTTPConnection(HOST, port, timeout=30)
        waiting.request("GET", "/healthz")
        second = start(**run)
        assert waiting.getresponse().status == 200
        waiting.close()
        second.send(signal.SIGTERM)
        assert second.end()[0] == 0


def get(port: int) -> int:
    connection = http.client.HTTPConnection(HOST, port, timeout=30)
    connection.request("GET", "/healthz")
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.mark.parametrize("pid", ["", "1"])
def test_sockets_that_are_meant_for_another_process_are_left_alone(
    monkeypatch: pytest.MonkeyPatch, pid: str
) -> None:
    monkeypatch.setenv("LISTEN_PID", pid if os.getppid() != 1 else "")
    monkeypatch.setenv("LISTEN_FDS", "1")
    assert inherited_sockets() == []
