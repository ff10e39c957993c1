"""Records as MessagePack in Memcached.

Memcached knows whole values, so every change is read, change, compare-and-swap, and again if
another process was faster. All records of a visitor lie on one server, and no other server takes
over: a server that comes back with its old content would bring ended sessions back. Restart a
server that was unreachable, which empties it, before it serves again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
import re
import time
import weakref
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, ClassVar, Final, NamedTuple

import msgspec

from ..errors import SessionTooLarge, StoreUnavailable
from .base import (
    TOMBSTONE_S,
    Engine,
    Fields,
    Share,
    Snapshot,
    log,
    new_key,
    unknown_names,
    updated,
)
from .connection import Connections
from .memcached_connection import Item, MemcachedConnection, Server, parsed

_ITEM_BYTES: Final = 1024 * 1024
"""memcached's default limit (-I) for an item, which is key, value and header together."""
_HEADER_BYTES: Final = 512
_RELATIVE_S: Final = 30 * 24 * 60 * 60
"""memcached reads a longer time to live as a date."""
_PLAIN: Final = re.compile(r"[!-~]{1,250}")
_DEFAULT: Final = ("localhost:11211",)


class _Record(msgspec.Struct, array_like=True):
    """What lies under a key. A tombstone has a reason in `ended`, and no fields."""

    fields: Fields
    ended: str | None = None


class _Found(NamedTuple):
    """What lies under a key: None if this package did not write it; and the number for a `cas`."""

    record: _Record | None
    cas: bytes


class MemcachedEngine(Engine):
    name: ClassVar[str] = "memcached"

    def __init__(
        self, servers: Sequence[Any], timeout_s: float, *, max_item_bytes: int = _ITEM_BYTES
    ) -> None:
        """`servers` as python-memcached takes them; see `faults`."""
        self._servers = parsed(servers)
        self.address = f"memcached://{','.join(server.name for server in self._servers)}"
        self._timeout_s = timeout_s
        self._limit_bytes = max_item_bytes - _HEADER_BYTES
        self._connections = Connections(self._connect)
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    @classmethod
    def faults(cls, storage: Mapping[str, Any]) -> list[str]:
        faults = unknown_names("storage", storage, ("servers", "max_item_bytes"))
        servers = storage.get("servers", _DEFAULT)
        if not isinstance(servers, list | tuple) or not servers:
            faults.append(f"storage['servers'] is {servers!r}: write a list: ['localhost:11211']")
        else:
            faults += [fault for server in servers if (fault := _server_fault(server))]
            names = [
                each[0] if isinstance(each, list | tuple) and each else each for each in servers
            ]
            faults += [
                f"storage['servers'] names {name!r} twice: write ({name!r}, 2) for a larger share"
                for position, name in enumerate(names)
                if name in names[:position]
            ]
        most = storage.get("max_item_bytes", _ITEM_BYTES)
        if type(most) is not int or most <= _HEADER_BYTES:
            faults.append(
                f"storage['max_item_bytes'] is {most!r}: write what memcached's -I says, in bytes"
            )
        return faults

    @classmethod
    def open(cls, storage: Mapping[str, Any], role: str, timeout_s: float) -> MemcachedEngine:
        """Return an engine. Sessions and notifications are apart by the prefixes of their keys."""
        most = storage.get("max_item_bytes", _ITEM_BYTES)
        return cls(storage.get("servers", _DEFAULT), timeout_s, max_item_bytes=most)

    async def load(self, key: str) -> Snapshot | None:
        found = await self._get(key, self._due())
        if found is None or found.record is None:
            return None
        return Snapshot(dict(found.record.fields), found, found.record.ended)

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
        """See `Engine.write`. `ttl` is rounded up to whole seconds."""
        due = self._due()
        async with self._lock(key, due):
            found: _Found | None = seen or await self._get(key, due)
            certain = seen is None
            while True:
                record = found.record if found else None
                change = None
                if record is None or record.ended is None:
                    fields = record.fields if record else {}
                    change = updated(fields, changes, expect) if record or create else None
                if change is None:
                    if certain:
                        return None
                else:
                    after, removed = change
                    nothing = found is None and not after
                    if nothing or await self._store(key, _Record(after), ttl, found, due):
                        return removed
                found, certain = await self._get(key, due), True

    async def end(self, key: str, why: str) -> Fields:
        due = self._due()
        async with self._lock(key, due):
            while True:
                found = await self._get(key, due)
                record = found.record if found else None
                if record and record.ended is not None:
                    return {}
                try:
                    stored = await self._store(key, _Record({}, why), TOMBSTONE_S, found, due)
                except StoreUnavailable as error:
                    if "out of memory" not in error.cause:
                        raise
                    return await self._expire(key, due)  # a logout must not fail for that
                if stored:
                    return record.fields if record else {}

    async def _shares(self, prefix: str, within_s: float) -> list[Share]:
        keys: dict[Server, str] = {}
        while len(keys) < len(self._servers):
            key = new_key(prefix)
            keys[self._server(key)] = key
        return [
            Share(key, f"memcached://{server.name}", server.weight) for server, key in keys.items()
        ]

    async def close(self) -> None:
        await self._connections.close()

    @contextlib.asynccontextmanager
    async def _lock(self, key: str, due: float) -> AsyncIterator[None]:
        """Let the changes of one record in this process wait for each other.

        Without it N of them would take N * N / 2 trips, as all but one lose each round.
        """
        lock = self._locks.setdefault(key, asyncio.Lock())
        try:
            async with asyncio.timeout_at(due):
                await lock.acquire()
        except TimeoutError:
            cause = f"the record was busy for {self._timeout_s:g} s"
            raise StoreUnavailable(self.address, cause) from None
        try:
            yield
        finally:
            lock.release()

    async def _get(self, key: str, due: float) -> _Found | None:
        reply = await self._ask(self._server(key), "gets", _name(key), due, repeatable=True)
        return _Found(_record(reply), reply.cas) if isinstance(reply, Item) else None

    async def _store(
        self, key: str, record: _Record, ttl: float, found: _Found | None, due: float
    ) -> bool:
        """Put `record` in the place of `found`. Returns False if something else is there by now."""
        data = _encoder.encode(record)
        if len(data) > self._limit_bytes:
            raise SessionTooLarge(len(data), self._limit_bytes)
        # A record without fields expires at once: a delete that compares.
        life = _exptime(ttl) if record.fields or record.ended is not None else -1
        verb, number = ("cas", f" {found.cas.decode()}") if found else ("add", "")
        rest = f" 0 {life} {len(data)}{number}\r\n".encode() + data + b"\r\n"
        line: bytes = await self._ask(self._server(key), verb, _name(key), due, rest)
        if b"too large" in line:
            raise SessionTooLarge(len(data), self._limit_bytes)
        if line.startswith(b"SERVER_ERROR"):
            cure = "give it more memory (-m), or run it without -M" if b"memory" in line else ""
            raise StoreUnavailable(self.address, line.decode(errors="replace"), cure)
        return line == b"STORED"

    async def _expire(self, key: str, due: float) -> Fields:
        """Remove the record and return it, in one step that takes no memory."""
        reply = await self._ask(self._server(key), "gats -1", _name(key), due)
        record = _record(reply) if isinstance(reply, Item) else None
        return record.fields if record else {}

    async def _ask(
        self,
        server: Server,
        verb: str,
        name: str,
        due: float,
        rest: bytes = b"\r\n",
        *,
        repeatable: bool = False,
    ) -> Any:
        """Return the reply of `server`: an item, or a line."""
        command = f"{verb} {name}".encode() + rest
        question = (verb, name.encode())
        return await self._connections.request(
            server, command, question, due, repeatable=repeatable
        )

    def _server(self, key: str) -> Server:
        """Return the server of a visitor, whose keys have the last part in common.

        By rendezvous hashing: one more server takes over its own share, and moves no other record.
        """
        if len(self._servers) == 1:
            return self._servers[0]
        visitor = key.rpartition(":")[2]
        return max(self._servers, key=lambda server: _score(server, visitor))

    def _connect(self, server: Server) -> MemcachedConnection:
        return MemcachedConnection(server, self._timeout_s)

    def _due(self) -> float:
        return asyncio.get_running_loop().time() + self._timeout_s


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(_Record)


