"""The application without its pages: requests in flight, background jobs, start and end.

app.py makes it, and handlers reach it as `self.application`.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from tornado.httputil import HTTPServerRequest, RequestStartLine
from tornado.web import Application, RequestHandler

from .bodies import BoundedBody
from .load import Client, client
from .services import Services

job_timeout_s = 1.0  # for jobs to end after they were cancelled

Job = Callable[[], Coroutine[Any, Any, object]] | Coroutine[Any, Any, object]

log = logging.getLogger(__name__)


class App(Application):
    """A Tornado application that knows what it is busy with.

    Each process that serves awaits `start` before the first request, `drain` after the last was
    accepted, and `close` at the end.
    """

    def __init__(self, routes: Sequence[Any], services: Services, settings: dict[str, Any]) -> None:
        super().__init__(list(routes), **settings)
        self.services = services
        services.store.use_in(self)
        self.in_flight: weakref.WeakSet[RequestHandler] = weakref.WeakSet()
        """The requests that are being answered; handlers/plain.py keeps it."""
        self.websockets: weakref.WeakSet[RequestHandler] = weakref.WeakSet()
        """Those that are open, for which no shutdown waits; handlers/plain.py keeps it."""
        self.not_ready: dict[str, set[str]] = {}
        """What /readyz has found and logged, by part; handlers/health.py keeps it."""
        self.draining = False
        """True from the moment of shutdown: connections are no longer kept alive."""
        self.count: Callable[[str], None] = lambda event: None
        """Counts what happens: `self.application.count("order placed")`. An event is a few words of
        your own, never of a visitor's: each is a line of /metrics for good.
        """
        self._waiting: list[Job] = []
        self._jobs: set[asyncio.Task[None]] = set()
        self._started = False

    def background(self, job: Job) -> None:
        """Run `job` beside the requests: from the start of the app, or from now if it has started.

        `job` is a coroutine, or a function that returns one. It is logged when it fails, and
        cancelled at the end, while store and database still work; it has `job_timeout_s` to finish
        what it is at. Each process runs it. For one of them alone, look first: `if
        processes.is_first()`.
        """
        if self._started:
            task = asyncio.get_running_loop().create_task(_run(job))
            self._jobs.add(task)
            task.add_done_callback(self._jobs.discard)
        else:
            self._waiting.append(job)

    def get_handler_delegate(
        self,
        request: HTTPServerRequest,
        target_class: type[RequestHandler],
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Return what Tornado hands a request to: the handler, behind the limit on its body."""
        max_bytes = getattr(target_class, "max_body_bytes", None) or self.settings["max_body_bytes"]
        make = super().get_handler_delegate
        return BoundedBody(
            request,
            target_class,
            max_bytes,
            accept=make(request, target_class, *args, **kwargs),
            refuse=make(
                request, self.settings["too_large_handler_class"], {"max_bytes": max_bytes}
            ),
        )

    def has_page(self, path: str, request: HTTPServerRequest) -> bool:
        """Whether a GET of `path` is answered, on the host that `request` is for."""
        get = HTTPServerRequest(
            start_line=RequestStartLine("GET", path, "HTTP/1.1"),
            headers=request.headers,
            connection=request.connection,
        )
        found = self.find_handler(get)
        assert isinstance(found, BoundedBody)
        return found.handler_class.get is not RequestHandler.get

    async def start(self) -> None:
        """Get ready: store and database can be used, and the background jobs run. Raises
        StoreUnavailable, DatabaseUnavailable, DatabaseUnusable.
        """
        await self.services.start()
        self._started = True
        while self._waiting:
            self.background(self._waiting.pop(0))

    async def drain(self, timeout_s: float) -> None:
        """Wait until the requests in flight are answered, at most `timeout_s` seconds."""
        self.draining = True
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while self.in_flight and loop.time() < deadline:  # noqa: ASYNC110 - sets have no event
            await asyncio.sleep(0.02)

    async def close(self) -> None:
        """End the background jobs, then let go of the store and the database. The last thing to
        call.
        """
        self._started = False
        for job in self._waiting:
            if asyncio.iscoroutine(job):
                job.close()
        self._waiting.clear()
        await _end(set(self._jobs))
        await self.services.close()


async def _run(job: Job) -> None:
    client.set(Client())  # a job goes on when the client is gone whose request began it
    try:
        await (job() if callable(job) else job)
    except Exception:
        log.exception("background job %s failed", _name(job))


async def _end(jobs: set[asyncio.Task[None]]) -> None:
    for job in jobs:
        job.cancel()
    if jobs:
        _, stubborn = await asyncio.wait(jobs, timeout=job_timeout_s)
        if stubborn:
            log.error("%d background jobs did not end when they were cancelled", len(stubborn))


def _name(job: Job) -> str:
    return str(getattr(job, "__qualname__", job))
