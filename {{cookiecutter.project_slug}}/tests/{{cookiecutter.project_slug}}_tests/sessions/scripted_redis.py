"""Servers that speak Redis's protocol and reply what a test says: sentinels, and a cluster.

Real ones take seconds to agree, and cannot be made to disagree when a test wants it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

from redis.asyncio import Connection
from redis.crc import key_slot
from redis.exceptions import ResponseError

from ..servers import HOST
from .scripted_server import ScriptedServer

Reply = Callable[[list[bytes]], Any]
"""Maps a command to the reply, which `_encoded` encodes; a function or coroutine function."""
SILENCE: Final = object()
"""No reply."""

SLOTS: Final = 16_384


class Scripted(ScriptedServer):
    """A server that replies what `reply` returns."""

    def __init__(self, reply: Reply) -> None:
        super().__init__()
        self.commands: list[str] = []
        """The names of those that it got."""
        self.selected: list[bytes] = []
        """The databases that connections have chosen."""
        self.accepted = 0
        self.connections = 0
        """How many of those that it has accepted are open."""
        self._reply = reply

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self.accepted += 1
        self.connections += 1
        with contextlib.suppress(ConnectionError, EOFError):
            while head := await reader.readline():
                command = []
                for _ in range(int(head[1:])):
                    size = int((await reader.readline())[1:])
                    command.append((await reader.readexactly(size + 2))[:-2])
                self.commands.append(command[0].decode())
                if command[0] == b"SELECT":
                    self.selected.append(command[1])
                reply = self._reply(command)
                if isinstance(reply, Awaitable):
                    reply = await reply
                if reply is not SILENCE:
                    writer.write(_encoded(reply))
        self.connections -= 1


@asynccontextmanager
async def scripted(*replies: Reply) -> AsyncIterator[list[Scripted]]:
    """A server for each of the replies."""
    servers = [Scripted(reply) for reply in replies]
    async with AsyncExitStack() as stack:
        for each in servers:
            await each.start()
            stack.push_async_callback(each.stop)
        yield servers


class Cluster:
    """Two masters in front of one real server. Each refuses the keys that it does not keep.

    A test may change all of it between two requests.
    """

    def __init__(self, real: Connection) -> None:
        self.nodes: list[Scripted] = []
        self.first_keeps = SLOTS // 2
        """How many slots the first node keeps; the second keeps the rest."""
        self.swapped = False
        """The second node keeps what the first has kept, and the first the rest."""
        self.asks = False
        """Slots are on their way: who keeps a key sends requests for it to the other node."""
        self.disagree = False
        """Each node sends all requests to the other."""
        self.frozen: Scripted | None = None
        self.outside: list[Scripted] = []
        """Nodes that are in no cluster: they keep nothing, and know no other node."""
        self.host: bytes | None = HOST.encode()
        """The host in replies to CLUSTER SLOTS; empty if the node does not know it."""
        self.other_host = HOST
        """The host in redirects to the other node."""
        self.left: Scripted | None = None
        """A node that CLUSTER SLOTS does not name any more."""
        self._asking: Scripted | None = None
        self._real = real
        self._is_free = asyncio.Lock()

    def got(self) -> list[list[str]]:
        """Return what each node got about keys since the last call."""
        both = [[name for name in node.commands if name in _ABOUT_KEYS] for node in self.nodes]
        for node in self.nodes:
            node.commands.clear()
        return both

    async def reply(self, number: int, command: list[bytes]) -> Any:
        node, other = self.nodes[number], self.nodes[not number]
        if node is self.frozen:
            return SILENCE
        match command[0]:
            case b"CLUSTER":
                return [] if node in self.outside else self._slots()
            case b"ASKING":
                self._asking = node
            case b"EVAL" | b"HGETALL":
                asking, self._asking = self._asking is node, None
                if node in self.outside:
                    return ResponseError("CLUSTERDOWN Hash slot not served")
                slot = key_slot(command[3 if command[0] == b"EVAL" else 1])
                keeps = (slot < self.first_keeps) == (node is self._owners()[0])
                if self.disagree or not (keeps or asking):
                    return ResponseError(f"MOVED {slot} {self.other_host}:{other.port}")
                if keeps and self.asks:
                    return ResponseError(f"ASK {slot} {self.other_host}:{other.port}")
                async with self._is_free:
                    await self._real.send_command(*command)
                    return await self._real.read_response()
        return "OK"

    def _slots(self) -> list[Any]:
        ranges = [(0, self.first_keeps - 1), (self.first_keeps, SLOTS - 1)]
        return [
            # Each is the other's replica.
            [first, last, *([self.host, n.port, b"id"] for n in nodes if n is not self.left)]
            for (first, last), *nodes in zip(
                ranges, self._owners(), self._owners()[::-1], strict=True
            )
            if first <= last
        ]

    def _owners(self) -> list[Scripted]:
        return self.nodes[::-1] if self.swapped else self.nodes


_ABOUT_KEYS = ("ASKING", "EVAL", "HGETALL")


@asynccontextmanager
async def cluster(storage: dict[str, Any]) -> AsyncIterator[Cluster]:
    """A cluster in front of the real server at `storage`."""
    real = Connection(**storage, protocol=2)
    made = Cluster(real)
    async with scripted(
        lambda command: made.reply(0, command), lambda command: made.reply(1, command)
    ) as made.nodes:
        try:
            yield made
        finally:
            await real.disconnect()


def _encoded(reply: Any) -> bytes:
    """Return a reply in RESP 2: a str is a status, bytes are a value, an exception is an error."""
    match reply:
        case None:
            return b"$-1\r\n"
        case int():
            return b":%d\r\n" % reply
        case str():
            return b"+%b\r\n" % reply.encode()
        case bytes():
            return b"$%d\r\n%b\r\n" % (len(reply), reply)
        case Exception():
            return b"-%b\r\n" % str(reply).encode()
        case _:
            return b"*%d\r\n%b" % (len(reply), b"".join(map(_encoded, reply)))
