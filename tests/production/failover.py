"""What visitors lose while a master is replaced, or slots of a cluster move.

    python -m tests.production.failover

prints the table of the generated docs/stores.md. Visitors write and log out without a pause, through
the sessions' engine as the settings make it; what was acknowledged is looked for afterwards.
"""

from __future__ import annotations

import asyncio
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ..promises import generated
from ..promises.redis_servers import SERVICE
from ..promises.servers import HOST, Server, wait_for
from .stores import Store, in_a_cluster, watched_by_sentinels

assert generated.PROJECT  # it puts the package on the path

from promised.sessions import Store as SessionStore
from promised.sessions import StoreUnavailable
from promised.sessions.engines import Engine
from promised.settings import read_settings

VISITORS: Final = 64
PAUSE_S: Final = 0.05
CALM_S: Final = 2.0
"""How long all is well, before the event and at the end."""
TTL_S: Final = 600.0

Event = Callable[[Store], Awaitable[None]]


@dataclass
class Losses:
    """What became of the requests; times are in seconds from the event."""

    answered: int = 0
    refused: int = 0
    longest_outage_s: float = 0.0
    """The longest time that a visitor could not write."""
    writes_lost: int = 0
    logouts_undone: int = 0
    last_loss_s: float = 0.0
    """When the last of the acknowledged changes that are lost was made."""
    failovers: int = 0
    """How many masters the sentinels made."""


@dataclass
class Crowd:
    records: Engine
    name: str = field(default_factory=lambda: f"crowd:{secrets.token_hex(4)}")
    written: list[tuple[str, str, float]] = field(default_factory=list)
    ended: list[tuple[str, float]] = field(default_factory=list)
    losses: Losses = field(default_factory=Losses)
    leaving: bool = False

    async def visit(self, number: int) -> None:
        """Write a field to a session, and end one from before, again and again."""
        key, turn, last = f"{self.name}:{number}", 0, time.monotonic()
        sessions = [f"{key}:{each}" for each in range(SESSIONS)]
        while not self.leaving:
            turn += 1
            try:
                await self.records.write(key, {str(turn): b"1"}, TTL_S, create=True)
                now = time.monotonic()
                self.written.append((key, str(turn), now))
                self._note_outage(now - last)
                self.losses.answered += 1
                last = now
                if sessions and turn % 4 == 0:
                    await self.records.end(sessions[-1], "ended")
                    self.ended.append((sessions.pop(), time.monotonic()))
            except StoreUnavailable:
                self.losses.refused += 1
            await asyncio.sleep(PAUSE_S)
        self._note_outage(time.monotonic() - last)

    def _note_outage(self, seconds: float) -> None:
        self.losses.longest_outage_s = max(self.losses.longest_outage_s, seconds)

    async def look_back(self, event: float) -> None:
        """Find what was acknowledged and is not there any more."""
        fields = {}
        for key in {key for key, _, _ in self.written}:
            found = await self.records.load(key)
            fields[key] = found.fields if found else {}
        lost = [at for key, name, at in self.written if name not in fields[key]]
        undone = []
        for key, at in self.ended:
            found = await self.records.load(key)
            if found is not None and found.ended is None:
                undone.append(at)
        self.losses.writes_lost, self.losses.logouts_undone = len(lost), len(undone)
        self.losses.last_loss_s = max([at - event for at in lost + undone], default=0.0)


SESSIONS: Final = 150


async def losses_of(store: Store, happen: Event) -> Losses:
    """Let the crowd be there while `happen` happens; it returns when all is settled."""
    settings = read_settings(["app"], {"COOKIE_SECRET": "-" * 32, **store.environment})
    sessions = SessionStore(settings.sessions)
    crowd = Crowd(sessions.sessions)
    for number in range(VISITORS):
        keys = (f"{crowd.name}:{number}:{each}" for each in range(SESSIONS))
        writes = (crowd.records.write(key, {"user": b"ada"}, TTL_S, create=True) for key in keys)
        await asyncio.gather(*writes)
    visits = [asyncio.create_task(crowd.visit(number)) for number in range(VISITORS)]
    await asyncio.sleep(CALM_S)
    event = time.monotonic()
    await happen(store)
    await asyncio.sleep(CALM_S)
    crowd.leaving = True
    await asyncio.gather(*visits)
    await crowd.look_back(event)
    await sessions.close()
    crowd.losses.failovers = max((each.failovers() for each in store.sentinels), default=0)
    return crowd.losses


# What happens.


async def planned_failover(store: Store) -> None:
    assert store.sentinels[0].ask(f"SENTINEL FAILOVER {SERVICE}").startswith("+OK")
    await _until(lambda: _is_replica(store.servers[0]), "the old master to be a replica")


async def paused_failover(store: Store) -> None:
    """The same, while the old master takes no writes: as docs/stores.md says."""
    old = store.servers[0]
    assert old.ask("CLIENT PAUSE 20000 WRITE").startswith("+OK")
    await planned_failover(store)
    assert old.ask("CLIENT UNPAUSE").startswith("+OK")


async def killed(store: Store) -> None:
    store.servers[0].kill()
    await _until(lambda: any(map(_is_master, store.servers[1:])), "a new master")
    await asyncio.sleep(3)


