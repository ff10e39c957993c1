"""Records as MessagePack maps in Memcached.

Memcached knows whole values, so every change is read, change, compare-and-swap, and again if
another process was faster. Changes of one record in this process wait for each other.

Only long records are written in parts: what a request changes is appended to them, which memcached
does in one step, and the next change of one that has grown by a quarter writes it anew.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import struct
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final, NamedTuple

import msgspec

from ..errors import BadRecord, SessionTooLarge, StoreUnavailable
from .base import Engine, Extensions, Fields, log, unknown_names
from .memcached_wire import Answer, Item, Servers, exptime

_ITEM_BYTES: Final = 1024 * 1024
"""memcached's default limit (-I) for an item, which is key, value and header together."""
_HEADER_BYTES: Final = 512

_REMEMBERED: Final = 2000
"""How many loaded items are remembered, until they are written; with the next limit, 8 MB."""
_REMEMBERED_BYTES: Final = 4096
"""What is longer is a long record."""
_GROWTH: Final = 0.25
"""How much a long record may grow by what is appended, as a part of what it was."""

_PLAIN: Final = re.compile(r"[!-~]{1,240}")
_KNOWN: Final = ("servers", "failover", "max_item_bytes")

Decision = Callable[[Fields | None], tuple[Fields, Any] | None]
"""From a record, or None where there is none, to the record to write and what to return; None
leaves all as it is."""


class _Record(msgspec.Struct, array_like=True):
    """What lies under a key. What was appended to it has the same form; the last word counts."""

    expires: float
    """Seconds since the epoch: memcached does not tell an item's time to live."""
    fields: Fields


class _Known(NamedTuple):
    """A record as it was found, and the number that a `cas` must name. None where there is none."""

    record: _Record | None
    cas: str | None


_ABSENT: Final = _Known(None, None)


