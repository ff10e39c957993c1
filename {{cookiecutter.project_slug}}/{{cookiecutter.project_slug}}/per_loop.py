"""What belongs to one event loop of one process: connections and threads.

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
    """Makes a thing when it is asked for it, once in each event loop of each process."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: dict[tuple[int, asyncio.AbstractEventLoop], T] = {}

    def get(self) -> T:
        """Return the thing of the running event loop. Raises RuntimeError where none runs."""
        # A connection or a thread of another loop, or of the process that this one was forked from,
        # never answers here: who waits for it waits for ever.
        home = os.getpid(), asyncio.get_running_loop()
        if home not in self._made:
            for key in [key for key in self._made if key[1].is_closed()]:
                del self._made[key]
            self._made[home] = self._make()
        return self._made[home]
