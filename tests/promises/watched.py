"""An engine that a test looks into: it counts trips, and can hold, fail or answer each of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from promised.sessions import Store, StoreUnavailable
from promised.sessions.engines import Engine, Fields, Snapshot

Result = TypeVar("Result")
Hook = Callable[[str, str], Awaitable[None]]


class Watched(Engine):
    """Wraps an engine. Hooks get the name of the operation and the key."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.address = engine.address
        self.calls: list[tuple[str, str]] = []
        self.before: Hook = _nothing
        """Awaited before an operation is carried out; may raise in its place."""
        self.after: Hook = _nothing
        """Awaited when it was carried out, before the result is given."""

    @classmethod
    def faults(cls, storage: Mapping[str, Any]) -> list[str]:
        return []

    @classmethod
    def open(cls, storage: Mapping[str, Any], role: str, timeout_s: float) -> Engine:
        raise TypeError("it wraps an engine that is open: call watch()")

    async def load(self, key: str) -> Snapshot | None:
        return await self._call("load", key, lambda: self.engine.load(key))

    async def write(
        self,
        key: str,
        changes: Mapping[str, bytes | None],
        ttl: float,
        *,
        create: bool,
        expect: Mapping[str, bytes | None] | None = None,
        seen: Any = None,
    ) -> Fields | None:
        return await self._call(
            "write",
            key,
            lambda: self.engine.write(key, changes, ttl, create=create, expect=expect, seen=seen),
        )

    async def end(self, key: str, why: str) -> Fields:
        return await self._call("end", key, lambda: self.engine.end(key, why))

    async def ping(self, prefix: str = "ping", within_s: float = 1.0) -> list[StoreUnavailable]:
        return await self._call("ping", prefix, lambda: self.engine.ping(prefix, within_s))

    async def close(self) -> None:
        await self.engine.close()

    async def _call(
        self, operation: str, key: str, call: Callable[[], Awaitable[Result]]
    ) -> Result:
        self.calls.append((operation, key))
        await self.before(operation, key)
        result = await call()
        await self.after(operation, key)
        return result


def watch(store: Store) -> tuple[Watched, Watched]:
    """Put watched engines in place of the store's, and return them: sessions, notifications."""
    store.sessions, store.notifications = Watched(store.sessions), Watched(store.notifications)
    return store.sessions, store.notifications


async def _nothing(operation: str, key: str) -> None:
    pass
