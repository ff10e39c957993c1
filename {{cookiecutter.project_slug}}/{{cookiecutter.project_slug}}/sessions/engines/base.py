"""The contract of an engine.

A record is a set of named byte fields with one time to live. Sessions, notifications, the index of
active sessions and login throttles are all records. A record that is unknown, expired or malformed
is "not there", which is a value; a store that does not answer is `StoreUnavailable`.
"""

from __future__ import annotations

import difflib
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

Fields = dict[str, bytes]
"""A record's content, by field name."""

log = logging.getLogger(__package__)


def unknown_names(where: str, given: Mapping[str, Any], known: Sequence[str]) -> list[str]:
    """Return a fault for each name in `given` that is not `known`, with the nearest that is."""
    faults = []
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            faults.append(f"{where} has no {name!r}: {hint}")
    return faults


class Engine(ABC):
    """Keeps records. One engine serves a whole application; no call ever blocks the event loop.

    Every call ends within the engine's `timeout_s` seconds. `ttl` is a record's time to live in
    seconds, set in the same atomic step as its content: no record is ever without one.
    """

    name: ClassVar[str]
    """What `settings["pycket"]["engine"]` calls it."""

    address: str
    """Where the store is, for people."""

    @classmethod
    @abstractmethod
    def faults(cls, storage: Mapping[str, Any]) -> list[str]:
        """Say everything that is wrong with `settings["pycket"]["storage"]`, one sentence each."""

    @classmethod
    @abstractmethod
    def open(cls, storage: Mapping[str, Any], role: str, timeout_s: float) -> Engine:
        """Return an engine for `role`, "sessions" or "notifications". Connects on first use."""

    @abstractmethod
    async def load(self, key: str, ttl: float | None = None) -> Fields:
        """Return the record, or {} where there is none. A `ttl` extends the life of a record."""

    @abstractmethod
    async def save(
        self, key: str, changes: Mapping[str, bytes | None], ttl: float, *, create: bool
    ) -> bool:
        """Merge `changes` into the record; None removes a field.

        Returns False, and writes nothing, where there is no record and `create` is False.
        """

    @abstractmethod
    async def take(self, key: str, *fields: str) -> Fields:
        """Remove the named fields, or the whole record, and return what they held.

        Of any number of concurrent takers exactly one gets a field. Never sent twice.
        """

    @abstractmethod
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
        """Set one field to `new` if it still holds `old`; None stands for absent.

        Returns False, and writes nothing, where it holds something else, or where there is no
        record and `create` is False. Never sent twice.
        """

    @abstractmethod
    async def delete(self, key: str) -> None:
        """Remove the record, if there is one."""

    @abstractmethod
    async def ping(self) -> None:
        """Return when the store has answered; `StoreUnavailable` where it does not."""

    @abstractmethod
    async def close(self) -> None:
        """Wait for the trips under way, and hang up. The engine is not used afterwards."""


class Extensions:
    """Spares a reading request the command that extends its record.

    A life that was extended to `ttl` within the last hundredth of `ttl` is left as it is: a record
    may so end by that much earlier than its last use says, never later.
    """

    _SLACK: Final = 0.01
    _MOST_KEYS: Final = 20_000

    def __init__(self) -> None:
        self._done: dict[str, tuple[float, float]] = {}

    def due(self, key: str, ttl: float) -> bool:
        """Whether the record is to be extended; if so, it counts as done."""
        until, extended_to = self._done.get(key, (0.0, 0.0))
        if time.monotonic() < until and extended_to == ttl:
            return False
        self.done(key, ttl)
        return True

    def done(self, key: str, ttl: float) -> None:
        """Note that the record was given a life of `ttl` by a write."""
        if len(self._done) >= self._MOST_KEYS:
            self._done.clear()
        self._done[key] = (time.monotonic() + ttl * self._SLACK, ttl)
