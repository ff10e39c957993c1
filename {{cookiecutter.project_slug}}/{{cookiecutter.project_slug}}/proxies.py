"""An HTTP server that believes X-Forwarded-* headers only from proxies it was told to trust.

Tornado's `xheaders=True` believes whoever connects, and lets X-Real-Ip overrule X-Forwarded-For:
any visitor could choose the address that the login throttle counts. This server removes what cannot
be trusted before Tornado looks.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    RequestStartLine,
    ResponseStartLine,
)

# A proxy sets or extends the first. The others it may pass on as the visitor wrote them, and
# Tornado prefers them.
_FORWARDED = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Request-ID")
_NEVER = ("X-Real-Ip", "X-Scheme")


def make_server(app: Any, trusted_proxies: tuple[str, ...], **options: Any) -> HTTPServer:
    """Return a server for `app`; `options` are those of HTTPServer. Without proxies no such header
    is believed.
    """
    if not trusted_proxies:
        return HTTPServer(app, **options)
    return _BehindProxies(app, xheaders=True, trusted_downstream=list(trusted_proxies), **options)


class _BehindProxies(HTTPServer):
    def start_request(
        self, server_conn: object, request_conn: HTTPConnection
    ) -> HTTPMessageDelegate:
        delegate = super().start_request(server_conn, request_conn)
        # Between requests of a connection Tornado puts the peer's own address back: this is not a
        # forwarded one.
        # HTTPConnection declares no context, HTTP1Connection has one.
        peer: str = request_conn.context.remote_ip  # type: ignore[attr-defined]
        return _Cleaned(delegate, trusted=peer in (self.trusted_downstream or ()))


class _Cleaned(HTTPMessageDelegate):
    """Hands on a request without the headers that its sender had no right to set."""

    def __init__(self, delegate: HTTPMessageDelegate, *, trusted: bool) -> None:
        self._delegate = delegate
        self._untrusted = _NEVER if trusted else _NEVER + _FORWARDED

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        for name in self._untrusted:
            headers.pop(name, None)
        return self._delegate.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        return self._delegate.data_received(chunk)

    def finish(self) -> None:
        self._delegate.finish()

    def on_connection_close(self) -> None:
        self._delegate.on_connection_close()
