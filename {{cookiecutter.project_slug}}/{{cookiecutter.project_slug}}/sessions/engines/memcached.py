"""Records as MessagePack maps in Memcached, through python-memcached.

Memcached knows whole values, so every step is read, change, compare-and-swap, and again if another
process was faster. python-memcached blocks; it runs in a few threads, each with connections of its
own, and a trip is one hop to a thread and back.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ClassVar, Final

from .base import Engine, Extensions, Fields, SharedTrips, unknown_names
from .memcached_servers import ITEM_BYTES, Change, Delete, Load, Ping, Request, Servers

_THREADS: Final = 2
"""Trips under way at once. Python's threads take turns: a second one hides the waiting of the
first, more would only wait for each other."""

_PLAIN: Final = re.compile(r"[!-~]{1,240}")
_KNOWN: Final = ("servers", "max_connections", "failover", "max_item_bytes")


class MemcachedEngine(Engine):
    name: ClassVar[str] = "memcached"

    def __init__(
        self,
        servers: Sequence[str],
        timeout_s: float,
        *,
        threads: int = _THREADS,
        failover: bool = False,
        max_item_bytes: int = ITEM_BYTES,
    ) -> None:
        self.address = f"memcached://{','.join(servers)}"
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="memcached")
        self._connect = partial(
            Servers, servers, self.address, timeout_s, failover, max_item_bytes, {}
        )
        self._extensions = Extensions()
        self._of_thread = threading.local()
        self._connected: list[Servers] = []
        self._trips: SharedTrips[Request] = SharedTrips(
            self._send, address=self.address, limit=threads, timeout_s=timeout_s
        )

    @classmethod
    def faults(cls, storage: Mapping[str, Any]) -> list[str]:
        faults = unknown_names("storage", storage, _KNOWN)
        servers = storage.get("servers", ("localhost:11211",))
        if isinstance(servers, str) or not isinstance(servers, Sequence) or not servers:
            faults.append(
                f"storage['servers'] is {servers!r}: write a list such as ['localhost:11211']"
            )
        else:
            faults += [fault for server in servers if (fault := _server_fault(server))]
        for name in ("max_connections", "max_item_bytes"):
            value = storage.get(name, 1)
            if type(value) is not int or value < 1:
                faults.append(f"storage[{name!r}] is {value!r}: write a number, at least 1")
        failover = storage.get("failover", False)
        if type(failover) is not bool:
            faults.append(f"storage['failover'] is {failover!r}: write True or False")
        return faults

    @classmethod
    def open(cls, storage: Mapping[str, Any], role: str, timeout_s: float) -> MemcachedEngine:
        """Return an engine. Sessions and notifications lie apart by the prefixes of their keys."""
        return cls(
            tuple(storage.get("servers", ("localhost:11211",))),
            timeout_s,
            threads=storage.get("max_connections", _THREADS),
            failover=storage.get("failover", False),
            max_item_bytes=storage.get("max_item_bytes", ITEM_BYTES),
        )

    async def load(self, key: str, ttl: float | None = None) -> Fields:
        fields: Fields = await self._trips.ask(
            Load(_name(key), ttl if ttl and self._extensions.due(key, ttl) else None)
        )
        return fields

    async def save(
        self, key: str, changes: Mapping[str, bytes | None], ttl: float, *, create: bool
    ) -> bool:
        self._extensions.forget(key)

        def merge(fields: Fields | None) -> tuple[Fields, bool] | None:
            if fields is None and not create:
                return None
            merged = {**(fields or {}), **changes}
            return {name: value for name, value in merged.items() if value is not None}, True

        return await self._trips.ask(Change(_name(key), ttl, merge)) is not None

    async def take(self, key: str, *fields: str) -> Fields:
        def remove(record: Fields | None) -> tuple[Fields, Fields] | None:
            wanted = fields or tuple(record or ())
            taken = {name: record[name] for name in wanted if name in record} if record else {}
            if not record or not taken:
                return None
            return {name: value for name, value in record.items() if name not in taken}, taken

        return await self._trips.ask(Change(_name(key), None, remove)) or {}

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
        self._extensions.forget(key)

        def exchange(fields: Fields | None) -> tuple[Fields, bool] | None:
            if fields is None and not create:
                return None
            kept = dict(fields or {})
            if kept.pop(field, None) != old:
                return None
            return (kept if new is None else {**kept, field: new}), True

        return await self._trips.ask(Change(_name(key), ttl, exchange)) is not None

    async def delete(self, key: str) -> None:
        await self._trips.ask(Delete(_name(key)))

    async def ping(self) -> None:
        await self._trips.ask(Ping())

    async def close(self) -> None:
        await self._trips.finish()
        self._threads.shutdown(wait=False, cancel_futures=True)
        for servers in self._connected:
            servers.disconnect()

    async def _send(self, requests: list[Request]) -> list[Any]:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, requests)

    def _run(self, requests: list[Request]) -> list[Any]:
        """Runs in a thread, which connects on its first trip: clients are bound to threads."""
        servers: Servers | None = getattr(self._of_thread, "servers", None)
        if servers is None:
            servers = self._of_thread.servers = self._connect()
            self._connected.append(servers)
        return servers.run(requests)


def _name(key: str) -> str:
    """`key` as memcached can take it: a space or a line break in it would be a command."""
    if _PLAIN.fullmatch(key):
        return key
    return f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"


def _server_fault(server: object) -> str | None:
    if isinstance(server, str):
        if server.startswith(("unix:", "inet6:")):
            return None
        host, _, port = server.removeprefix("inet:").partition(":")
        if host and (not port or (port.isdecimal() and 0 < int(port) < 65536)):
            return None
    return f"storage['servers'] names {server!r}: write host:port, inet6:[host]:port or unix:/path"
