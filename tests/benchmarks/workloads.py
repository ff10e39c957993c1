"""What is measured. A case is one figure's worth of work, done once per round.

Throughput cases are here; those that need more than wrk are in probes.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import environment
from lab import NO_STORE, Lab, Way
from load import hammer

PAGES: Final = ("read", "write", "flash", "anonymous")

ALL_ROUNDS: Final = 1_000_000
FEWEST_VISITORS: Final = 64
PEERS_ROUNDS: Final = 3
"""Enough for ratios of many times."""

Measure = Callable[[Lab], Mapping[str, float]]
"""Does the work once and returns figures by name, units in the names."""


@dataclass(frozen=True)
class Case:
    workload: str
    engine: str
    app: str
    connections: int
    measure: Measure
    rounds_at_most: int = ALL_ROUNDS


@dataclass(frozen=True)
class Plan:
    """What the command line asks for."""

    engines: Sequence[str]
    apps: Sequence[str]
    connections: Sequence[int]
    rounds: int
    seconds: int
    quick: bool

    def apps_on(self, engine: str) -> list[str]:
        """The applications that can use this store."""
        return [app for app in self.apps if engine == "redis" or app not in environment.REDIS_ONLY]


def throughput(plan: Plan, pages: Sequence[str], way: Way, suffix: str = "") -> list[Case]:
    """Each page, each number of connections, each store: the applications one after the other.

    Ours on either store stand beside the one without a session, with which they are compared.
    """
    cases: list[Case] = []
    for page in pages:
        for connections in plan.connections:
            group = []
            for place, engine in enumerate(plan.engines):
                for app in plan.apps_on(engine):
                    at = NO_STORE if app == "nosession" else engine
                    if at == NO_STORE and (place or way != "direct"):
                        continue  # it has no store: measured once
                    measure = _hammering(app, at, way, page, connections, plan.seconds)
                    rounds = PEERS_ROUNDS if app in environment.PEERS else ALL_ROUNDS
                    group.append(Case(page + suffix, at, app, connections, measure, rounds))
            cases += sorted(group, key=lambda case: case.app in environment.PEERS)
    return cases


def _hammering(
    app: str, engine: str, way: Way, page: str, connections: int, seconds: int
) -> Measure:
    def measure(lab: Lab) -> Mapping[str, float]:
        subject = lab.subject(app, engine, way)
        requests = subject.requests(page, max(FEWEST_VISITORS, 2 * connections))
        cpu_s = subject.server.cpu_s()
        done = hammer(subject.server.port, requests, connections, seconds, lab.servers.scratch)
        return {
            "requests_per_s": done.requests_per_s,
            "p50_ms": done.p50_ms,
            "p99_ms": done.p99_ms,
            # Steadier than requests per second where others use the machine too.
            "cpu_us": (subject.server.cpu_s() - cpu_s) / done.requests * 1e6,
        }

    return measure
