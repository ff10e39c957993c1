"""An HTTP server that believes X-Forwarded-* headers only from proxies it was told to trust.

Tornado's `xheaders=True` believes whoever connects, and lets X-Real-Ip overrule X-Forwarded-For:
any visitor could choose the address that the login throttle counts. This server removes what cannot
be trusted before Tornado looks.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Iterable
from typing import Any

from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    RequestStartLine,
    ResponseStartLine,
)

from .server import Server

# A proxy sets or extends the first. The others it may pass on as the visitor wrote them, and
# Tornado prefers them.
_FORWARDED = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Request-ID")
_NEVER = ("X-Real-Ip", "X-Scheme")


def make_server(app: Any, trusted_proxies: tuple[str, ...], **options: Any) -> Server:
    """Return a server for `app`; `options` are those of HTTPServer. `trusted_proxies` are addresses
    and networks; without any no such header is believed.
    """
    if not trusted_proxies:
        return Server(app, **options)
    server = _BehindProxies(app, xheaders=True, **options)
    server.networks = _Networks(trusted_proxies)
    return server


class _Networks:
    """A container of IP addresses; Tornado itself takes single ones only."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = [ipaddress.ip_network(each, strict=False) for each in networks]

    def __contains__(self, address: str) -> bool:
        try:
            found = ipaddress.ip_address(address)
        except ValueError:  # X-Forwarded-For holds what a visitor has written, too
            return False
        if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
            found = found.ipv4_mapped
        return any(found in network for network in self._networks)


class _BehindProxies(Server):
    networks: _Networks

    def start_request(
        self, server_conn: object, request_conn: HTTPConnection
    ) -> HTTPMessageDelegate:
        delegate = super().start_request(server_conn, request_conn)
        # Between requests of a connection Tornado puts the peer's own address back: this is not a
        # forwarded one.
        # HTTPConnection declares no context, HTTP1Connection has one.
        context = request_conn.context  # type: ignore[attr-defined]
        context.trusted_downstream = self.networks
        return _Cleaned(delegate, trusted=context.remote_ip in self.networks)


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
