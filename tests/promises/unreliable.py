"""Networks and servers that misbehave, between an engine and its real store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from .servers import HOST

Edit = Callable[[bytes], bytes]


class Network:
    """Forwards to one port of this machine. `port` is where it listens."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self.opened = 0
        """How many connections were made."""
        self.sent: list[bytes] = []
        """What went to the server, or should have."""
        self.edit: Edit = lambda data: data
        """Changes what the server replies."""
        self._forgotten = self._slow = 0
        self._slow_s = 0.0
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()

    def forget(self) -> None:
        """Drop all packets of the connections that are open, as a firewall does; tell nobody."""
        self._forgotten = self.opened

    def slow_down(self, seconds: float) -> None:
        """Delay the replies on the connections that are open."""
        self._slow, self._slow_s = self.opened, seconds

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.opened += 1
        number = self.opened
        server_reader, server_writer = await asyncio.open_connection(HOST, self._target)
        self._writers |= {writer, server_writer}

        async def up() -> None:
            while data := await reader.read(65536):
                self.sent.append(data)
                if number > self._forgotten:
                    server_writer.write(data)

        async def down() -> None:
            while data := await server_reader.read(65536):
                if number <= self._slow:
                    await asyncio.sleep(self._slow_s)
                if number > self._forgotten:
                    writer.write(self.edit(data))

        tasks = [asyncio.create_task(up()), asyncio.create_task(down())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.cut(writer, server_writer)

    @property
    def connected(self) -> bool:
        """Whether a connection is open."""
        return bool(self._writers)

    def cut(self, *writers: asyncio.StreamWriter) -> None:
        """Cut these connections, or all."""
        for writer in writers or tuple(self._writers):
            writer.transport.abort()
            self._writers.discard(writer)


@asynccontextmanager
async def network(target: int) -> AsyncIterator[Network]:
    """A network before that port for the length of a block."""
    made = Network(target)
    server = await asyncio.start_server(made.handle, HOST, 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        made.cut()
        await asyncio.sleep(0.05)  # the handlers end
