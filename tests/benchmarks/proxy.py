"""Stands before a store and makes it further away: python proxy.py PORT STORE_PORT DELAY_MS.

What the application sends reaches the store that much later; answers go straight back. So a trip
takes DELAY_MS longer, and any number of trips can be under way at once. A process of its own, so
that it takes no time from the application's event loop.
"""

from __future__ import annotations

import asyncio
import select
import selectors
import sys
from collections import deque
from typing import Any, cast


class Leg(asyncio.Protocol):
    """One direction of a connection: what arrives here leaves through `other` after `delay_s`."""

    def __init__(self, delay_s: float) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: Leg | None = None
        self._delay_s = delay_s
        self._early: deque[bytes] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        while self._early:
            self.transport.write(self._early.popleft())

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            return
        if self._delay_s:
            asyncio.get_running_loop().call_later(self._delay_s, self.other.send, data)
        else:
            self.other.send(data)

    def send(self, data: bytes) -> None:
        if self.transport is None:  # still connecting
            self._early.append(data)
        elif not self.transport.is_closing():
            self.transport.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()


class Entrance(Leg):
    """The application's side; connects to the store."""

    def __init__(self, store_port: int, delay_s: float) -> None:
        super().__init__(delay_s)
        self._store_port = store_port
        self._connecting: asyncio.Task[Any] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        exit_ = Leg(0)
        self.other, exit_.other = exit_, self
        loop = asyncio.get_running_loop()
        self._connecting = loop.create_task(
            loop.create_connection(lambda: exit_, "127.0.0.1", self._store_port)
        )


class PunctualSelector(selectors.EpollSelector):
    """Waits to the microsecond, with select(); epoll, asyncio's choice, rounds 1 ms up to 2."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout > 0:
            select.select([self.fileno()], [], [], timeout)
            timeout = 0
        return super().select(timeout)


async def main(port: int, store_port: int, delay_s: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Entrance(store_port, delay_s), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(
        loop_factory=lambda: asyncio.SelectorEventLoop(PunctualSelector())
    ) as runner:
        runner.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) / 1000))
