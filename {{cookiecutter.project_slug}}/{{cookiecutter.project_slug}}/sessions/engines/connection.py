"""A connection to a store, on which any number of requests are under way at once.

Requests of one tick of the event loop leave together. Replies come in the order of the requests,
and each is checked to be a reply to its request; a connection that gets out of step is dropped.
"""

from __future__ import annotations

import asyncio
import math
import os
import socket
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from functools import partial
from ssl import SSLContext
from typing import Any, Final

import msgspec

from ..errors import StoreUnavailable
from .base import log

_REST_S: Final = 0.5
"""How long a node that could not be reached is left alone; its requests fail at once."""
_SILENCE: Final = 0.25
"""The part of `timeout_s` after which a silent connection counts as forgotten by a firewall."""
_KEEPALIVE: Final = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""Seconds of silence, seconds between probes, and probes until a connection counts as dead."""


class Request(msgspec.Struct):
    """A request under way."""

    reply: asyncio.Future[Any]
    command: bytes
    question: Any
    """What the engine's connection needs to recognize the reply."""
    due: float
    """When it fails, on the clock of the event loop."""
    repeatable: bool
    """It changes nothing: if the connection is lost or forgotten, it is asked on another one."""
    sent_at: float = 0.0


class Connection(asyncio.Protocol, ABC):
    """One connection, from its opening to its end; after that, make another one."""

    repeat: Callable[[Request], None]
    """Asks once more on another connection; set by `Connections`."""

    def __init__(self, address: str, timeout_s: float) -> None:
        self.address = address
        self.down = False
        """True if it takes no more requests."""
        self.rests_until = 0.0
        """When its node may be tried again, on the clock of the event loop."""
        self.cause = self.cure = ""
        """Why it is down, as in `StoreUnavailable`."""
        self.loop = asyncio.get_running_loop()
        self._timeout_s = timeout_s
        self._opened = self._ending = False
        self._heard = 0.0
        """When the server was heard last, or the oldest request left if that was later."""
        self._transport: asyncio.Transport | None = None
        self._outgoing: list[bytes] = []
        self._pending: deque[Request] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self.task = self.loop.create_task(self._run())

    @abstractmethod
    async def _connect(self) -> None:
        """Connect and log in. Raises `StoreUnavailable` or `OSError`."""

    @abstractmethod
    def _replies(self, data: bytes) -> Iterator[Any]:
        """Yield the replies that `data` completes. Raises `ValueError` if it makes no sense."""

    @abstractmethod
    def _answers(self, reply: Any, question: Any) -> bool:
        """Return whether `reply` can be the reply to `question`."""

    @abstractmethod
    def _refused(self, error: OSError) -> StoreUnavailable:
        """Return what it means that connecting has failed."""

    async def _disconnect(self) -> None:
        """Close what `_connect` has opened besides."""

    async def _open(
        self, host: str, port: int | None = None, family: int = 0, tls: SSLContext | None = None
    ) -> asyncio.Transport:
        """Connect to a host and port, or to the path of a socket, and return the transport."""
        if port is None:
            return (await self.loop.create_unix_connection(lambda: self, host))[0]
        opening = self.loop.create_connection(lambda: self, host, port, family=family, ssl=tls)
        transport, _ = await opening
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE.items():
            if hasattr(socket, option):  # not on every system
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        return transport

    def send(self, request: Request) -> None:
        """Send the request with the rest of this tick."""
        request.sent_at = now = self.loop.time()
        self._heard = self._heard if self._pending else now
        self._pending.append(request)
        if self._timer is None or self._timer.when() > request.due:
            self._set_timer()
        if self._opened and not self._outgoing:
            self.loop.call_soon(self._flush)
        self._outgoing.append(request.command)

    def mark_down(
        self, cause: str, cure: str = "", *, rest: bool = False, repeat: bool = False
    ) -> None:
        """Drop the connection and fail every pending request; `repeat`: ask reads on another one.

        `rest`: another connection to this node would fare no better for now.
        """
        if not self.cause:
            self.cause, self.cure = cause, cure
        self.down = True
        if rest:
            self.rests_until = self.loop.time() + _REST_S
        pending, self._pending = self._pending, deque()
        for each in pending:
            if repeat and each.repeatable:
                each.repeatable = False
                self.repeat(each)
            elif not each.reply.done():
                each.reply.set_exception(StoreUnavailable(self.address, self.cause, self.cure))
        if self._transport is not None:
            self._transport.abort()
        if not self._ending:  # a second cancel would interrupt the disconnecting
            self._ending = True
            self.task.cancel()

    def retire(self) -> None:
        """Take no more requests, and hang up after the last reply; reads are asked elsewhere."""
        if not self._opened:  # it leads to where another one would
            return
        self.down, nobody = True, self.loop.create_future()
        nobody.cancel()  # waits for the reply here
        for at, each in enumerate(self._pending):
            if each.repeatable:
                self._pending[at] = msgspec.structs.replace(each, reply=nobody, repeatable=False)
                each.repeatable = False
                self.repeat(each)
        if not self._pending:
            self.mark_down("closed")

    async def close(self) -> None:
        """Wait for the requests under way, then hang up."""
        self.down = True
        if under_way := [each.reply for each in self._pending if not each.reply.done()]:
            await asyncio.wait(under_way)
        self.mark_down("closed")
        await asyncio.wait([self.task])

    async def _run(self) -> None:
        """Connect, and live until the connection is marked down or the event loop ends."""
        try:
            await self._connect()
            self._opened = True
            self._flush()
            await self.loop.create_future()
        except Exception as error:
            self._ending = True
            if isinstance(error, OSError):
                error = self._refused(error)
            if not isinstance(error, StoreUnavailable):
                log.exception("an engine failed in a way it should not")
                error = StoreUnavailable(self.address, repr(error))
            self.mark_down(error.cause, error.cure, rest=True)
        finally:
            self._ending = True
            self.mark_down("closed")  # if the event loop ends; otherwise it is down already
            await self._disconnect()

    # What asyncio calls

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._heard = self.loop.time()
        try:
            for reply in self._replies(data):
                self._deliver(reply)
        except ValueError as error:
            self.mark_down(str(error), rest=not self._opened)

    def connection_lost(self, error: Exception | None) -> None:
        lost = error if isinstance(error, OSError) else ConnectionError("the connection was closed")
        if self._opened:  # the server was restarted, most likely
            self.mark_down(str(lost), repeat=True)
        else:
            refused = self._refused(lost)
            self.mark_down(refused.cause, refused.cure, rest=True)

    def _flush(self) -> None:
        """Write what is outgoing."""
        if self._transport is not None and self._outgoing:
            self._transport.write(b"".join(self._outgoing))
            self._outgoing.clear()

    def _deliver(self, reply: Any) -> None:
        if not self._pending:
            raise ValueError("a reply without a request")
        request = self._pending[0]
        if not self._answers(reply, request.question):
            raise ValueError("a reply to another request")
        self._pending.popleft()
        if not request.reply.done():  # done: the caller was cancelled
            request.reply.set_result(reply)
        if self.down and not self._pending:
            self.mark_down("closed")

    def _set_timer(self) -> None:
        """Set the timer for when a request is due, or the silence may have become too long."""
        if self._timer is not None:
            self._timer.cancel()
        silence_ends = self.loop.time() + self._timeout_s * _SILENCE
        at = min(silence_ends, *(each.due for each in self._pending))
        self._timer = self.loop.call_at(at, self._check)

    def _check(self) -> None:
        """Timer callback: drop a silent connection if a request is due, or else retire it."""
        self._timer = None
        now = self.loop.time()
        is_silent = now - self._heard >= self._timeout_s * _SILENCE
        due = [each for each in self._pending if each.due <= now]
        is_behind = bool(due) and now - self._pending[0].sent_at >= self._timeout_s
        if due and (is_silent or is_behind or not self._opened):
            self.mark_down(f"no reply within {self._timeout_s:g} s", rest=True)
        for each in due:  # asked late, of a server that answers others: its reply is still to come
            each.due = math.inf
            if not each.reply.done():
                each.reply.set_exception(StoreUnavailable(self.address, "no time is left"))
        if self._pending:
            if is_silent and not self.down and any(each.repeatable for each in self._pending):
                self.retire()
            self._set_timer()


