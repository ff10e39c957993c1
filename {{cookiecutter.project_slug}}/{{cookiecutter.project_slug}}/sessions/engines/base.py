"""The contract of an engine.

A record is a set of named byte fields with one time to live. One that is unknown, expired or
malformed is "not there", which is a value; a store that does not answer is `StoreUnavailable`.
"""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import logging
import secrets
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Mapping
from decimal import Decimal
from typing import Any, Final
from weakref import WeakValueDictionary

import msgspec

from ..errors import StoreUnavailable

Fields = dict[str, bytes]
"""A record's content by field name. A name is any text, a value any bytes."""
Changes = Mapping[str, bytes | None]
"""What to write, by field name; None removes the field."""

TOMBSTONE_S: Final = 60.0
"""How long an ended record cannot be created again: longer than the slowest request."""

log = logging.getLogger(__package__)


class Snapshot(msgspec.Struct, frozen=True):
    """A record as `load` found it."""

    fields: Fields
    """Empty if the record has ended."""
    version: Any = None
    """Opaque. Hand it to `write(seen=...)`: it saves a trip where records are compared as a whole."""
    ended: str | None = None
    """The `why` of `end`, if the record has ended within the last `TOMBSTONE_S` seconds."""


class Engine(ABC):
    """Keeps records. One engine serves a whole application; no call ever blocks the event loop.

    Every call returns or raises `StoreUnavailable` within the engine's `timeout_s` seconds,
    connecting included, and sends nothing twice that changes a record. Connections belong to one
    event loop of one process: an engine may be used by several loops, and after a fork.
    """

    address: str
    """Where the store is, human-readable, without a password."""

    @classmethod
    @abstractmethod
    def faults(cls, storage: Mapping[str, Any]) -> list[str]:
        """Return everything that is wrong with `settings["pycket"]["storage"]`, a sentence each."""

    @classmethod
    @abstractmethod
    def open(cls, storage: Mapping[str, Any], role: str, timeout_s: float) -> Engine:
        """Return an engine for `role`, "sessions" or "notifications". Connects on first use."""

    @abstractmethod
    async def load(self, key: str) -> Snapshot | None:
        """Return the record, or None if there is none."""

    @abstractmethod
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
        """Merge `changes` into the record, and let it live for `ttl` seconds, in one atomic step.

        None removes a field; a record without fields is gone. Returns what the removed fields held:
        of any number of concurrent writers that remove a field, one gets its value.

        Returns None if nothing was written: there is no record and `create` is False, or it has
        ended, or a field does not hold what `expect` says (None: it is absent). `seen` is the
        `version` of a snapshot, never needed and never wrong.

        Raises `SessionTooLarge` if the record would not fit into the store.
        """

    @abstractmethod
    async def end(self, key: str, why: str) -> Fields:
        """Remove the record and return what it held: {} if it had ended, or there was none.

        For `TOMBSTONE_S` seconds no write creates it again, and `load` returns the first `why`.
        """

    async def ping(self, prefix: str = "ping", within_s: float = 1.0) -> list[StoreUnavailable]:
        """Write, read and end a record on every server, under a key that begins with `prefix`.

        Returns what is wrong with servers that keep at most half of the records: the others are
        worth going on for. Raises `StoreUnavailable` if it is more than half. `cause` and `cure`
        say what is wrong and what to do.
        """
        weights = await self._weights(within_s)
        keys: dict[str, str] = {}
        while len(keys) < len(weights):
            key = f"{prefix}:{secrets.token_hex(8)}"
            keys[self._address_of(key)] = key
        found = await asyncio.gather(*(self._try(*each, within_s) for each in keys.items()))
        errors = [error for error in found if error is not None]
        lost = sum(weights[each] for each, error in zip(keys, found, strict=True) if error)
        if 2 * lost <= sum(weights.values()):
            return errors
        addresses = ", ".join(dict.fromkeys(error.address for error in errors))
        raise StoreUnavailable(addresses, errors[0].cause, errors[0].cure)

    async def _try(self, address: str, key: str, within_s: float) -> StoreUnavailable | None:
        # Other requests may wait longer for the server: this one alone is given up.
        try:
            async with asyncio.timeout(within_s):
                await self.write(key, {"ping": b"1"}, TOMBSTONE_S, create=True)
                if await self.load(key) is None:
                    cause = "it has forgotten at once what was written"
                    return StoreUnavailable(address, cause, "give it more memory")
                await self.end(key, "ended")
        except StoreUnavailable as error:
            return StoreUnavailable(address, error.cause, error.cure)
        except TimeoutError:
            return StoreUnavailable(address, f"no reply within {within_s:g} s")
        return None

    async def _weights(self, within_s: float) -> Mapping[str, float]:
        """Return how much each server keeps, by its address. Raises `StoreUnavailable`."""
        return {self.address: 1}

    def _address_of(self, key: str) -> str:
        """Return the address of the server that keeps `key`."""
        return self.address

    @abstractmethod
    async def close(self) -> None:
        """Wait for the requests under way, then hang up. Using the engine again connects again."""


class Locks:
    """Locks by name, of the running event loop. Those in use are kept, no others."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._locks: WeakValueDictionary[tuple[int, str], asyncio.Lock] = WeakValueDictionary()

    @contextlib.asynccontextmanager
    async def __call__(self, name: str, due: float) -> AsyncIterator[None]:
        """Hold a lock. Raises `StoreUnavailable` at `due`, on the clock of the event loop."""
        lock = self._locks.setdefault((id(asyncio.get_running_loop()), name), asyncio.Lock())
        try:
            async with asyncio.timeout_at(due):
                await lock.acquire()
        except TimeoutError:
            raise StoreUnavailable(self._address, "the record was busy for too long") from None
        try:
            yield
        finally:
            lock.release()


def unknown_names(where: str, given: Iterable[str], known: Iterable[str]) -> list[str]:
    """Return a fault for each name in `given` that is not `known`, with the nearest that is."""
    known, faults = sorted(known), []
    for name in [each for each in given if each not in known]:
        near = difflib.get_close_matches(str(name), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
        faults.append(f"{where} has no {name!r}: {hint}")
    return faults


def fits(value: object, kind: Any) -> bool:
    """Return whether a setting has this type, where a bool is not an int; text must be UTF-8."""
    if isinstance(value, Decimal):  # which msgspec takes for a float
        return False
    try:
        msgspec.convert(value, kind)
        if isinstance(value, str):
            value.encode()
    except (msgspec.ValidationError, UnicodeEncodeError):
        return False
    return True


def updated(
    found: Snapshot | None, changes: Changes, expect: Changes | None, *, create: bool
) -> tuple[Fields, Fields] | None:
    """Return the fields after `Engine.write`, and what the removed ones held; None: no write."""
    fields, ended = (found.fields, found.ended) if found else ({}, None)
    if ended is not None or not (fields or create):
        return None
    if expect and any(fields.get(name) != value for name, value in expect.items()):
        return None
    after, removed = fields.copy(), {}
    for name, value in changes.items():
        if value is not None:
            after[name] = value
        elif name in after:
            removed[name] = after.pop(name)
    return after, removed