async def killed_while_a_sentinel_stalls(store: Store) -> None:
    """It misses the vote of the two others, and calls another when it is back."""
    stalling = store.sentinels[1]
    store.servers[0].kill()
    await asyncio.sleep(0.9)
    stalling.freeze()
    await asyncio.sleep(1.7)
    stalling.thaw()
    await _until(lambda: any(map(_is_master, store.servers[1:])), "a new master")
    await asyncio.sleep(12)


async def frozen(store: Store) -> None:
    """For six seconds; then it believes to be the master still."""
    store.servers[0].freeze()
    await asyncio.sleep(6)
    store.servers[0].thaw()
    await _until(lambda: _is_replica(store.servers[0]), "the old master to be a replica")


async def node_killed(store: Store) -> None:
    store.servers[0].kill()
    await _until(lambda: sum(map(_is_master, store.servers[1:])) == 3, "a new master")
    await asyncio.sleep(3)


async def node_replaced(store: Store) -> None:
    """As for maintenance: a replica takes over."""
    old = store.servers[0]
    myself = old.ask("CLUSTER MYID").splitlines()[1]
    replica = next(
        each for each in store.servers[3:] if f"myself,slave {myself}" in each.ask("CLUSTER NODES")
    )
    for _ in range(4):  # a replica that is not elected within 5 s gives up, until it is told again
        assert replica.ask("CLUSTER FAILOVER").startswith("+OK")
        with suppress(AssertionError):
            return await _until(lambda: _is_replica(old), "the old master to be a replica", 10)
    raise AssertionError("the old master is one still")


async def slots_moved(store: Store) -> None:
    """A thousand slots go from one master to another, with all that is in them."""
    source, target = (each.ask("CLUSTER MYID").splitlines()[1] for each in store.servers[:2])
    command = ["redis-cli", "--cluster", "reshard", f"{HOST}:{store.servers[0].port}"]
    command += ["--cluster-from", source, "--cluster-to", target, "--cluster-slots", "1000"]
    command += ["--cluster-yes"]
    done = await asyncio.to_thread(
        subprocess.run, command, check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


async def _until(condition: Callable[[], bool], what: str, timeout_s: float = 40) -> None:
    await asyncio.to_thread(wait_for, condition, what, timeout_s)


def _is_master(server: Server) -> bool:
    return "role:master" in _replication(server)


def _is_replica(server: Server) -> bool:
    return "master_link_status:up" in _replication(server)


def _replication(server: Server) -> str:
    try:
        return server.ask("INFO replication")
    except OSError:  # a sentinel hangs up on everybody when it changes a server's role
        return ""


CAREFUL: Final = ("--min-replicas-to-write", "1", "--min-replicas-max-lag", "2")
MOST_CAREFUL: Final = ("--min-replicas-to-write", "2", "--min-replicas-max-lag", "2")
CASES: Final[dict[str, tuple[Callable[[Path], AbstractContextManager[Store]], Event]]] = {
    "Sentinel: planned fail-over": (watched_by_sentinels, planned_failover),
    "the same, `min-replicas-to-write 1`": (
        lambda folder: watched_by_sentinels(folder, *CAREFUL),
        planned_failover,
    ),
    "the same, `min-replicas-to-write 2`": (
        lambda folder: watched_by_sentinels(folder, *MOST_CAREFUL),
        planned_failover,
    ),
    "the same, behind `CLIENT PAUSE 20000 WRITE`": (watched_by_sentinels, paused_failover),
    "Sentinel: master killed": (watched_by_sentinels, killed),
    "the same, a sentinel stalls": (watched_by_sentinels, killed_while_a_sentinel_stalls),
    "the same, a sentinel stalls, `min-replicas-to-write 1`": (
        lambda folder: watched_by_sentinels(folder, *CAREFUL),
        killed_while_a_sentinel_stalls,
    ),
    "Sentinel: master frozen for 6 s": (watched_by_sentinels, frozen),
    "the same, `min-replicas-to-write 1` ": (
        lambda folder: watched_by_sentinels(folder, *CAREFUL),
        frozen,
    ),
    "Cluster: planned fail-over": (in_a_cluster, node_replaced),
    "Cluster: master killed": (in_a_cluster, node_killed),
    "Cluster: 1,000 slots moved": (in_a_cluster, slots_moved),
}


async def measured(case: str) -> Losses:
    make, happen = CASES[case]
    with tempfile.TemporaryDirectory() as folder, make(Path(folder)) as store:
        return await losses_of(store, happen)


def main() -> None:
    print("| | changes | 503 | longest outage | writes lost | logouts undone | last loss after |")
    print("|---|---|---|---|---|---|---|")
    wanted = sys.argv[1:]
    for case in CASES:
        if not wanted or any(each in case for each in wanted):
            losses = asyncio.run(measured(case))
            print(
                f"| {case.strip()} | {losses.answered} | {losses.refused} | "
                f"{losses.longest_outage_s:.1f} s | {losses.writes_lost} | "
                f"{losses.logouts_undone} | {losses.last_loss_s:.1f} s |",
                flush=True,
            )


if __name__ == "__main__":
    main()
