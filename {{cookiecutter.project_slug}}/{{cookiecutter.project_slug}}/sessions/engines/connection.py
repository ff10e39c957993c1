"""A connection to a store, on which any number of requests are under way at once.

Requests of one tick of the event loop leave together. Replies come in the order of the requests,
and each is checked to be a reply to its request; a connection that gets out of step is dropped.
"""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, Final, Generic, NamedTuple, TypeVar

from ..errors import StoreUnavailable
from .base import log

Node = TypeVar("Node", bound=Hashable)

_REST_S: Final = 0.5
"""How long a node that could not be reached is left alone; its requests fail at once."""
_SILENCE: Final = 0.25
"""The part of `timeout_s` after which a silent connection counts as forgotten (see `request`)."""


class Unanswered(StoreUnavailable):
    """A read got no reply, and may be asked again on another connection."""


class _Pending(NamedTuple):
    """A request under way; the times are those of the event loop's clock."""

    reply: asyncio.Future[Any]
    question: Any
    sent: float
    due: float
    repeatable: bool


class Connection(ABC):
    """One connection, from its opening to its end; after that, make another one."""

    def __init__(self, address: str, timeout_s: float) -> None:
        self.address = address
        self.down = False
        """True if it takes no more requests."""
        self.rests_until = 0.0
        """When its node may be tried again, on the clock of the event loop."""
        self.cause = self.cure = ""
        """Why it is down, as in `StoreUnavailable`."""
        self._timeout_s = timeout_s
        self.loop = asyncio.get_running_loop()
        self._opened = self._ending = False
        self._heard = 0.0
        self._outgoing: list[bytes] = []
        self._has_outgoing = asyncio.Event()
        self._pending: deque[_Pending] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self.task = self.loop.create_task(self._run())

    @abstractmethod
    async def _connect(self) -> None:
        """Connect and log in. Raises `StoreUnavailable` or `OSError`."""

    @abstractmethod
    async def _write(self, data: bytes) -> None:
        """Write `data`. Raises `OSError`."""

    @abstractmethod
    async def _read(self) -> Any:
        """Return the next reply. Raises `OSError`, or `ValueError` if it makes no sense."""

    @abstractmethod
    async def _disconnect(self) -> None:
        """Close what `_connect` has opened, as far as it came."""

    @abstractmethod
    def _answers(self, reply: Any, question: Any) -> bool:
        """Return whether `reply` can be the reply to `question`."""

    def request(
        self, command: bytes, question: Any, due: float, *, repeatable: bool = False
    ) -> asyncio.Future[Any]:
        """Send `command` and return the future reply; it fails with `StoreUnavailable` at `due`.

        A `repeatable` request changes nothing. If the connection fails, or stays silent for a
        quarter of the time, as one does that a firewall has forgotten, it raises `Unanswered`.
        """
        reply: asyncio.Future[Any] = self.loop.create_future()
        self._pending.append(_Pending(reply, question, self.loop.time(), due, repeatable))
        if self._timer is None or self._timer.when() > due:
            self._set_timer()
        self.send(command)
        return reply

    def send(self, command: bytes) -> None:
        """Send `command` with the rest of this tick."""
        self._outgoing.append(command)
        self._has_outgoing.set()

    async def flush(self) -> None:
        """Write what is outgoing, as long as the connection lives."""
        try:
            while True:
                await self._has_outgoing.wait()
                self._has_outgoing.clear()
                data = b"".join(self._outgoing)
                self._outgoing.clear()
                await self._write(data)
        except (OSError, RuntimeError) as error:  # RuntimeError: the transport is closing
            self.mark_down(str(error))

    def mark_down(self, cause: str, cure: str = "", *, rest: bool = False) -> None:
        """Drop the connection and fail every pending request.

        `rest`: another connection to this node would fare no better for now.
        """
        self._fail(cause, cure, rest=rest)
        self._hang_up()

    def retire(self) -> None:
        """Take no more requests, wait for the replies to those under way, then hang up.

        Reads are asked again elsewhere, rather than waited for.
        """
        self.down = True
        for each in self._pending:
            if each.repeatable and not each.reply.done():
                each.reply.set_exception(Unanswered(self.address, "no reply yet"))
        if not self._pending:
            self._hang_up()

    async def close(self) -> None:
        """Wait for the requests under way, then hang up."""
        self.down = True
        if under_way := [each.reply for each in self._pending if not each.reply.done()]:
            await asyncio.wait(under_way)
        self.mark_down("closed")
        await asyncio.wait([self.task])

    def _hang_up(self) -> None:
        if not self._ending:  # a second cancel would interrupt the disconnecting
            self._ending = True
            self.task.cancel()

    async def _run(self) -> None:
        writer = None
        try:
            await self._connect()
            self._opened = True
            writer = self.loop.create_task(self.flush())
            while True:
                self._deliver(await self._read())
        except StoreUnavailable as error:
            self._fail(error.cause, error.cure, rest=True)
        except ValueError as error:
            self._fail(str(error), rest=not self._opened)
        except (OSError, EOFError) as error:
            # Lost after it was open: the server was restarted, most likely. Connect again at once.
            cause = str(error) or "the connection was closed"
            self._fail(cause, rest=not self._opened, lost=self._opened)
        except asyncio.CancelledError:  # by mark_down, or because the event loop ends
            self._fail("closed")
            raise
        except Exception as error:
            log.exception("an engine failed in a way it should not")
            self._fail(f"{type(error).__name__}: {error}")
        finally:
            self._ending = True
            if writer is not None:
                writer.cancel()
                await asyncio.wait([writer])
            await self._disconnect()

    def _deliver(self, reply: Any) -> None:
        if not self._pending:
            raise ValueError("a reply without a request")
        if not self._answers(reply, self._pending[0].question):
            raise ValueError("a reply to another request")
        self._heard = self.loop.time()
        pending = self._pending.popleft()
        if not pending.reply.done():  # done: the caller was cancelled, or asks elsewhere
            pending.reply.set_result(reply)
        if self.down and not self._pending:
            self._hang_up()

    def _fail(self, cause: str, cure: str = "", *, rest: bool = False, lost: bool = False) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.cause, self.cure = self.cause or cause, self.cure or cure
        self.down = True
        if rest:
            self.rests_until = self.loop.time() + _REST_S
        pending, self._pending = self._pending, deque()
        for each in pending:
            if not each.reply.done():
                error = Unanswered if each.repeatable and lost else StoreUnavailable
                each.reply.set_exception(error(self.address, self.cause, self.cure))

    def _set_timer(self) -> None:
        """Set the timer for when a request is due, or the silence may have become too long."""
        if self._timer is not None:
            self._timer.cancel()
        now = self.loop.time()
        at = min(now + self._timeout_s * _SILENCE, *(each.due for each in self._pending))
        self._timer = self.loop.call_at(at, self._check)

    def _check(self) -> None:
        self._timer = None
        if not self._pending:
            return
        now = self.loop.time()
        silent_s = now - max(self._heard, self._pending[0].sent)
        if min(each.due for each in self._pending) <= now:
            self.mark_down(f"no reply within {self._timeout_s:g} s", rest=True)
            return
        forgotten = self._opened and not self.down and silent_s >= self._timeout_s * _SILENCE
        if forgotten and any(each.repeatable for each in self._pending):
            self.retire()
        self._set_timer()


