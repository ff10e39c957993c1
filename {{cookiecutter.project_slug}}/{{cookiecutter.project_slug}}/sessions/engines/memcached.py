"""Records as MessagePack in Memcached.

Memcached knows whole values, so every change is read, change, compare-and-swap, and again if
another process was faster. All records of a visitor lie on one server, and no other server takes
over: a server that comes back with its old content would bring ended sessions back. Restart a
server that was unreachable, which empties it, before it serves again.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
import time
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import msgspec

from ..errors import SessionTooLarge, StoreUnavailable
from .base import TOMBSTONE_S, Changes, Engine, Fields, Locks, Snapshot, log, unknown_names, updated
from .connection import Connections
from .memcached_connection import Item, MemcachedConnection, Server, parsed

_ITEM_BYTES: Final = 1024 * 1024
"""memcached's default limit (-I) for an item, which is key, value and header together."""
_HEADER_BYTES: Final = 512
_RELATIVE_S: Final = 30 * 24 * 60 * 60
"""memcached reads a longer time to live as a date."""
_LAST_DATE: Final = 2**31 - 1
"""memcached takes a later date for one that is past."""
_PLAIN: Final = re.compile(r"[!-~]{1,250}")
_DEFAULT: Final = ("localhost:11211",)
_SERVER: Final = (
    "write 'host:port', 'inet6:[host]:port', 'unix:/path', or one of them with a weight, as in "
    "('host:port', 2)"
)


