"""Requests that go into an application where Tornado's HTTP server would hand them over, so that no
socket slows them down or changes their order.
"""

from __future__ import annotations

import asyncio
from typing import Any

from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPInputError,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.web import Application


class Connection(HTTPConnection):
    """Takes what the app answers."""

    def __init__(self) -> None:
        self.answered: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.headers = HTTPHeaders()
        self.body = b""
        self._status = 0
        self.no_keep_alive = True
        self.context = self
        self.remote_ip = "127.0.0.1"
        self.protocol = "https"

    def set_close_callback(self, callback: Any) -> None:
        pass

    def write_headers(
        self, start_line: Any, headers: HTTPHeaders, chunk: bytes | None = None
    ) -> asyncio.Future[None]:
        assert isinstance(start_line, ResponseStartLine)
        self._status, self.headers = start_line.code, headers
        self.body += chunk or b""
        return _done()

    def write(self, chunk: bytes) -> asyncio.Future[None]:
        self.body += chunk
        return _done()

    def finish(self) -> None:
        self.answered.set_result(self._status)


def _done() -> asyncio.Future[None]:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.set_result(None)
    return future


async def send(
    application: Application, method: str, path: str, headers: dict[str, str], body: bytes = b""
) -> Connection:
    """Return the connection with the answer."""
    connection = Connection()
    delegate = application.start_request(connection, connection)
    head = HTTPHeaders({"Host": "localhost", "Content-Length": str(len(body)), **headers})
    try:
        waiting = delegate.headers_received(RequestStartLine(method, path, "HTTP/1.1"), head)
        if waiting is not None:
            await waiting
        if body:
            waiting = delegate.data_received(body)
            if waiting is not None:
                await waiting
        delegate.finish()
    except HTTPInputError:  # Tornado's HTTP server answers 400
        connection.answered.set_result(400)
    await connection.answered
    return connection
