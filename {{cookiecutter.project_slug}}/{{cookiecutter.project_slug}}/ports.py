"""TCP ports that the app listens on: `PORT`, and `METRICS_PORT` where it is set. `__main__` asks."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from tornado.netutil import bind_sockets

from .sessions import ConfigurationError
from .settings import Settings


def listen(settings: Settings, option: str, *, shared: bool) -> list[socket.socket]:
    """Listen on the port that a setting names. Raises ConfigurationError.

    Where processes share a port, each has a socket of its own, and the kernel spreads the
    connections evenly; with one socket for all, a few busy connections end up with one process.
    """
    with _faults(settings, option):
        return bind_sockets(getattr(settings, option), settings.address, reuse_port=shared)


def check_free(settings: Settings, option: str) -> None:
    """See that nobody else listens: a port that can be shared is shared with strangers, too."""
    with _faults(settings, option):
        for family, kind, protocol, _, address in socket.getaddrinfo(
            settings.address or None,
            getattr(settings, option),
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE,
        ):
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(address)


@contextmanager
def _faults(settings: Settings, option: str) -> Iterator[None]:
    name, port, address = option.upper(), getattr(settings, option), settings.address
    try:
        yield
        return
    except UnicodeError:
        fault = "this is no host name: write an ADDRESS of this machine, such as 127.0.0.1"
    except OSError as error:
        match error.errno:
            case errno.EADDRINUSE:
                cure = f"stop what listens there, or write {name}={port + 1}"
                fault = f"port {port} is in use: {cure}"
            case errno.EACCES | errno.EPERM:
                fault = f"port {port} is not permitted: write one above 1023, as in {name}=8888"
            case _:
                fault = f"{error.strerror}: write an ADDRESS of this machine, such as 127.0.0.1"
    raise ConfigurationError([f"Cannot listen on {address}: {fault}"])
