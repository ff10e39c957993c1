"""Connections and thread pools, one for each event loop of each process.

database.py and passwords.py use this. One application may be used in several loops in turn, as by
`asyncio.run` in a script or a test, and be forked by `tornado.process.fork_processes`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerLoop(Generic[T]):
    """Calls `make` on first use in each event loop of each process, and keeps the result."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: dict[tuple[int, asyncio.AbstractEventLoop], T] = {}

    def get(self) -> T:
        """Return the object of the running event loop. Raises `RuntimeError` if none is running."""
        # Connections and threads of another loop, or of the process before a fork, do not work
        # here: waiting for one of them would never end.
        home = os.getpid(), asyncio.get_running_loop()
        if home not in self._made:
            for key in [key for key in self._made if key[1].is_closed()]:
                del self._made[key]
            self._made[home] = self._make()
        return self._made[home]
