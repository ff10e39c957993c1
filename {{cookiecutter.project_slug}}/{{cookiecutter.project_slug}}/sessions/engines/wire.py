"""A connection to a store's server, on which any number of requests are under way.

What is asked within one tick of the event loop leaves together. Answers come in the order of the
requests, and wake who waits for them without a task or a thread in between.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable
from typing import Any

from ..errors import StoreUnavailable
from .base import log


class Wire(asyncio.Protocol, ABC):
    """One connection, from its opening to its loss; after that, make a new one.

    A subclass says how to open it and where an answer ends. `timeout_s` is how long an answer may
    take, that of connecting included: then the connection is given up, since what arrives later
    would be taken for the answer to something else. Nothing is ever sent twice.
    """

    def __init__(self, address: str, timeout_s: float) -> None:
        self.lost = False
        self._address = address
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._closed = self._loop.create_future()
        self._leaving: list[bytes] = []
        self._waiting: deque[tuple[float, asyncio.Future[Any] | None]] = deque()
        self._alarm: asyncio.TimerHandle | None = None
        self._opening = self._loop.create_task(self._begin())

    @abstractmethod
    async def _open(self) -> asyncio.Transport:
        """Connect, log in, and return the transport, with this as its protocol.

        Raises `StoreUnavailable` or `OSError`.
        """

    @abstractmethod
    def _answers(self, data: bytes) -> Iterable[Any]:
        """Return the answers that are complete with `data`. Raises `ValueError` for nonsense."""

    @property
    def opened(self) -> bool:
        """Whether it came to be open; if not, nothing was sent."""
        return self._transport is not None

    def ask(self, command: bytes) -> asyncio.Future[Any]:
        """Return the future answer to `command`, which leaves at the end of this tick.

        It fails with `StoreUnavailable` if the connection does, or after `timeout_s`. What was sent
        may have been carried out even so.
        """
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._send(command, answer)
        return answer

    def tell(self, command: bytes) -> None:
        """Send `command` with the rest of this tick, whatever the answer."""
        self._send(command, None)

    async def close(self) -> None:
        """Hang up when what is under way is answered."""
        under_way = [answer for _, answer in self._waiting if answer is not None]
        if under_way:
            await asyncio.wait(under_way)
        self.lose("closed", blame=False)
        if self._transport is not None:
            await self._closed

    def lose(self, reason: str, *, blame: bool = True) -> None:
        """Give the connection up. Who still waits for an answer gets none.

        `blame`: whether it is likely that a new connection would fare no better.
        """
        if self.lost:
            return
        self.lost = True
        if self._alarm is not None:
            self._alarm.cancel()
        if self._transport is not None:
            self._transport.abort()
        else:
            self._opening.cancel()
        waiting, self._waiting = self._waiting, deque()
        for _, answer in waiting:
            if answer is not None and not answer.done():
                answer.set_exception(StoreUnavailable(self._address, reason))

    def data_received(self, data: bytes) -> None:
        try:
            for value in self._answers(data):
                _, answer = self._waiting.popleft()
                if answer is not None and not answer.done():  # done: whoever asked has gone
                    answer.set_result(value)
        except (ValueError, IndexError):
            self.lose("an answer that makes no sense")

    def eof_received(self) -> None:
        # The server was restarted, most likely. Whoever asks from here on connects anew.
        self.lose("the connection was closed", blame=False)

    def connection_lost(self, error: Exception | None) -> None:
        self._closed.set_result(None)
        self.lose(str(error) if error else "the connection was closed", blame=False)

    def _send(self, command: bytes, answer: asyncio.Future[Any] | None) -> None:
        if not self._leaving:
            self._loop.call_soon(self._depart)
        self._leaving.append(command)
        due = self._loop.time() + self._timeout_s
        self._waiting.append((due, answer))
        if self._alarm is None:
            self._alarm = self._loop.call_at(due, self._check)

    def _depart(self) -> None:
        if self._transport is not None and self._leaving:
            self._transport.write(b"".join(self._leaving))
            self._leaving.clear()

    def _check(self) -> None:
        """Runs when the answer that was waited for longest is due, or was when it was asked for."""
        self._alarm = None
        if not self._waiting:
            return
        due, _ = self._waiting[0]
        if due <= self._loop.time():
            self.lose(f"no answer within {self._timeout_s:g} s")
        else:
            self._alarm = self._loop.call_at(due, self._check)

    async def _begin(self) -> None:
        try:
            self._transport = await self._open()
        except StoreUnavailable as error:
            self.lose(error.cause)
        except OSError as error:
            self.lose(str(error) or type(error).__name__)
        except Exception as error:
            log.exception("an engine failed in a way it should not")
            self.lose(f"{type(error).__name__}: {error}")
        else:
            self._depart()
