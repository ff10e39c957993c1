"""A TCP proxy between the app and its store that loses replies.

It stands for a network: the command arrives and is carried out, and the reply never comes back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from .servers import HOST


class Proxy:
    """Forwards to one port of this machine. `port` is where it listens."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self.cut_after: bytes | None = None
        """The reply to the next command that contains this is lost, and its connection cut."""
        self.on_cut: Callable[[], Awaitable[None]] | None = None
        """Awaited when the command was carried out, before the connection is cut."""
        self.delay_s = 0.0
        """How late replies are."""
        self.sent: list[bytes] = []
        """What went to the server, as it came."""
        self.cuts = 0
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        up_reader, up_writer = await asyncio.open_connection(HOST, self._target)
        self._writers |= {writer, up_writer}
        lost = asyncio.Event()

        async def up() -> None:
            while data := await reader.read(65536):
                self.sent.append(data)
                if self.cut_after is not None and self.cut_after in data:
                    self.cut_after = None
                    lost.set()
                up_writer.write(data)

        async def down() -> None:
            while data := await up_reader.read(65536):
                if lost.is_set():  # a reply: so the command was carried out
                    self.cuts += 1
                    if self.on_cut is not None:
                        await self.on_cut()
                    return
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                writer.write(data)

        tasks = [asyncio.create_task(up()), asyncio.create_task(down())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for each in (writer, up_writer):
                each.transport.abort()
            self._writers -= {writer, up_writer}

    def lead_to(self, target: int) -> None:
        """Lead connections that are opened from here on to another port."""
        self._target = target

    def cut_all(self) -> None:
        """Cut every connection."""
        for writer in self._writers:
            writer.transport.abort()


@asynccontextmanager
async def before(target: int) -> AsyncIterator[Proxy]:
    """A proxy before that port for the length of a block."""
    proxy = Proxy(target)
    server = await asyncio.start_server(proxy.handle, HOST, 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut_all()
        await asyncio.sleep(0.05)  # the handlers end
