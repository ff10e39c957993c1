"""Records in this process: for `make run` without a server, and for tests.

They are gone when the process ends, and another process does not see them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from ..errors import ConfigurationError
from .base import Engine, Fields

_SWEEP_EVERY_S = 60


class MemoryEngine(Engine):
    name: ClassVar[str] = "memory"

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.address = "the memory of this process"
        self.clock = clock
        self._records: dict[str, tuple[float, Fields]] = {}
        self._process = os.getpid()
        self._next_sweep = clock() + _SWEEP_EVERY_S

    @classmethod
    def faults(cls, storage: Mapping[str, Any]) -> list[str]:
        return [
            f"storage: the memory engine takes no {name!r}; leave the dictionary empty"
            for name in storage
        ]

    @classmethod
    def open(cls, storage: Mapping[str, Any], role: str, timeout_s: float) -> MemoryEngine:
        return cls()

    async def load(self, key: str, ttl: float | None = None) -> Fields:
        fields = self._fields(key)
        if fields is None:
            return {}
        if ttl is not None:
            self._records[key] = (self.clock() + ttl, fields)
        return dict(fields)

    async def save(
        self, key: str, changes: Mapping[str, bytes | None], ttl: float, *, create: bool
    ) -> bool:
        fields = self._fields(key)
        if fields is None:
            if not create:
                return False
            fields = {}
        self._merge(key, fields, changes, ttl)
        return True

    async def take(self, key: str, *fields: str) -> Fields:
        record = self._fields(key)
        if record is None:
            return {}
        taken = {name: record.pop(name) for name in fields or tuple(record) if name in record}
        if not record:
            del self._records[key]
        return taken

    async def swap(
        self,
        key: str,
        field: str,
        old: bytes | None,
        new: bytes | None,
        ttl: float,
        *,
        create: bool,
    ) -> bool:
        fields = self._fields(key)
        if fields is None:
            if not create:
                return False
            fields = {}
        if fields.get(field) != old:
            return False
        self._merge(key, fields, {field: new}, ttl)
        return True

    async def delete(self, key: str) -> None:
        self._records.pop(key, None)

    async def ping(self) -> None:
        self._fields("")

    async def close(self) -> None:
        self._records.clear()

    def _fields(self, key: str) -> Fields | None:
        """The record as it is kept, or None; drops what has expired."""
        if os.getpid() != self._process:
            raise ConfigurationError(
                ["the memory engine serves one process: choose a server, or run one process"]
            )
        now = self.clock()
        if now >= self._next_sweep:
            self._next_sweep = now + _SWEEP_EVERY_S
            self._records = {k: v for k, v in self._records.items() if v[0] > now}
        record = self._records.get(key)
        if record is None:
            return None
        if record[0] <= now:
            del self._records[key]
            return None
        return record[1]

    def _merge(
        self, key: str, fields: Fields, changes: Mapping[str, bytes | None], ttl: float
    ) -> None:
        for name, value in changes.items():
            if value is None:
                fields.pop(name, None)
            else:
                fields[name] = value
        if fields:
            self._records[key] = (self.clock() + ttl, fields)
        else:
            self._records.pop(key, None)
