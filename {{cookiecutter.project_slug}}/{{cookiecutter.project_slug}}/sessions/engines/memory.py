"""Records in this process: for `make run ENGINE=memory`, which needs no server, and for tests.

They are gone when the process ends, and another process does not see them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from tornado.process import task_id

from ..errors import ConfigurationError
from .base import TOMBSTONE_S, Changes, Engine, Fields, Snapshot, updated

_SWEEP_EVERY_S: Final = 60
_ONE_PROCESS: Final = "the memory engine serves one process: choose an engine with a server"


class MemoryEngine(Engine):
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns seconds; a test passes one that it can move."""
        self.address = "the memory of this process"
        self.clock = clock
        self._records: dict[str, tuple[float, Snapshot]] = {}
        self._process = os.getpid()
        self._next_sweep = clock() + _SWEEP_EVERY_S

    @classmethod
    def faults(cls, storage: Mapping[str, Any]) -> list[str]:
        return [
            f"storage has {name!r}, and the memory engine has no settings: leave it empty"
            for name in storage
        ]

    @classmethod
    def open(cls, storage: Mapping[str, Any], role: str, timeout_s: float) -> MemoryEngine:
        if task_id() is not None:
            raise ConfigurationError([_ONE_PROCESS])
        return cls()

    async def load(self, key: str) -> Snapshot | None:
        found = self._find(key)
        return found and Snapshot(dict(found.fields), ended=found.ended)

    async def write(
        self,
        key: str,
        changes: Changes,
        ttl: float,
        *,
        create: bool,
        expect: Changes | None = None,
        seen: Any = None,
    ) -> Fields | None:
        change = updated(self._find(key), changes, expect, create=create)
        if change is None:
            return None
        fields, removed = change
        if fields:
            self._records[key] = (self.clock() + ttl, Snapshot(fields))
        else:
            self._records.pop(key, None)
        return removed

    async def end(self, key: str, why: str) -> Fields:
        found = self._find(key)
        if found is None or found.ended is None:
            self._records[key] = (self.clock() + TOMBSTONE_S, Snapshot({}, ended=why))
        return found.fields if found else {}

    async def close(self) -> None:
        """Do nothing: there is no connection, and the records stay."""

    def _find(self, key: str) -> Snapshot | None:
        if os.getpid() != self._process:
            raise ConfigurationError([_ONE_PROCESS])
        now = self.clock()
        if now >= self._next_sweep:
            self._next_sweep = now + _SWEEP_EVERY_S
            self._records = {k: kept for k, kept in self._records.items() if kept[0] > now}
        expires, found = self._records.get(key, (0.0, None))
        return found if expires > now else None
