"""Connections to the memcached servers, and what is said on them.

python-memcached reads the servers' addresses, says which of them keeps a key, and leaves a dead one
alone for a while. Its commands are not used: they block, take a dead server for a miss, unpickle
what they find, and turn a `cas` without a number into a plain `set`.
"""

from __future__ import annotations

import asyncio
import math
import socket
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import memcache  # type: ignore[import-untyped]  # it has no types

from ..errors import StoreUnavailable
from .wire import Wire

_DEAD_RETRY_S: Final = 0.5
"""How long a server that did not answer is left alone; python-memcached's own default is 30."""

_RELATIVE_S: Final = 30 * 24 * 60 * 60
"""memcached reads a longer time to live as a date."""

_NONSENSE: Final = (b"ERROR", b"CLIENT_ERROR")
"""What a server says that did not understand: what it says next may belong to anything."""


class Item(NamedTuple):
    """What a `gets` or `gats` has found."""

    value: bytes
    flags: bytes
    cas: str
    """The number that a `cas` must name."""


Answer = Item | bytes
"""An item, or the line that stands in its place."""


class Servers:
    """The servers that keep an engine's records."""

    def __init__(
        self, servers: Sequence[str], address: str, timeout_s: float, *, failover: bool
    ) -> None:
        self._hosts = [memcache._Host(server, dead_retry=_DEAD_RETRY_S) for server in servers]
        self._wires: dict[Any, MemcachedWire] = {}
        self._address = address
        self._timeout_s = timeout_s
        self._failover = failover

    async def ask(self, key: str, command: bytes) -> Answer:
        """Return the answer of the server that keeps `key`. Raises `StoreUnavailable`."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._timeout_s
        while True:
            wire = self._wire(key)
            try:
                answer: Answer = await wire.ask(command)
            except StoreUnavailable:
                if wire.opened or not self._failover or loop.time() >= due:
                    raise
                # Nothing was sent: there is another server to try.
            else:
                return answer

    def tell(self, key: str, command: bytes) -> None:
        """Send `command` with the next one that is asked about `key`, whatever the answer."""
        self._wire(key).tell(command)

    async def close(self) -> None:
        """Hang up when what is under way is answered."""
        for wire in self._wires.values():
            await wire.close()

    def _wire(self, key: str) -> MemcachedWire:
        """The connection to the server that keeps `key`, opened where there is none."""
        host = self._host(key)
        wire = self._wires.get(host)
        if wire is None or wire.lost:
            if host._check_dead():
                place = _place(host)
                raise StoreUnavailable(self._address, f"no answer from {place} (not reachable)")
            wire = self._wires[host] = MemcachedWire(host, self._address, self._timeout_s)
        return wire

    def _host(self, key: str) -> Any:
        """The server that keeps `key`.

        The next one stands in for a dead one only with `failover`: it may still hold a session
        that was ended long ago.
        """
        if len(self._hosts) == 1:
            return self._hosts[0]
        first = int(memcache.serverHashFunction(key.encode())) % len(self._hosts)
        if self._failover:
            for host in self._hosts[first:] + self._hosts[:first]:
                if not host._check_dead():
                    return host
        return self._hosts[first]


class MemcachedWire(Wire):
    def __init__(self, host: Any, address: str, timeout_s: float) -> None:
        super().__init__(address, timeout_s)
        self._host = host
        self._unread = b""

    def lose(self, reason: str, *, blame: bool = True) -> None:
        if blame and not self.lost:
            self._host.mark_dead(reason)
        super().lose(f"no answer from {_place(self._host)} ({reason})", blame=blame)

    async def _open(self) -> asyncio.Transport:
        connection = socket.socket(self._host.family, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            await self._loop.sock_connect(connection, self._host.address)
            transport, _ = await self._loop.create_connection(lambda: self, sock=connection)
        except BaseException:
            connection.close()
            raise
        return transport

    def _answers(self, data: bytes) -> Iterator[Answer]:
        """An answer is a line, or an item and the line `END`."""
        unread = self._unread + data if self._unread else data
        position = 0
        while (end := unread.find(b"\r\n", position)) >= 0:
            line = unread[position:end]
            position = end + 2
            if line.startswith(b"VALUE "):
                _, _, flags, size, cas = line.split()
                stop = position + int(size)
                whole = stop + len(b"\r\nEND\r\n")
                if len(unread) < whole:
                    position -= len(line) + 2
                    break
                if unread[stop:whole] != b"\r\nEND\r\n":
                    raise ValueError("an item without an end")
                yield Item(unread[position:stop], flags, cas.decode())
                position = whole
            else:
                yield line
                if line.startswith(_NONSENSE):
                    raise ValueError(line.decode(errors="replace"))
        self._unread = unread[position:]


def exptime(ttl: float) -> int:
    """Return a time to live in seconds as memcached takes it."""
    seconds = max(1, math.ceil(ttl))
    return seconds if seconds <= _RELATIVE_S else math.ceil(time.time() + ttl)


def _place(host: Any) -> str:
    return host.address if isinstance(host.address, str) else ":".join(map(str, host.address))
