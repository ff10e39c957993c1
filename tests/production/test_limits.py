"""Clients that hold connections and never finish: the process goes on answering, and logs little."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..promises.servers import HOST, wait_for
from .conftest import OF_ONE_ENGINE, Launch
from .instance import Instance

FILES = 256
IDLE = 300

pytestmark = [OF_ONE_ENGINE]

# The app with limits that a test can wait for, and a page that takes its time.
PROGRAM = """
import asyncio
from my_tornado_app import __main__ as program, server
from my_tornado_app.handlers.plain import PlainHandler

server.idle_timeout_s, server.body_timeout_s = {limits}

class Slow(PlainHandler):
    async def get(self):
        await asyncio.sleep(5)

def make_app(settings, make=program.make_app):
    app = make(settings)
    app.add_handlers(".*", [("/slow", Slow)])
    return app

program.make_app = make_app
program.main()
"""

UNFINISHED_HEADERS = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
KEPT = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
SLOW = b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n"
CLOSED = b"closed"
BODY_BYTES = 900_000
UNFINISHED_BODY = (
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\n\r\n" % (BODY_BYTES + 1)
)


def program(idle_s: float = 60, body_s: float = 60) -> tuple[str, str]:
    return ("-c", PROGRAM.format(limits=(idle_s, body_s)))


def test_43_300_idle_connections_at_a_limit_of_256_files_leave_the_process_answering(
    launch: Launch,
) -> None:
    app = launch(program(), files=FILES)
    with holding(app, IDLE, b"") as idle, holding(app, IDLE, KEPT):
        for _ in range(20):
            assert app.get("/healthz", timeout_s=2) == 200
            assert app.get("/readyz", timeout_s=2) == 200
        closed = sum(map(is_closed, idle))
        print(f"{closed} of {IDLE} idle connections closed, {open_files(app)} files open")
        assert closed >= IDLE - FILES
        assert open_files(app) < FILES - 16
        assert len(events(app)) == 1
    wait_for(lambda: len(events(app)) == 2, "room")
    assert "the limit of open files is near" in events(app)[0]
    assert "room again" in events(app)[1]


def test_43_300_slow_headers_leave_the_process_answering_and_end_in_time(launch: Launch) -> None:
    app = launch(program(idle_s=2), files=FILES)
    with holding(app, IDLE, UNFINISHED_HEADERS) as slow:
        began = time.monotonic()
        while not all(map(is_closed, slow)):
            for connection in slow:
                if not is_closed(connection):
                    drip(connection)
            assert app.get("/healthz", timeout_s=2) == 200
            assert time.monotonic() < began + 10
    assert len(events(app)) <= 2


def test_43_500_unfinished_bodies_go_away_within_the_timeout(launch: Launch) -> None:
    app = launch(program(body_s=5))
    before = memory(app)
    body = UNFINISHED_BODY + b"x" * BODY_BYTES
    with ThreadPoolExecutor(1) as other, holding(app, 500, body) as unfinished:
        answers = other.submit(lambda: [app.get("/healthz", timeout_s=5) for _ in range(50)])
        most = memory(app)
        began = time.monotonic()
        wait_for(lambda: all(map(is_closed, unfinished)), "the end of the bodies")
        took_s = time.monotonic() - began
        assert set(answers.result()) == {200}
    print(
        f"{most - before} MB held, all gone {took_s:.1f} s after the last; {open_files(app)} files"
    )
    assert open_files(app) < 50
    assert app.get("/readyz") == 200
    assert len(events(app)) <= 500  # one for each body


def test_43_where_every_connection_is_being_answered_healthz_still_is(launch: Launch) -> None:
    app = launch(program(), files=FILES)
    with holding(app, IDLE, SLOW) as slow:
        wait_for(lambda: open_files(app) >= FILES - 40, "many slow requests")
        for _ in range(20):
            assert app.get("/healthz", timeout_s=2) == 200
            assert app.get("/") == 503
        answers = list(map(first_line, slow))
    served, refused, closed = (
        sum(line.startswith(start) for line in answers)
        for start in (b"HTTP/1.1 200", b"HTTP/1.1 503", CLOSED)
    )
    print(f"{served} served, {refused} refused, {closed} closed before their request was read")
    assert served >= FILES - 60
    assert served + refused + closed == IDLE
    assert closed <= 16  # as many as are accepted at once: room for the others
    assert app.get("/") == 200
    wait_for(lambda: len(events(app)) == 2, "room")


def test_the_process_takes_as_many_files_as_it_may(launch: Launch) -> None:
    app = launch()
    limits = Path(f"/proc/{app.pid}/limits").read_text()
    (soft, hard) = next(
        line.split()[3:5] for line in limits.splitlines() if line.startswith("Max open files")
    )
    assert soft == hard


@contextmanager
def holding(app: Instance, count: int, data: bytes) -> Iterator[list[socket.socket]]:
    """So many connections that have sent `data` and wait."""
    with ExitStack() as stack:
        connections = []
        for _ in range(count):
            connection = stack.enter_context(socket.create_connection((HOST, app.port), timeout=10))
            connections.append(connection)
            try:
                connection.sendall(data)
            except OSError:  # it is closed already
                continue
        yield connections


def events(app: Instance) -> list[str]:
    """What it has logged, besides requests that were answered."""
    return [
        line
        for line in app.log.splitlines()
        if "tornado.access" not in line and "Serving on" not in line
    ]


def first_line(connection: socket.socket) -> bytes:
    try:
        return connection.makefile("rb").readline() or CLOSED
    except ConnectionError:
        return CLOSED


def is_closed(connection: socket.socket) -> bool:
    """Whether the app has closed this connection. What it has answered stays."""
    try:
        connection.setblocking(False)
        while data := connection.recv(65536):
            assert data
        return True
    except BlockingIOError:
        return False
    except OSError:
        return True


def drip(connection: socket.socket) -> None:
    try:
        connection.send(b"x")
    except OSError:  # it was closed just now
        return


def open_files(app: Instance) -> int:
    return len(list(Path(f"/proc/{app.pid}/fd").iterdir()))


def memory(app: Instance) -> int:
    """In MB."""
    pages = int(Path(f"/proc/{app.pid}/statm").read_text().split()[1])
    return pages * 4096 // 1_000_000