class _Home(NamedTuple):
    """The connections of one event loop."""

    by_node: dict[Any, Connection]
    alive: set[Connection]
    """Those that still wait for replies, although another has taken their place, among them."""


class Connections(Generic[Node]):
    """The connections of an engine: one for each node, in each event loop of each process."""

    def __init__(self, connect: Callable[[Node], Connection]) -> None:
        self._connect = connect
        # After a fork both processes hold the same sockets. The child leaves those to its parent,
        # and does not even close them, which would disturb the parent's event loop.
        self._homes: dict[tuple[int, asyncio.AbstractEventLoop], _Home] = {}

    def to(self, node: Node) -> Connection:
        """Return the connection to `node`. Raises `StoreUnavailable` if that is known to fail."""
        home = self._home()
        connection = home.by_node.get(node)
        if connection is None or connection.down:
            if connection is not None and connection.rests_until > connection.loop.time():
                raise StoreUnavailable(connection.address, connection.cause, connection.cure)
            connection = home.by_node[node] = self._connect(node)
            home.alive.add(connection)
            connection.task.add_done_callback(partial(_forget, home, connection))
        return connection

    async def request(
        self,
        node: Node,
        command: bytes,
        question: Any,
        due: float,
        *,
        repeatable: bool = False,
    ) -> Any:
        """Return the reply of `node`. What is `repeatable` is asked once more if need be."""
        try:
            return await self.to(node).request(command, question, due, repeatable=repeatable)
        except Unanswered:
            return await self.to(node).request(command, question, due)

    async def close(self) -> None:
        """Close the connections of this event loop."""
        await asyncio.gather(*(connection.close() for connection in self._home().alive))

    def _home(self) -> _Home:
        key = (os.getpid(), asyncio.get_running_loop())
        home = self._homes.get(key)
        if home is None:
            for process, loop in list(self._homes):
                if process == key[0] and loop.is_closed():
                    del self._homes[process, loop]
            home = self._homes[key] = _Home({}, set())
        return home


def _forget(home: _Home, connection: Connection, task: asyncio.Task[None]) -> None:
    home.alive.discard(connection)