def _record(item: Item) -> _Record | None:
    """Return the record in an item; None, with a line in the log, if it holds something else.

    Other flags than 0 stand for pickled or compressed values, which are not looked into.
    """
    try:
        if item.flags != b"0":
            raise msgspec.DecodeError(f"flags {item.flags!r}")
        return _decoder.decode(item.value)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        log.warning("ignored a record that this package did not write: %s", error)
        return None


def _exptime(ttl: float) -> int:
    """Return a time to live as memcached takes it, never shorter than `ttl` seconds."""
    seconds = math.floor(ttl) + 1  # its clock ticks once a second
    return seconds if seconds <= _RELATIVE_S else math.floor(time.time()) + seconds


def _name(key: str) -> str:
    """Return `key` as memcached can take it: a blank or a line break in it would be a command."""
    if _PLAIN.fullmatch(key):
        return key
    return f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"


def _score(server: Server, visitor: str) -> float:
    """Return how strongly `server` attracts `visitor`; the logarithm makes the weights exact."""
    digest = hashlib.blake2b(f"{server.name}|{visitor}".encode(), digest_size=8).digest()
    return server.weight / -math.log((int.from_bytes(digest) + 0.5) / 2**64)


def _server_fault(server: Any) -> str | None:
    """Return what is wrong with one of `servers`."""
    weight: Any = 1
    address = server
    if isinstance(server, list | tuple) and len(server) == 2:
        address, weight = server
    fault = (
        f"storage['servers'] names {server!r}: write 'host:port', 'inet6:[host]:port', "
        "'unix:/path', or one of them with a weight, as in ('host:port', 2)"
    )
    if not isinstance(address, str) or type(weight) is not int or weight < 1:
        return fault
    try:
        (found,) = parsed([address])
    except ValueError:
        return fault
    port = found.address[1] if isinstance(found.address, tuple) else 1
    return None if found.address and 0 < port < 65536 else fault
