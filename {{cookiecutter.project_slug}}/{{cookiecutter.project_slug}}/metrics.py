"""What Prometheus asks for: /metrics, on a port of its own, where METRICS_PORT is set.

`__main__` calls `install`, which watches the app from outside: requests through Tornado's
`log_function`, the store through its engines, and what can only be looked at in a background job.
To count an event of your own, write `self.application.count("order placed")` where it happens; to
measure something else, add a metric to `Metrics`.

Each process counts for itself in files of prometheus_client that all of them share, and any of them
answers with the sums. https://prometheus.github.io/client_python/multiprocess/
"""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tornado.web import Application, RequestHandler

from .application import App
from .server import open_files
from .sessions import Store, StoreUnavailable
from .settings import Settings

look_every_s = 0.5
FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client's own variable
EVENTS = ("login", "login failed", "throttled")  # at 0 before they have happened

_STORE_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_LAG_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)


@contextmanager
def files(settings: Settings) -> Iterator[None]:
    """Hold a folder for the counters of several processes, as long as the first of them lives."""
    if not settings.metrics_port or settings.processes == 1 or os.environ.get(FOLDER):
        yield
        return
    first, folder = os.getpid(), tempfile.mkdtemp(prefix="metrics-")
    os.environ[FOLDER] = folder
    try:
        yield
    finally:
        if os.getpid() == first:
            shutil.rmtree(folder, ignore_errors=True)


def install(app: App) -> Application:
    """Count what `app` does from now on. Returns the application that serves /metrics."""
    metrics = Metrics()
    log_request = app.settings["log_function"]

    def count_and_log(handler: RequestHandler) -> None:
        metrics.count_request(handler)
        log_request(handler)

    app.settings["log_function"] = count_and_log
    app.count = metrics.count_event
    metrics.watch_store(app.services.store)
    app.background(lambda: metrics.look(app))
    return Application(
        [("/metrics", _MetricsHandler, {"metrics": metrics})], log_function=lambda _: None
    )


class Metrics:
    """The metrics of one process. No label has values that visitors choose."""

    def __init__(self) -> None:
        # Imported here, as it decides by the variable whether processes share their counters, and
        # as nobody pays for it who does not ask.
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, multiprocess

        self.registry = CollectorRegistry()
        own = None if os.environ.get(FOLDER) else self.registry
        if own is None:
            multiprocess.MultiProcessCollector(self.registry)  # type: ignore[no-untyped-call]
        self._requests = Counter(
            "app_requests", "Requests that were answered", ["handler", "status"], registry=own
        )
        self._request_seconds = Histogram(
            "app_request_seconds", "From the first byte to the answer", ["handler"], registry=own
        )
        self._store = Counter(
            "app_store_operations",
            "Calls of the session store. none: no record, or nothing written",
            ["verb", "outcome"],
            registry=own,
        )
        self._store_seconds = Histogram(
            "app_store_seconds",
            "Until the store answered",
            ["verb"],
            buckets=_STORE_BUCKETS,
            registry=own,
        )
        self._sessions = Counter(
            "app_sessions",
            "created (new ids, those of logins included), regenerated, ended. Not those that expire",
            ["event"],
            registry=own,
        )
        self._events = Counter(
            "app_events", "What the app counts itself, such as logins", ["event"], registry=own
        )
        self._lag = Histogram(
            "app_event_loop_lag_seconds",
            "How late a timer is",
            buckets=_LAG_BUCKETS,
            registry=own,
        )
        self._hashing = Gauge(
            "app_hashing_queue",
            "Passwords that wait to be hashed",
            registry=own,
            multiprocess_mode="livesum",
        )
        self._in_flight = Gauge(
            "app_requests_in_flight",
            "Requests that are being answered, and open WebSockets",
            registry=own,
            multiprocess_mode="livesum",
        )
        self._files = Gauge(
            "app_open_files",
            "Sockets and files that the fullest process has open",
            registry=own,
            multiprocess_mode="livemax",
        )
        self._max_files = Gauge(
            "app_max_open_files",
            "How many a process may have open",
            registry=own,
            multiprocess_mode="livemax",
        )
        for event in EVENTS:
            self._events.labels(event)
        for event in ("created", "regenerated", "ended"):
            self._sessions.labels(event)

    def count_event(self, event: str) -> None:
        self._events.labels(event).inc()

    def count_request(self, handler: RequestHandler) -> None:
        name = type(handler).__name__
        self._requests.labels(name, handler.get_status()).inc()
        self._request_seconds.labels(name).observe(handler.request.request_time())

    def watch_store(self, store: Store) -> None:
        """Count the calls of both engines, and what becomes of sessions."""
        sessions = store.key("session", "")
        for engine in (store.sessions, store.notifications):
            for verb in ("load", "write", "end", "ping"):
                setattr(engine, verb, self._watched(getattr(engine, verb), verb, sessions))

    def _watched(
        self, call: Callable[..., Awaitable[Any]], verb: str, sessions: str
    ) -> Callable[..., Awaitable[Any]]:
        async def watched(*args: Any, **options: Any) -> Any:
            began, outcome = time.perf_counter(), "error"
            try:
                result = await call(*args, **options)
                outcome = "none" if result is None and verb != "ping" else "ok"
            except StoreUnavailable:
                outcome = "unavailable"
                raise
            finally:
                self._store.labels(verb, outcome).inc()
                self._store_seconds.labels(verb).observe(time.perf_counter() - began)
            if result and verb == "end" and args[0].startswith(sessions):
                why = "regenerated" if args[1].startswith("moved") else "ended"
                self._sessions.labels(why).inc()
            elif result is not None and options.get("create") and args[0].startswith(sessions):
                self._sessions.labels("created").inc()
            return result

        return watched

    async def look(self, app: App) -> None:
        """Background job: look at what has no event to count."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + look_every_s
            await asyncio.sleep(look_every_s)
            self._lag.observe(max(0.0, loop.time() - due))
            self._hashing.set(app.services.accounts.hashing_queue)
            self._in_flight.set(len(app.in_flight) + len(app.websockets))
            limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            self._files.set(min(open_files(), limit))
            self._max_files.set(limit)


class _MetricsHandler(RequestHandler):
    def initialize(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def get(self) -> None:
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        if folder := os.environ.get(FOLDER):
            _forget_the_dead(Path(folder))
        self.set_header("Content-Type", CONTENT_TYPE_LATEST)
        self.write(generate_latest(self._metrics.registry))


def _forget_the_dead(folder: Path) -> None:
    """Leave out what processes that are gone had waiting or open. What they counted stays: a counter
    that falls would look like a restart.
    """
    from prometheus_client import multiprocess

    for file in folder.glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            with suppress(FileNotFoundError):  # another process was faster
                multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]
