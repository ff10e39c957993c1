"""Sockets that systemd listens on for the app: see deploy/, and sd_listen_fds(3).

They stay open while the app restarts: requests wait in them, and none is lost.
"""

from __future__ import annotations

import os
import socket

_FIRST = 3  # the file descriptors before it are standard input, output and error


def inherited_sockets() -> list[socket.socket]:
    """Return the sockets that this process was started with; none where it was not by systemd."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(os.environ.get("LISTEN_FDS", "0"))
    sockets = [socket.socket(fileno=number) for number in range(_FIRST, _FIRST + count)]
    for each in sockets:
        each.setblocking(False)
        os.set_inheritable(each.fileno(), False)
    return sockets
