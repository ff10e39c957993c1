"""An engine that a test looks into: it counts trips, and can hold, fail or answer each of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from promised.sessions import Store
from promised.sessions.engines import Engine, Fields

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

    async def load(self, key: str, ttl: float | None = None) -> Fields:
        return await self._call("load", key, lambda: self.engine.load(key, ttl))

    async def save(
        self, key: str, changes: Mapping[str, bytes | None], ttl: float, *, create: bool
    ) -> bool:
        return await self._call(
            "save", key, lambda: self.engine.save(key, changes, ttl, create=create)
        )

    async def take(self, key: str, *fields: str) -> Fields:
        return await self._call("take", key, lambda: self.engine.take(key, *fields))

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
        return await self._call(
            "swap", key, lambda: self.engine.swap(key, field, old, new, ttl, create=create)
        )

    async def delete(self, key: str) -> None:
        await self._call("delete", key, lambda: self.engine.delete(key))

    async def ping(self) -> None:
        await self._call("ping", "", self.engine.ping)

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