class Connections:
    """The connections of an engine: one for each node, in each event loop of each process."""

    def __init__(self, connect: Callable[[Any], Connection]) -> None:
        """`connect` gets a node: any object that stands for a server."""
        self._connect = connect
        # After a fork both processes hold the same sockets. The child leaves those to its parent,
        # and does not even close them, which would disturb the parent's event loop.
        self._known: dict[tuple[int, asyncio.AbstractEventLoop, Hashable], list[Connection]] = {}
        """The last one of a list is in use; the others may still wait for replies."""

    def request(
        self, node: Hashable, command: bytes, question: Any, due: float, *, repeatable: bool = False
    ) -> asyncio.Future[Any]:
        """Send `command` and return the future reply; it fails with `StoreUnavailable` at `due`.

        Raises `StoreUnavailable` if the node is known to be down.
        """
        connection = self.to(node)
        reply: asyncio.Future[Any] = connection.loop.create_future()
        connection.send(Request(reply, command, question, due, repeatable))
        return reply

    def to(self, node: Hashable) -> Connection:
        """Return the connection to `node`. Raises `StoreUnavailable` if that is known to fail."""
        home = os.getpid(), asyncio.get_running_loop(), node
        known = self._known.get(home)
        if known and not known[-1].down:
            return known[-1]
        if known and known[-1].rests_until > known[-1].loop.time():
            raise StoreUnavailable(known[-1].address, known[-1].cause, known[-1].cure)
        for key in [key for key in self._known if key[1].is_closed()]:
            del self._known[key]
        connection = self._connect(node)
        connection.repeat = partial(self._repeat, node)
        self._known[home] = [*(each for each in known or () if not each.task.done()), connection]
        return connection

    async def close(self) -> None:
        """Close the connections of this event loop."""
        here = os.getpid(), asyncio.get_running_loop()
        ours = [each for home, known in self._known.items() if home[:2] == here for each in known]
        await asyncio.gather(*(each.close() for each in ours))

    def _repeat(self, node: Hashable, request: Request) -> None:
        if not request.reply.done():  # done: the caller was cancelled
            try:
                self.to(node).send(request)
            except StoreUnavailable as error:
                request.reply.set_exception(error)
