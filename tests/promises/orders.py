"""Requests that run trip by trip, in an order that a test chooses, and everything that can follow.

`Turns` holds every trip to the store until it is chosen. `every_order` tries each order there is:
it runs the requests again and again, each time up to a point where another trip could have been
first, and there takes that one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextvars import ContextVar
from typing import Any

from promised.sessions import Store

from .watched import watch

_LONGEST_WAY = 12
_request: ContextVar[int] = ContextVar("_request")
"""Turns of the event loop that a request may need from one trip to the next."""

Choose = Callable[[int], int]


class Turns:
    """Lets one trip to the store go at a time."""

    def __init__(self, store: Store) -> None:
        self.keys: set[str] = set()
        """The sessions' records that were asked for while requests ran in turns."""
        self.trips: list[tuple[int, str]] = []
        """The trips they made: the request's number, and load, write or end."""
        self._running = False
        self._waiting: list[asyncio.Future[None]] = []
        self._done = asyncio.Event()
        for engine in watch(store):
            engine.before, engine.after = self._wait, self._note

    async def run(self, requests: list[Coroutine[Any, Any, Any]], choose: Choose) -> list[Any]:
        """Serve the requests and return their results. `choose` gets how many trips wait, and
        returns which one goes.
        """
        self._running = True
        self.keys.clear()
        self.trips.clear()
        tasks = []
        for number, request in enumerate(requests):
            _request.set(number)
            tasks.append(asyncio.create_task(request))
        try:
            while True:
                await self._settle(tasks)
                if not self._waiting:
                    return [task.result() for task in tasks]
                self._done.clear()
                self._waiting.pop(choose(len(self._waiting))).set_result(None)
                await self._done.wait()
        finally:
            self._running = False

    async def _settle(self, tasks: list[asyncio.Task[Any]]) -> None:
        """Return when every request waits for a trip, or is done."""
        for _ in range(_LONGEST_WAY):
            await asyncio.sleep(0)
        while not self._waiting and not all(task.done() for task in tasks):
            await asyncio.sleep(0)

    async def _wait(self, operation: str, key: str) -> None:
        if self._running:
            if ":session:" in key:
                self.keys.add(key)
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn
            self.trips.append((_request.get(), operation))

    async def _note(self, operation: str, key: str) -> None:
        self._done.set()


async def every_order(run: Callable[[Choose], Awaitable[Any]]) -> AsyncIterator[list[int]]:
    """Call `run` once for each order of trips; yields the choices that made the order."""
    choices: list[int] = []
    sizes: list[int] = []
    while True:
        at = 0

        def choose(waiting: int) -> int:
            nonlocal at
            if at == len(choices):
                choices.append(0)
                sizes.append(waiting)
            assert sizes[at] == waiting, "the requests do not do the same when they run again"
            at += 1
            return choices[at - 1]

        await run(choose)
        yield choices[:at]
        while choices and choices[-1] + 1 == sizes[-1]:
            choices.pop()
            sizes.pop()
        if not choices:
            return
        choices[-1] += 1


def interleavings(counts: tuple[int, ...]) -> Iterator[list[int]]:
    """Yield every way in which several rows of steps can be taken: the number of a row a step."""
    if not any(counts):
        yield []
    for row, count in enumerate(counts):
        if count:
            fewer = (*counts[:row], count - 1, *counts[row + 1 :])
            for rest in interleavings(fewer):
                yield [row, *rest]
