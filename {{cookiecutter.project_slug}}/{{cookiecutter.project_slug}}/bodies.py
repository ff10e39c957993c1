"""How much a request may carry. What is larger gets the app's own page, with status 413.

The limit is MAX_BODY_BYTES. A handler that takes more says so, and streams it to where it belongs:

    @stream_request_body
    class UploadHandler(BaseHandler):
        max_body_bytes = 20 * 1024 * 1024

application.py puts a `BoundedBody` before every handler, so that the limit is the same under every
server. Tornado's own closes the connection without a word, and people see an error of their browser.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable

from tornado.http1connection import HTTP1Connection
from tornado.httputil import (
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.web import RequestHandler

max_discarded_bytes = 64 * 1024 * 1024
"""How much of what is over the limit is read, and dropped, before the answer. Most browsers look at
an answer only when they have sent everything; a connection that is closed before looks broken."""


class BoundedBody(HTTPMessageDelegate):
    """Hands a request on to `accept`, or, when its body is larger than `max_bytes`, to `refuse`.

    `refuse` is for a handler with @stream_request_body, which answers when it sees the headers.
    """

    def __init__(
        self,
        request: HTTPServerRequest,
        handler_class: type[RequestHandler],
        max_bytes: int,
        *,
        accept: HTTPMessageDelegate,
        refuse: HTTPMessageDelegate,
    ) -> None:
        self.handler_class = handler_class
        self._request = request
        self._max_bytes = max_bytes
        self._accept = accept
        self._refuse = refuse
        self._received = 0
        self._is_refused = self._is_answered = False

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        if isinstance(self._request.connection, HTTP1Connection):
            self._request.connection.set_max_body_size(sys.maxsize)  # it is counted here
        length = _content_length(headers)
        if length <= self._max_bytes:
            return self._accept.headers_received(start_line, headers)
        self._is_refused = True
        # Who asks before sending ("Expect: 100-continue") is told at once.
        if "Expect" in headers or length > self._max_bytes + max_discarded_bytes:
            return self._answer()
        return None

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        self._received += len(chunk)
        if not self._is_refused:
            if self._received <= self._max_bytes:
                return self._accept.data_received(chunk)
            # It came in chunks, without a length. For the handler, the client has gone.
            self._is_refused = True
            self._accept.on_connection_close()
        elif self._received > self._max_bytes + max_discarded_bytes and not self._is_answered:
            return self._answer()
        return None

    def finish(self) -> None:
        if not self._is_refused:
            self._accept.finish()
        elif not self._is_answered:
            self._answer()

    def on_connection_close(self) -> None:
        if not self._is_refused:
            self._accept.on_connection_close()

    def _answer(self) -> Awaitable[None] | None:
        self._is_answered = True
        start_line = RequestStartLine(
            self._request.method or "", self._request.path, self._request.version
        )
        return self._refuse.headers_received(start_line, self._request.headers)


def _content_length(headers: HTTPHeaders) -> int:
    """Return the length that a request has said; 0 where it has not, or where Tornado refuses it."""
    try:
        return int(headers.get("Content-Length", "0"))
    except ValueError:
        return 0
