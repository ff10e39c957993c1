"""The contract of an engine, and how the calls of one tick share a trip.

A record is a set of named byte fields with one time to live. Sessions, notifications, the index of
active sessions and login throttles are all records. A record that is unknown, expired or malformed
is "not there", which is a value; a store that does not answer is `StoreUnavailable`.
"""

from __future__ import annotations

import asyncio
import difflib
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar, Final, Generic, TypeVar

from ..errors import StoreUnavailable

Fields = dict[str, bytes]
"""A record's content, by field name."""

log = logging.getLogger(__package__)


def unknown_names(where: str, given: Mapping[str, Any], known: Sequence[str]) -> list[str]:
    """Return a fault for each name in `given` that is not `known`, with the nearest that is."""
    faults = []
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            faults.append(f"{where} has no {name!r}: {hint}")
    return faults


class Engine(ABC):
    """Keeps records. One engine serves a whole application; no call ever blocks the event loop.

    Every call ends within the engine's `timeout_s` seconds. `ttl` is a record's time to live in
    seconds, set in the same atomic step as its content: no record is ever without one.
    """

    name: ClassVar[str]
    """What `settings["pycket"]["engine"]` calls it."""

    address: str
    """Where the store is, for people."""

    @classmethod
    @abstractmethod
    def faults(cls, storage: Mapping[str, Any]) -> list[str]:
        """Say everything that is wrong with `settings["pycket"]["storage"]`, one sentence each."""

    @classmethod
    @abstractmethod
    def open(cls, storage: Mapping[str, Any], role: str, timeout_s: float) -> Engine:
        """Return an engine for `role`, "sessions" or "notifications". Connects on first use."""

    @abstractmethod
    async def load(self, key: str, ttl: float | None = None) -> Fields:
        """Return the record, or {} where there is none. A `ttl` extends the life of a record."""

    @abstractmethod
    async def save(
        self, key: str, changes: Mapping[str, bytes | None], ttl: float, *, create: bool
    ) -> bool:
        """Merge `changes` into the record; None removes a field.

        Returns False, and writes nothing, where there is no record and `create` is False.
        """

    @abstractmethod
    async def take(self, key: str, *fields: str) -> Fields:
        """Remove the named fields, or the whole record, and return what they held.

        Of any number of concurrent takers exactly one gets a field. Never sent twice.
        """

    @abstractmethod
    async def swap(
        self,
        key: str,
        field: str,
        old: bytes | None,
        new: bytes | None,
        ttl: float,
        *,
        create: bool,
    ) -> bool:
        """Set one field to `new` if it still holds `old`; None stands for absent.

        Returns False, and writes nothing, where it holds something else, or where there is no
        record and `create` is False. Never sent twice.
        """

    @abstractmethod
    async def delete(self, key: str) -> None:
        """Remove the record, if there is one."""

    @abstractmethod
    async def ping(self) -> None:
        """Return when the store has answered; `StoreUnavailable` where it does not."""

    @abstractmethod
    async def close(self) -> None:
        """Give back connections and threads. The engine is not used afterwards."""


class Extensions:
    """Spares a reading request the command that extends its record.

    A life that was extended to `ttl` within the last hundredth of `ttl` is left as it is: a record
    may so end by that much earlier than its last use says, never later.
    """

    _SLACK: Final = 0.01
    _MOST_KEYS: Final = 20_000

    def __init__(self) -> None:
        self._done: dict[str, tuple[float, float]] = {}

    def due(self, key: str, ttl: float) -> bool:
        """Whether the record is to be extended; if so, it counts as done."""
        now = time.monotonic()
        until, extended_to = self._done.get(key, (0.0, 0.0))
        if now < until and extended_to == ttl:
            return False
        if len(self._done) >= self._MOST_KEYS:
            self._done.clear()
        self._done[key] = (now + ttl * self._SLACK, ttl)
        return True

    def forget(self, key: str) -> None:
        """Note that the record's life was set by something else."""
        self._done.pop(key, None)


Request = TypeVar("Request")


class SharedTrips(Generic[Request]):
    """Sends what was asked for in one tick of the event loop to the store together.

    `send` gets the requests of a trip and returns their results in order, an exception as a result
    where one alone has failed. While `limit` trips are under way, requests gather for the next one:
    the slower the store, the fuller the trips, so that latency costs little throughput.
    """

    def __init__(
        self,
        send: Callable[[list[Request]], Awaitable[Sequence[Any]]],
        *,
        address: str,
        limit: int,
        timeout_s: float,
    ) -> None:
        self._send = send
        self._address = address
        self._limit = limit
        self._timeout_s = timeout_s
        self._waiting: list[tuple[Request, asyncio.Future[Any]]] = []
        self._overdue: asyncio.TimerHandle | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    def ask(self, request: Request) -> asyncio.Future[Any]:
        """Return the future result of `request`, which leaves at the end of this tick."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._depart)
        self._waiting.append((request, answer))
        return answer

    async def finish(self) -> None:
        """Wait for the trips under way."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    def _depart(self) -> None:
        if not self._waiting:
            return
        loop = asyncio.get_running_loop()
        if len(self._under_way) < self._limit:
            due = loop.time() + self._timeout_s
            if self._overdue is not None:
                due = self._overdue.when()
                self._overdue.cancel()
                self._overdue = None
            passengers, self._waiting = self._waiting, []
            task = loop.create_task(self._travel(passengers, due))
            self._under_way.add(task)
            task.add_done_callback(self._arrived)
        elif self._overdue is None:
            # A frozen store holds every trip until its time is out. Who waits for a place must not
            # wait for that and then for a time-out of its own.
            self._overdue = loop.call_later(self._timeout_s, self._turn_away)

    def _arrived(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._depart()

    def _turn_away(self) -> None:
        self._overdue = None
        passengers, self._waiting = self._waiting, []
        self._fail(passengers, f"no answer within {self._timeout_s:g} s")

    async def _travel(
        self, passengers: list[tuple[Request, asyncio.Future[Any]]], due: float
    ) -> None:
        try:
            async with asyncio.timeout_at(due):
                results = await self._send([request for request, _ in passengers])
        except TimeoutError:
            self._fail(passengers, f"no answer within {self._timeout_s:g} s")
        except StoreUnavailable as error:
            self._fail(passengers, error.cause)
        except Exception as error:
            log.exception("an engine failed in a way it should not")
            self._fail(passengers, f"{type(error).__name__}: {error}")
        except asyncio.CancelledError:
            self._fail(passengers, "the event loop is shutting down")
            raise
        else:
            for (_, answer), result in zip(passengers, results, strict=True):
                if answer.done():  # cancelled: whoever asked has gone
                    continue
                if isinstance(result, Exception):
                    answer.set_exception(result)
                else:
                    answer.set_result(result)

    def _fail(self, passengers: list[tuple[Request, asyncio.Future[Any]]], reason: str) -> None:
        for _, answer in passengers:
            if not answer.done():
                answer.set_exception(StoreUnavailable(self._address, reason))