class MemcachedEngine(Engine):
    def __init__(self, storage: Mapping[str, Any], timeout_s: float) -> None:
        self._servers = [parsed(each) for each in storage.get("servers", _DEFAULT)]
        self.address = f"memcached://{','.join(server.name for server in self._servers)}"
        self._timeout_s = timeout_s
        self._limit_bytes = storage.get("max_item_bytes", _ITEM_BYTES) - _HEADER_BYTES
        self._connections = Connections(partial(MemcachedConnection, timeout_s=timeout_s))
        self._lock = Locks(self.address)
        """Of N changes of one record at once, all but one would lose each round: losers take turns."""

    @classmethod
    def faults(cls, storage: Mapping[str, Any]) -> list[str]:
        faults = unknown_names("storage", storage, ("servers", "max_item_bytes"))
        servers, names = storage.get("servers", _DEFAULT), Counter[str]()
        if not isinstance(servers, list | tuple) or not servers:
            faults.append(f"storage['servers'] is {servers!r}: write a list: ['localhost:11211']")
            servers = []
        for each in servers:
            try:
                names[parsed(each).name] += 1
            except ValueError:
                faults.append(f"storage['servers'] names {each!r}: {_SERVER}")
        for name in [each for each, count in names.items() if count > 1]:
            larger = f"write ({name!r}, 2) for a larger share"
            faults.append(f"storage['servers'] names {name!r} twice: {larger}")
        most = storage.get("max_item_bytes", _ITEM_BYTES)
        if type(most) is not int or most < 1024:
            faults.append(
                f"storage['max_item_bytes'] is {most!r}: write what memcached's -I says, in bytes"
            )
        return faults

    @classmethod
    def open(cls, storage: Mapping[str, Any], role: str, timeout_s: float) -> MemcachedEngine:
        """Return an engine. Sessions and notifications are apart by the prefixes of their keys."""
        return cls(storage, timeout_s)

    async def load(self, key: str) -> Snapshot | None:
        found = await self._get(key, self._due())
        if found is None or not (found.fields or found.ended is not None):
            return None
        return Snapshot(dict(found.fields), found, found.ended)

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
        """See `Engine.write`. `ttl` is rounded up to whole seconds."""
        due = self._due()

        async def merge(found: Snapshot | None) -> tuple[bool, Fields | None]:
            """Try once. Returns False first if `found` is not what is there by now."""
            change = updated(found, changes, expect, create=create)
            if change is None or (found is None and not change[0]):
                return True, change and change[1]
            after, removed = change
            return await self._store(key, Snapshot(after), ttl, found, due), removed

        is_done, removed = await merge(seen if seen is not None else await self._get(key, due))
        if not is_done or (removed is None and seen is not None):  # what was seen is out of date
            is_done = False
            async with self._lock(key, due):
                while not is_done:
                    is_done, removed = await merge(await self._get(key, due))
        return removed

    async def end(self, key: str, why: str) -> Fields:
        due = self._due()
        async with self._lock(key, due):
            while True:
                found = await self._get(key, due)
                if found and found.ended is not None:
                    return {}
                try:
                    tombstone = Snapshot({}, ended=why)
                    stored = await self._store(key, tombstone, TOMBSTONE_S, found, due)
                except StoreUnavailable as error:
                    if "out of memory" not in error.cause:
                        raise
                    # A logout must not fail for that: expire the record, which takes no memory.
                    found, stored = await self._get(key, due, "gats -1"), True
                if stored:
                    return found.fields if found else {}

    async def _weights(self, within_s: float) -> Mapping[str, float]:
        return {server.url: server.weight for server in self._servers}

    def _address_of(self, key: str) -> str:
        return self._server(key).url

    async def close(self) -> None:
        await self._connections.close()

    async def _get(self, key: str, due: float, verb: str = "gets") -> Snapshot | None:
        """Return what is there. With neither fields nor `ended`, it is nothing of this package."""
        item = await self._ask(key, verb, due)
        return _snapshot(item) if isinstance(item, Item) else None

    async def _store(
        self, key: str, record: Snapshot, ttl: float, found: Snapshot | None, due: float
    ) -> bool:
        """Put `record` in the place of `found`. Returns False if something else is there by now."""
        data = _encoder.encode((record.fields, record.ended))
        if len(data) > self._limit_bytes:
            raise SessionTooLarge(len(data), self._limit_bytes)
        # A record without fields expires at once: a delete that compares.
        life = _exptime(ttl) if record.fields or record.ended is not None else -1
        verb, number = ("cas", b" " + found.version) if found else ("add", b"")
        rest = b" 0 %d %d%b\r\n%b" % (life, len(data), number, data)
        line: bytes = await self._ask(key, verb, due, rest)
        if b"too large" in line:  # it was started with a smaller -I than 'max_item_bytes' says
            raise SessionTooLarge(len(data), len(data) - 1)
        if line.startswith(b"SERVER_ERROR"):
            cure = "give it more memory (-m), or run it without -M" if b"memory" in line else ""
            raise StoreUnavailable(self._address_of(key), line.decode(errors="replace"), cure)
        return line == b"STORED"

    def _ask(self, key: str, verb: str, due: float, rest: bytes = b"") -> asyncio.Future[Any]:
        """Return the future reply of the key's server: an item, or a line."""
        server, question, reads = self._server(key), (verb, _name(key)), verb == "gets"
        command = b"%b %b%b\r\n" % (verb.encode(), question[1], rest)
        return self._connections.request(server, command, question, due, repeatable=reads)

    def _server(self, key: str) -> Server:
        """Return the server of a visitor, whose keys have the last part in common.

        By rendezvous hashing: one more server takes over its own share, and moves no other record.
        """
        if len(self._servers) == 1:
            return self._servers[0]
        visitor = key.rpartition(":")[2]
        return max(self._servers, key=lambda server: _score(server, visitor))

    def _due(self) -> float:
        return asyncio.get_running_loop().time() + self._timeout_s


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(tuple[Fields, str | None])


def _snapshot(item: Item) -> Snapshot:
    """Return what is in an item. Flags other than 0 stand for pickles, which are not looked into."""
    try:
        if item.flags != b"0":
            raise ValueError(f"flags {item.flags!r}")
        fields, ended = _decoder.decode(item.value)
        return Snapshot(fields, item.cas, ended)
    except (ValueError, RecursionError) as error:
        log.warning("ignored a record that this package did not write: %s", error)
        return Snapshot({}, item.cas)


def _exptime(ttl: float) -> int:
    """Return a time to live as memcached takes it, never shorter than `ttl` seconds."""
    seconds = math.floor(ttl) + 1  # its clock ticks once a second
    return seconds if seconds <= _RELATIVE_S else min(math.floor(time.time()) + seconds, _LAST_DATE)


def _name(key: str) -> bytes:
    """Return `key` as memcached can take it: a blank or a line break in it would be a command."""
    if not _PLAIN.fullmatch(key):
        key = f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"
    return key.encode()


def _score(server: Server, visitor: str) -> float:
    """Return how strongly `server` attracts `visitor`; the logarithm makes the weights exact."""
    digest = hashlib.blake2b(f"{server.name}|{visitor}".encode(), digest_size=8).digest()
    return server.weight / -math.log((int.from_bytes(digest) + 0.5) / 2**64)
