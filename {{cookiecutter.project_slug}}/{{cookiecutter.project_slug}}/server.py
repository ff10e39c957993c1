"""The HTTP server: it outlives clients that only hold connections, and ends without losing a request.

Tornado's own server would wait an hour for the next request of a connection, and for ever for the
rest of a body. At the limit of open files it would try to accept, fail and log that, thousands of
times a second.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import enum
import logging
import os
import resource
import socket
import struct
import sys
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.ioloop import IOLoop
from tornado.iostream import IOStream

# How long a connection may wait for its next request, headers included. A proxy must give up first,
# or it sends a request just as this server closes: nginx does after 60 s.
idle_timeout_s = 75.0
body_timeout_s = 30.0  # for the body of a request; raise it when you accept uploads
max_files = 65_536  # where the system has no limit
spare_files = 32  # what connections leave to the database, the store, the log and to `always`
always = ("/healthz",)  # answered when files have run out, so that nobody restarts a busy process
max_accepts = 16  # at once, before requests have their turn
look_again_s = 0.5  # whether there are enough files again
handshake_s = 0.02  # between a client's first packet and the end of its handshake
first_request_s = 1.0  # for a new connection to send it, at the end

log = logging.getLogger(__name__)


class _Waits(enum.Enum):
    """What for. A connection whose request is being answered waits for nothing."""

    FIRST_REQUEST = enum.auto()
    NEXT_REQUEST = enum.auto()
    REST_OF_REQUEST = enum.auto()


@dataclass(frozen=True)
class _Waiting:
    stream: IOStream
    what: _Waits


class Server(HTTPServer):
    """An HTTPServer that closes what waits too long, and what has waited longest when files run out.

    Takes HTTPServer's options except `ssl_options`: HTTPS is the proxy's.
    """

    sockets_stay = False
    """Whether the sockets stay open elsewhere when this server stops, as systemd's do: what waits in
    them is for the process that comes next.
    """

    def initialize(self, app: Any, **options: Any) -> None:  # type: ignore[override]
        super().initialize(
            app,
            **{
                "idle_connection_timeout": idle_timeout_s,
                "body_timeout": body_timeout_s,
                **options,
            },
        )
        if self.ssl_options is not None:
            raise TypeError("this server speaks no HTTPS: put a proxy in front that does")
        self._listening: list[socket.socket] = []
        # In the order in which they began to wait.
        self._waiting: dict[object, _Waiting] = {}
        self._answering: set[object] = set()
        self._is_paused = False
        self._is_crowded = False

    # --- Accepting

    def add_sockets(self, sockets: Iterable[socket.socket]) -> None:
        """Accept connections from these sockets."""
        # A new connection has the lowest number that is free.
        self._last_file = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - spare_files
        self._loop = IOLoop.current()
        self._listening += sockets
        self._resume()

    def _resume(self) -> None:
        self._is_paused = False
        for listening in self._listening:
            self._loop.add_handler(listening, self._accept, IOLoop.READ)

    def _pause(self) -> None:
        self._is_paused = True
        for listening in self._listening:
            self._loop.remove_handler(listening)

    def _accept(self, listening: socket.socket, _: int) -> None:
        for _ in range(max_accepts):
            try:
                connection, address = listening.accept()
            except ConnectionAbortedError:  # by the client, while it was in the queue
                continue
            except BlockingIOError:
                return
            except OSError as error:  # no files, or no memory
                if not self._make_room(error.strerror or str(error)):
                    self._pause()
                return
            self._serve(connection, address)
            number = connection.fileno()
            # The lowest number was free: one closed connection makes room for this one alone.
            if not self._is_crowded and number < self._last_file:
                continue
            has_room = self._make_room("the limit of open files is near")
            if not has_room and number >= self._last_file + spare_files // 2:
                self._pause()
                return

    def _accept_all(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):  # BlockingIOError: that was all
            while True:
                self._serve(*listening.accept())

    def _serve(self, connection: socket.socket, address: Any) -> None:
        self.handle_stream(IOStream(connection, max_buffer_size=self.max_buffer_size), address)

    def _make_room(self, why: str) -> bool:
        """Close the connection that has waited longest. If all are being answered, return False."""
        if not self._is_crowded:
            self._is_crowded = True
            log.warning("%s: closing the connections that wait longest", why)
            self._loop.call_later(look_again_s, self._look_again)
        for waiting in self._waiting.values():
            if not waiting.stream.closed():
                waiting.stream.close()
                return True
        return False

    def _look_again(self) -> None:
        if not self._listening:
            return
        count = open_files()
        if self._is_paused and count < self._last_file:
            self._resume()
        if count < self._last_file - spare_files:
            self._is_crowded = False
            log.warning("%d files are open: connections have room again", count)
        else:
            self._loop.call_later(look_again_s, self._look_again)

    # --- What connections are at

    def start_request(
        self, server_conn: object, request_conn: HTTPConnection
    ) -> HTTPMessageDelegate:
        # Tornado calls this before it reads the request, and on_close at the end of the connection.
        delegate = super().start_request(server_conn, request_conn)
        # HTTPConnection declares no stream, HTTP1Connection has one.
        stream: IOStream = request_conn.stream  # type: ignore[attr-defined]
        is_first = server_conn not in self._answering
        self._answering.discard(server_conn)
        what = _Waits.FIRST_REQUEST if is_first else _Waits.NEXT_REQUEST
        self._waiting[server_conn] = _Waiting(stream, what)
        return _Watched(delegate, self, server_conn, request_conn)

    def is_beyond_limit(self, server_conn: object) -> bool:
        """Whether this is one of the connections that are only asked whether the process lives."""
        return self._waiting[server_conn].stream.socket.fileno() >= self._last_file

    def on_headers(self, server_conn: object) -> None:
        if waiting := self._waiting.pop(server_conn, None):
            self._waiting[server_conn] = _Waiting(waiting.stream, _Waits.REST_OF_REQUEST)

    def on_request(self, server_conn: object) -> None:
        if self._waiting.pop(server_conn, None):
            self._answering.add(server_conn)

    def on_close(self, server_conn: object) -> None:
        self._waiting.pop(server_conn, None)
        self._answering.discard(server_conn)
        super().on_close(server_conn)

    # --- The end

    def drain(self) -> None:
        """From now on, let connections end with their next answer, which says so."""
        self.conn_params.no_keep_alive = True

    async def refuse_connections(self) -> None:
        """Stop listening. Connections that have begun until now are kept."""
        if not self.sockets_stay:
            for listening in self._listening:
                _drop_new_connections(listening)
            await asyncio.sleep(handshake_s)
        self.stop()

    def stop(self) -> None:
        if not self._is_paused:
            self._pause()
        listening, self._listening = self._listening, []
        for each in listening:
            # What waits in its queue has been told that it is connected: closing would reset it.
            if not self.sockets_stay:
                self._accept_all(each)
            each.close()
        super().stop()

    async def wait_for_requests(self, timeout_s: float) -> None:
        """Wait until each request that has begun to arrive has arrived, at most `timeout_s`."""
        began = self._loop.time()
        while (now := self._loop.time()) < began + timeout_s:
            awaited = {_Waits.REST_OF_REQUEST}
            if now < began + first_request_s:
                awaited.add(_Waits.FIRST_REQUEST)
            if awaited.isdisjoint(waiting.what for waiting in self._waiting.values()):
                return
            await asyncio.sleep(0.02)


class _Watched(HTTPMessageDelegate):
    """Tells the server how far a request has arrived. Where files run out it is refused."""

    def __init__(
        self,
        delegate: HTTPMessageDelegate,
        server: Server,
        server_conn: object,
        request_conn: HTTPConnection,
    ) -> None:
        self._delegate: HTTPMessageDelegate = delegate
        self._server = server
        self._server_conn = server_conn
        self._request_conn = request_conn

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        assert isinstance(start_line, RequestStartLine)
        self._server.on_headers(self._server_conn)
        if self._server.is_beyond_limit(self._server_conn) and start_line.path not in always:
            self._delegate = HTTPMessageDelegate()  # which does nothing
            self._request_conn.write_headers(_BUSY, HTTPHeaders(_BUSY_HEADERS))
            self._request_conn.finish()
            return None
        return self._delegate.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        return self._delegate.data_received(chunk)

    def finish(self) -> None:
        self._server.on_request(self._server_conn)
        self._delegate.finish()

    def on_connection_close(self) -> None:
        self._delegate.on_connection_close()


_BUSY = ResponseStartLine("HTTP/1.1", 503, "Service Unavailable")
_BUSY_HEADERS = {"Connection": "close", "Content-Length": "0", "Retry-After": "2"}


def raise_file_limit() -> None:
    """Allow this process as many open files as the system lets it: each connection takes one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = max(soft, max_files)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:
        log.warning("the limit of open files stays at %d: %s", soft, error)


def open_files() -> int:
    """Return how many files and sockets this process has open."""
    try:
        return len(os.listdir("/dev/fd"))  # noqa: PTH208 - names are enough
    except OSError:  # not even for this one
        return sys.maxsize


def _drop_new_connections(listening: socket.socket) -> None:
    """Have the kernel drop the first packet of new connections, as if it were lost: clients send it
    again, and find nobody listening. Without this, some would be connected, and reset, between the
    last accept and the close.
    """
    if sys.platform != "linux":
        return
    filter_program = array.array("B", b"".join(struct.pack("HBBI", *line) for line in _NO_SYN))
    address, _ = filter_program.buffer_info()
    attached = struct.pack("HP", len(_NO_SYN), address)
    with contextlib.suppress(OSError):  # a sandbox may lack it
        listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, attached)


_SO_ATTACH_FILTER = 26
# See bpf(4) or man 7 socket: code, jump if true, jump if false, value.
_NO_SYN = (
    (0x30, 0, 0, 13),  # take byte 13 of the TCP header: its flags
    (0x45, 0, 1, 0x02),  # SYN?
    (0x06, 0, 0, 0),  # drop the packet
    (0x06, 0, 0, 0xFFFFFFFF),  # keep it
)
