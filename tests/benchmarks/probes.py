"""Cases that need more than throughput: large and many sessions, a frozen store, trips."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from statistics import quantiles
from typing import Final

import environment
from fill import add_plain, copy_session
from lab import Lab, Subject
from load import Request, Visitor, hammer, punctual
from servers import Store
from workloads import ALL_ROUNDS, Case, Plan, throughput

LARGE_VISITORS: Final = 64
STALL_S: Final = 0.5
REQUESTS: Final = 10
"""How many requests are counted one by one."""

WEIGHED: Final = 100_000
"""How many sessions are put on the scales at once."""


def large(plan: Plan) -> list[Case]:
    """100 kB sessions in which 20 bytes change."""
    return _each(plan, "large", partial(_large, seconds=plan.seconds), connections=32)


def _large(lab: Lab, app: str, engine: str, seconds: int) -> Mapping[str, float]:
    subject = lab.subject(app, engine, "direct")
    cookies = lab.visitor_cookies(subject.server, "/begin-large", LARGE_VISITORS)
    store = _store_of(subject)
    counter = "total_net_input_bytes" if engine == "redis" else "bytes_read"
    visitor = Visitor(subject.server.port)
    visitor.get("/begin-large")
    before = store.count(counter)
    for _ in range(REQUESTS):
        visitor.get("/large")
    written = store.count(counter) - before
    visitor.close()
    requests = [Request("/large", cookie) for cookie in cookies]
    done = hammer(subject.server.port, requests, 32, seconds, lab.servers.scratch)
    return {"bytes_per_request": written / REQUESTS, "requests_per_s": done.requests_per_s}


def grown(plan: Plan) -> list[Case]:
    """The same pages with few and with many sessions in the store, and what a session weighs."""
    ours = replace(plan, apps=["ours"], connections=[32])
    pages = ("write",) if plan.quick else ("read", "write")
    cases = throughput(ours, pages, "few", " few")
    cases += throughput(ours, pages, "many", " many")
    cases += _each(ours, "weight", _weight, connections=0, rounds_at_most=1)
    return cases


def _weight(lab: Lab, app: str, engine: str) -> Mapping[str, float]:
    store = _store_of(lab.subject(app, engine, "weighed"))
    plain = lab.servers.store(engine, memory_mb=256)
    return {"bytes": copy_session(store, WEIGHED), "plain_bytes": add_plain(plain, WEIGHED)}


def stall(plan: Plan) -> list[Case]:
    """How a page without a session fares while the store is frozen, and others wait for it."""
    return _each(plan, "stall", _stall, connections=8)


def _stall(lab: Lab, app: str, engine: str) -> Mapping[str, float]:
    subject = lab.subject(app, engine, "direct")
    store, port = _store_of(subject), subject.server.port
    with ThreadPoolExecutor(2) as threads:
        load = threads.submit(hammer, port, subject.requests("read"), 8, 1, lab.servers.scratch)
        time.sleep(0.3)
        asking = threads.submit(
            lambda: asyncio.run(punctual(port, "/plain", every_s=0.005, seconds=STALL_S))
        )
        store.freeze()
        try:
            time.sleep(STALL_S)
        finally:
            store.thaw()
        latencies = asking.result()
        load.result()
    return {"p50_ms": percentile(latencies, 50), "p99_ms": percentile(latencies, 99)}


def trips(plan: Plan) -> list[Case]:
    """What one request costs the store, as counted by the store."""
    return _each(plan, "trips", _trips, connections=1, rounds_at_most=1)


def _trips(lab: Lab, app: str, engine: str) -> Mapping[str, float]:
    subject = lab.subject(app, engine, "direct")
    store = _store_of(subject)
    visitor, stranger = Visitor(subject.server.port), Visitor(subject.server.port)
    visitor.get("/begin")
    visitor.get("/write")

    def anonymous() -> None:
        stranger.cookies.clear()
        stranger.get("/read")

    steps: Mapping[str, Callable[[], object]] = {
        "anonymous": anonymous,
        "read": lambda: visitor.get("/read"),
        "write": lambda: visitor.get("/write"),
        "flash_form": lambda: visitor.send("POST", "/flash", "text=saved"),
        "flash_page": lambda: visitor.get("/flash"),
    }
    counted = dict.fromkeys(steps, 0)
    for _ in range(REQUESTS):
        for name, step in steps.items():
            before = _trips_so_far(store)
            between = _trips_so_far(store)
            step()
            time.sleep(0.02)  # some write, and hang up, after they have answered
            counted[name] += _trips_so_far(store) - between - (between - before)
    return {name: count / REQUESTS for name, count in counted.items()}


def _trips_so_far(store: Store) -> int:
    stats = store.stats()
    if store.engine == "redis":
        # Redis counts how often it had something to read. A hang-up is that, too, but no trip.
        hung_up = int(stats["total_connections_received"]) - int(stats["connected_clients"])
        return int(stats["total_reads_processed"]) - hung_up
    names = ("cmd_get", "cmd_set", "cmd_touch", "delete_hits", "delete_misses")
    return sum(int(stats[name]) for name in names)


def percentile(latencies: Sequence[float], percent: int) -> float:
    """The latency that `percent` of a hundred did not exceed."""
    return quantiles(latencies, n=100, method="inclusive")[percent - 1]


def _each(
    plan: Plan,
    workload: str,
    measure: Callable[..., Mapping[str, float]],
    connections: int,
    rounds_at_most: int = ALL_ROUNDS,
) -> list[Case]:
    """A case for each engine and application that has a session."""
    return [
        Case(
            workload,
            engine,
            app,
            connections,
            partial(measure, app=app, engine=engine),
            rounds_at_most,
        )
        for engine in plan.engines
        for app in plan.apps_on(engine)
        if app not in ("nosession", environment.UVLOOP, *environment.REDIS_ONLY)
    ]


def _store_of(subject: Subject) -> Store:
    if subject.store is None:
        raise ValueError("an application without sessions has no store")
    return subject.store
