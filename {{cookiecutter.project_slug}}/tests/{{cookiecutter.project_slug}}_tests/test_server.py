"""Clients that hold connections and never finish."""

from __future__ import annotations

import signal
import socket
from contextlib import ExitStack

import pytest

from .conftest import Start
from .servers import HOST
from .test_processes import get, read_until

# The app with few files, and limits that a test can wait for.
PROGRAM = """
import resource
from {{cookiecutter.project_slug}} import __main__ as program, server
resource.setrlimit(resource.RLIMIT_NOFILE, (96, 96))
server.idle_timeout_s, server.body_timeout_s = {limits}
program.main()
"""

UNFINISHED_HEADERS = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
UNFINISHED_BODY = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\ntext="


def test_43_more_idle_connections_than_files_leave_the_process_answering(
    start: Start,
) -> None:
    app = start(program=["-c", PROGRAM.format(limits=(60, 60))])
    read_until(app, "Serving on")
    with ExitStack() as idle:
        for _ in range(120):
            idle.enter_context(socket.create_connection((HOST, app.port)))
        for _ in range(10):
            assert get(app, "/healthz") == 200
    app.send(signal.SIGTERM)
    status, output = app.end()
    assert status == 0
    assert output.count("the limit of open files is near") == 1
    assert "Traceback" not in output


@pytest.mark.parametrize("begun", [b"", UNFINISHED_HEADERS, UNFINISHED_BODY])
def test_43_a_request_that_never_ends_goes_away(
    start: Start,
    begun: bytes,
) -> None:
    app = start(program=["-c", PROGRAM.format(limits=(0.2, 0.2))])
    read_until(app, "Serving on")
    with socket.create_connection((HOST, app.port), timeout=10) as connection:
        connection.sendall(begun)
        assert connection.recv(1) == b""
