"""A connection to a memcached server.

python-memcached reads the addresses. Its commands are not used: they block, take a dead server for
a miss, unpickle what they find, and turn a `cas` without a number into a plain `set`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import memcache  # type: ignore[import-untyped]  # it has no types
import msgspec

from ..errors import StoreUnavailable
from .connection import Connection

_LINES: Final = {
    # verb: the lines that may come in reply, up to a reason; any other is one to another command
    "gets": (b"END",),
    "gats -1": (b"END",),
    "add": (b"STORED", b"NOT_STORED", b"SERVER_ERROR"),
    "cas": (b"STORED", b"EXISTS", b"NOT_FOUND", b"SERVER_ERROR"),
}
_ALL_LINES: Final = tuple(line for lines in _LINES.values() for line in lines)
_HEAVIEST: Final = 1000
"""A larger number beside a server is its port, most likely."""
_END: Final = b"\r\nEND\r\n"
"""What follows an item's value."""


class Item(msgspec.Struct):
    """What a `gets` or `gats` has found."""

    name: bytes
    flags: bytes
    cas: bytes
    value: bytes


class Server(NamedTuple):
    name: str
    family: int
    address: Any
    """Host and port, or the path of a socket."""
    weight: int

    @property
    def url(self) -> str:
        return f"memcached://{self.name}"


def parsed(server: Any) -> Server:
    """Return a server as python-memcached reads it. Raises `ValueError` if it cannot be one."""
    given, weight = server if isinstance(server, list | tuple) else (server, 1)
    if not isinstance(given, str) or type(weight) is not int or not 1 <= weight <= _HEAVIEST:
        raise ValueError(server)
    if given.startswith("/") or re.search(r"[\s@]", given):
        raise ValueError(server)
    host = memcache.Client([given]).servers[0]
    if isinstance(host.address, str):
        name, port = host.address, 1
    else:
        name, port = ":".join(map(str, host.address)), host.address[1]
    if not name or not 0 < port < 65536:
        raise ValueError(server)
    return Server(name, host.family, host.address, weight)


class MemcachedConnection(Connection):
    """A question is a verb and a name; a reply is an item, or a line."""

    def __init__(self, server: Server, timeout_s: float) -> None:
        super().__init__(server.url, timeout_s)
        self._server = server
        self._data = b""
        self._at = 0
        """Where in `_data` the next reply begins."""

    async def _connect(self) -> None:
        server = self._server
        if isinstance(server.address, str):
            await self._open(server.address)
        else:
            host, port = server.address[:2]
            await self._open(host, port, server.family)

    def _refused(self, error: OSError) -> StoreUnavailable:
        cure = "start memcached, or correct 'servers' in storage"
        return StoreUnavailable(self.address, f"it is not there: {error}", cure)

    def _replies(self, data: bytes) -> Iterator[Item | bytes]:
        self._data, self._at = self._data[self._at :] + data, 0
        while (reply := self._parse()) is not None:
            yield reply

    def _answers(self, reply: Item | bytes, question: tuple[str, bytes]) -> bool:
        verb, name = question
        if isinstance(reply, Item):
            return verb.startswith("g") and reply.name == name
        if not reply.startswith(_ALL_LINES):
            raise ValueError(f"it answers {reply[:60]!r}: is it memcached, without passwords (-Y)?")
        return reply.startswith(_LINES[verb])

    def _parse(self) -> Item | bytes | None:
        """Return the next reply in what was read; None if it is not complete."""
        end = self._data.find(b"\r\n", self._at)
        if end < 0:
            return None
        line, after = self._data[self._at : end], end + 2
        if not line.startswith(b"VALUE "):
            self._at = after
            return line
        _, name, flags, size, cas = line.split()
        end = after + int(size)
        last = self._data[end : end + len(_END)]
        if len(last) < len(_END):
            return None
        if last != _END:
            raise ValueError("an item without an end")
        self._at = end + len(_END)
        return Item(name, flags, cas, self._data[after:end])
