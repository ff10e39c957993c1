"""Signals, and what several processes do when one of them ends."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import time
from collections.abc import Callable
from http.client import HTTPConnection
from typing import Any

import pytest

from .app_process import SLOW, Process
from .conftest import Start
from .servers import HOST, Server

# The tests themselves may have been started with nohup, which ignores it.
HANGUP = "import signal; signal.signal(signal.SIGHUP, signal.{})\n"

StartTwo = Callable[[], tuple[Process, list[int]]]


@pytest.fixture
def serve(start: Start) -> Start:
    """Starts the app with the slow page, and waits until it serves."""

    def serve(**environ: str) -> Process:
        app = start(program=["-c", HANGUP.format("SIG_DFL") + SLOW], **environ)
        read_until(app, "serving")
        return app

    return serve


@pytest.fixture
def serve_two(start: Start, server: Server) -> StartTwo:
    """Starts two processes, and returns them with the ids of the two."""

    def serve_two() -> tuple[Process, list[int]]:
        app = start(program=["-c", SLOW], PROCESSES="2", **store(server))
        return app, [serving(app), serving(app)]

    return serve_two


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_each_signal_that_ends_the_app_lets_a_request_finish(
    serve: Start, number: signal.Signals
) -> None:
    app = serve()
    connection = ask(app, "/slow?seconds=0.5")
    read_until(app, "asked")
    app.send(number)
    response = connection.getresponse()
    assert (response.read(), response.headers["Connection"]) == (b"done", "close")
    assert app.end()[0] == 0


def test_a_second_signal_ends_the_app_at_once(serve: Start) -> None:
    app = serve()
    connection = ask(app, "/slow?seconds=60")
    read_until(app, "asked")
    app.send(signal.SIGTERM)
    read_until(app, "stopping")
    app.send(signal.SIGINT)
    assert app.wait() == -signal.SIGINT
    connection.close()


def test_a_second_signal_ends_all_processes_at_once(serve_two: StartTwo) -> None:
    app, pids = serve_two()
    connection = ask(app, "/slow?seconds=60")
    read_until(app, "asked")
    app.send(signal.SIGTERM)
    read_until(app, "stopping")
    app.send(signal.SIGTERM)
    assert app.wait() == 1
    wait_for(lambda: not any(map(is_alive, pids)))
    connection.close()


def test_a_program_that_nohup_started_outlives_its_terminal(start: Start) -> None:
    app = start(program=["-c", HANGUP.format("SIG_IGN") + SLOW])
    read_until(app, "Serving on")
    app.send(signal.SIGHUP)
    app.send(signal.SIGHUP)
    assert get(app, "/healthz") == 200
    app.send(signal.SIGTERM)
    assert app.end()[0] == 0


def test_uvloop_serves_and_ends_in_good_order(start: Start) -> None:
    app = start(program=["-c", SLOW], UVLOOP="true")
    read_until(app, "serving")
    connection = ask(app, "/slow?seconds=0.3")
    assert "uvloop" in read_until(app, "asked")
    app.send(signal.SIGTERM)
    assert connection.getresponse().read() == b"done"
    assert app.end()[0] == 0


def test_during_the_grace_the_app_serves_while_readyz_sends_visitors_elsewhere(
    serve: Start,
) -> None:
    app = serve(GRACE="60")
    kept = HTTPConnection(HOST, app.port, timeout=5)
    assert get(app, "/readyz", kept) == 200
    app.send(signal.SIGTERM)
    read_until(app, "stopping")
    assert get(app, "/readyz") == 503
    assert get(app, "/") == 200
    kept.request("GET", "/")
    response = kept.getresponse()
    assert (response.status, response.headers["Connection"]) == (200, "close")
    response.read()
    app.send(signal.SIGTERM)
    assert app.wait() == -signal.SIGTERM


def test_a_request_that_is_still_arriving_is_waited_for(serve: Start) -> None:
    app = serve()
    with socket.create_connection((HOST, app.port), timeout=5) as connection:
        connection.sendall(
            b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\n\r\ntext="
        )
        assert get(app, "/healthz") == 200  # by now the headers have arrived as well
        app.send(signal.SIGTERM)
        read_until(app, "stopping")
        wait_for(lambda: get(app, "/healthz") == 0)  # it has stopped listening
        connection.sendall(b"note")
        assert connection.recv(65536).startswith(b"HTTP/1.1 303 ")
    assert app.end()[0] == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_ends_alone_is_started_again(
    serve_two: StartTwo, number: signal.Signals
) -> None:
    app, (one, other) = serve_two()
    os.kill(one, number)
    how = "was killed by SIGKILL" if number == signal.SIGKILL else "ended with 0"
    read_until(app, f"(pid {one}) {how}; starting it again in 0.1 s")
    assert serving(app) not in (one, other)
    app.send(signal.SIGTERM)
    status, output = app.end()
    assert status == 0
    assert "starting it again" not in output
    assert not is_alive(other)


def test_processes_whose_parent_is_killed_end_as_well(serve_two: StartTwo) -> None:
    app, pids = serve_two()
    app.send(signal.SIGKILL)
    wait_for(lambda: not any(map(is_alive, pids)))


# A process that ends as soon as it has started, as where a file of its own is broken.
CRASHING = """
import os, time
from {{cookiecutter.project_slug}} import logs, processes
logs.configure(debug=False)
processes.first_delay_s, processes.longest_delay_s = {delays}
processes.fork(1, patience_s=1)
print("started", time.monotonic(), flush=True)
os._exit(3)
"""


def test_a_process_that_crashes_over_and_over_is_started_ever_more_rarely(
    start: Start,
) -> None:
    app = start(program=["-c", CRASHING.format(delays="0.02, 0.16")])
    times: list[float] = []
    lines: list[str] = []
    while len(times) < 7:
        line = app.first_line()
        if line.startswith("started "):
            times.append(float(line.split()[1]))
        else:
            lines.append(line)
    app.send(signal.SIGTERM)
    assert app.end()[0] == 0
    waits = [after - before for before, after in itertools.pairwise(times)]
    for waited, least in zip(waits, [0.02, 0.04, 0.08, 0.16, 0.16, 0.16], strict=True):
        assert waited >= least
    assert len(lines) == 6
    assert "ended with 3; starting it again in 0.2 s" in lines[-1]


def test_hundreds_of_crashes_do_not_end_the_parent(start: Start) -> None:
    app = start(program=["-c", CRASHING.format(delays="0.0, 0.0")])
    for _ in range(120):
        read_until(app, "started")
    app.send(signal.SIGTERM)
    assert app.end()[0] == 0


def test_an_app_that_a_test_waits_for_in_vain_lets_its_port_go(start: Start) -> None:
    app = start()
    read_until(app, "Serving on")
    with pytest.raises(AssertionError, match="it goes on"):
        app.wait(timeout_s=0.01)
    assert get(app, "/healthz") == 0


def test_a_port_that_others_share_is_in_use(server: Server, start: Start) -> None:
    with socket.create_server((HOST, 0), reuse_port=True) as taken:
        port = taken.getsockname()[1]
        status, output = start(PORT=str(port), PROCESSES="2", **store(server)).end()
    assert status == 1
    assert f"port {port} is in use" in output


def read_until(app: Process, words: str) -> str:
    while words not in (line := app.first_line()):
        assert line, f"it ended before it said {words!r}"
    return line


def ask(app: Process, path: str) -> HTTPConnection:
    connection = HTTPConnection(HOST, app.port, timeout=10)
    connection.request("GET", path)
    return connection


def get(app: Process, path: str, connection: HTTPConnection | None = None) -> int:
    """The status, or 0 where nobody listens."""
    kept = connection is not None
    connection = connection or HTTPConnection(HOST, app.port, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
    except OSError:
        return 0
    if not kept:
        connection.close()
    return response.status


def serving(app: Process) -> int:
    """The id of the next process that says that it serves."""
    return int(read_until(app, "serving").split()[1])


def store(server: Server) -> dict[str, str]:
    ((name, where),) = server.options.items()
    where = where if isinstance(where, str) else ",".join(where)
    return {name.upper(): where, "SESSION_ENGINE": "{{cookiecutter.engine}}"}


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(condition: Callable[[], Any], timeout_s: float = 10) -> None:
    due = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < due, "it took too long"
        time.sleep(0.01)
