"""Sockets that systemd opens in place of the app, and keeps open while it restarts.

Connections wait in them meanwhile, so that a restart loses none: see deploy/. `__main__` asks.
https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html
"""

from __future__ import annotations

import os
import socket

_FIRST = 3  # what comes before is standard input, output and error


def inherited_sockets() -> list[socket.socket]:
    """Return the sockets that this process, or its parent before a fork, was started with."""
    # Variables that another program was meant to get name another process.
    if os.environ.get("LISTEN_PID") not in (str(os.getpid()), str(os.getppid())):
        return []
    numbers = range(_FIRST, _FIRST + int(os.environ.get("LISTEN_FDS", "0")))
    sockets = [socket.socket(fileno=number) for number in numbers]
    for each in sockets:
        each.setblocking(False)
        each.set_inheritable(False)
    return sockets