class MemcachedEngine(Engine):
    name: ClassVar[str] = "memcached"

    def __init__(
        self,
        servers: Sequence[str],
        timeout_s: float,
        *,
        failover: bool = False,
        max_item_bytes: int = _ITEM_BYTES,
    ) -> None:
        self.address = f"memcached://{','.join(servers)}"
        self._servers = Servers(servers, self.address, timeout_s, failover=failover)
        self._timeout_s = timeout_s
        self._most_bytes = max_item_bytes - _HEADER_BYTES
        self._extensions = Extensions()
        self._loaded: dict[str, _Known] = {}
        self._long: set[str] = set()
        """Names of long records that were loaded, and can be appended to."""
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

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
        most = storage.get("max_item_bytes", _ITEM_BYTES)
        if type(most) is not int or most <= _HEADER_BYTES:
            faults.append(f"storage['max_item_bytes'] is {most!r}: write what memcached's -I says")
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
            failover=storage.get("failover", False),
            max_item_bytes=storage.get("max_item_bytes", _ITEM_BYTES),
        )

    async def load(self, key: str, ttl: float | None = None) -> Fields:
        name = _name(key)
        if ttl is not None:
            self._extend(key, ttl)
        known = await self._get(name)
        if known.record is None:
            if known.cas is not None:
                await self._change(key, None, lambda fields: None)  # removes what is not ours
            return {}
        return known.record.fields.copy()

    async def save(
        self, key: str, changes: Mapping[str, bytes | None], ttl: float, *, create: bool
    ) -> bool:
        kept = {name: value for name, value in changes.items() if value is not None}
        if len(kept) == len(changes) and await self._append(key, kept, ttl):
            return True
        self._extensions.done(key, ttl)

        def merge(fields: Fields | None) -> tuple[Fields, bool] | None:
            if fields is None and not create:
                return None
            merged = {**(fields or {}), **changes}
            return {name: value for name, value in merged.items() if value is not None}, True

        return await self._change(key, ttl, merge, new=create) is not None

    async def take(self, key: str, *fields: str) -> Fields:
        if not fields:
            return await self._take_all(_name(key))

        def remove(record: Fields | None) -> tuple[Fields, Fields] | None:
            taken = {name: record[name] for name in fields if name in record} if record else {}
            if not record or not taken:
                return None
            return {name: value for name, value in record.items() if name not in taken}, taken

        return await self._change(key, None, remove) or {}

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
        self._extensions.done(key, ttl)

        def exchange(fields: Fields | None) -> tuple[Fields, bool] | None:
            if fields is None and not create:
                return None
            kept = dict(fields or {})
            if kept.pop(field, None) != old:
                return None
            return (kept if new is None else {**kept, field: new}), True

        return await self._change(key, ttl, exchange, new=create and old is None) is not None

    async def delete(self, key: str) -> None:
        name = _name(key)
        self._loaded.pop(name, None)
        answer = await self._servers.ask(name, f"delete {name}\r\n".encode())
        self._check(answer, b"DELETED", b"NOT_FOUND")

    async def ping(self) -> None:
        self._check(await self._servers.ask("ping", b"version\r\n"), b"VERSION")

    async def close(self) -> None:
        await self._servers.close()

    async def _get(self, name: str) -> _Known:
        answer = await self._servers.ask(name, f"gets {name}\r\n".encode())
        if not isinstance(answer, Item):
            self._check(answer, b"END")
            return _ABSENT
        known = _Known(_record(answer), answer.cas)
        self._long.discard(name)
        if len(answer.value) > _REMEMBERED_BYTES:
            if known.record is not None and _growth(answer.value) <= _GROWTH:
                if len(self._long) >= _REMEMBERED:
                    self._long.clear()
                self._long.add(name)
        else:
            if len(self._loaded) >= _REMEMBERED:
                self._loaded.clear()
            self._loaded[name] = known
        return known

    def _extend(self, key: str, ttl: float) -> None:
        """Extend the record's life with whatever is asked next."""
        if self._extensions.due(key, ttl):
            name = _name(key)
            self._servers.tell(name, f"touch {name} {exptime(ttl)}\r\n".encode())

    async def _append(self, key: str, fields: Fields, ttl: float) -> bool:
        """Append the fields to a long record that was loaded; False where that cannot be done.

        It is done once for each time that the record was loaded, so that its growth is seen.
        """
        name = _name(key)
        if name not in self._long:
            return False
        self._long.discard(name)
        self._extend(key, ttl)
        data = _framed(_encoder.encode(_Record(time.time() + ttl, fields)))
        command = f"append {name} 0 0 {len(data)}\r\n".encode() + data + b"\r\n"
        # Not stored: the record has gone, or there is no room for more. Reading it anew will tell.
        return await self._servers.ask(name, command) == b"STORED"

    async def _take_all(self, name: str) -> Fields:
        """Get the record and let it expire, which memcached does in one step."""
        self._loaded.pop(name, None)
        answer = await self._servers.ask(name, f"gats -1 {name}\r\n".encode())
        if not isinstance(answer, Item):
            self._check(answer, b"END")
            return {}
        record = _record(answer)
        return record.fields if record else {}

    async def _change(
        self, key: str, ttl: float | None, decide: Decision, *, new: bool = False
    ) -> Any:
        """Write what `decide` makes of the record, and return what it says.

        `new`: most likely there is no record yet.
        """
        name = _name(key)
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = asyncio.Lock()
        try:
            async with asyncio.timeout(self._timeout_s), lock:
                # What was loaded earlier is good for a write, which compares, and for nothing else.
                known = self._loaded.pop(name, _ABSENT if new else None)
                while True:
                    certain = known is None
                    if known is None:
                        known = await self._get(name)
                    command, outcome = self._plan(name, known, ttl, decide)
                    if not command and certain:
                        return outcome
                    if command:
                        line = await self._servers.ask(name, command)
                        if line == b"STORED":
                            return outcome
                        self._check(line, b"EXISTS", b"NOT_FOUND", b"NOT_STORED")
                    known = None
        except TimeoutError:
            reason = f"no answer within {self._timeout_s:g} s"
            raise StoreUnavailable(self.address, reason) from None
        finally:
            self._loaded.pop(name, None)

    def _plan(
        self, name: str, known: _Known, ttl: float | None, decide: Decision
    ) -> tuple[bytes, Any]:
        """The command that writes what `decide` makes of a record, and what to return then.

        The command is empty where there is nothing to write.
        """
        record, cas = known
        decision = decide(record.fields if record else None)
        if decision is None and (record is not None or cas is None):
            return b"", None
        fields, outcome = decision or ({}, None)  # what is malformed is removed
        if not fields and cas is None:
            return b"", outcome
        # An item that has expired already is gone: a delete that compares.
        life, data = -1, b""
        if fields:
            now = time.time()
            # Without a ttl the rest of a record lives on as long as it would have.
            expires = record.expires if ttl is None and record else now + (ttl or 0)
            life, data = exptime(expires - now), _framed(_encoder.encode(_Record(expires, fields)))
            if len(data) > self._most_bytes:
                raise SessionTooLarge(len(data), self._most_bytes)
        verb, number = ("add", "") if cas is None else ("cas", f" {cas}")
        return f"{verb} {name} 0 {life} {len(data)}{number}\r\n".encode() + data + b"\r\n", outcome

    def _check(self, answer: Answer, *expected: bytes) -> None:
        """Raise unless the answer is one of the expected lines."""
        line = b"an item" if isinstance(answer, Item) else answer
        if b"too large" in line:
            raise SessionTooLarge(self._most_bytes, self._most_bytes)
        if not line.startswith(expected):  # out of memory, most likely
            raise StoreUnavailable(self.address, line.decode(errors="replace"))


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Record)
_SIZE: Final = struct.Struct(">I")


def _record(item: Item) -> _Record | None:
    """The record in an item; None, with a line in the log, for what is none of ours.

    Other flags than ours stand for pickled or compressed values, which are not looked into.
    """
    try:
        if item.flags != b"0":
            raise BadRecord(f"flags {item.flags!r}")
        whole, *later = _frames(item.value)
        record = _decoder.decode(whole)
        for appended in map(_decoder.decode, later):
            record.expires = appended.expires
            record.fields.update(appended.fields)
    except (BadRecord, msgspec.DecodeError, ValueError, RecursionError, struct.error) as error:
        log.warning("dropped a record that is not ours: %s", error)
        return None
    else:
        return record


def _framed(data: bytes) -> bytes:
    """`data` behind its length, so that more can follow it."""
    return _SIZE.pack(len(data)) + data


def _frames(value: bytes) -> Iterator[bytes]:
    position = 0
    while position < len(value):
        (size,) = _SIZE.unpack_from(value, position)
        position += _SIZE.size
        if position + size > len(value):
            raise BadRecord(f"{len(value)} bytes, and {size} are announced at {position}")
        yield value[position : position + size]
        position += size


def _growth(value: bytes) -> float:
    """How much was appended, as a part of what it was appended to."""
    size: int = _SIZE.unpack_from(value)[0]
    return (len(value) - size) / size


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
