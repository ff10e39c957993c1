"""Stores of the size that people run: 3 sentinels over 1 + 2 servers, a cluster of 3 + 3, 3 memcached."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..promises.redis_servers import SERVICE, Sentinel, cluster, sentinels
from ..promises.servers import HOST, Server, started, wait_for


@dataclass
class Store:
    """Running servers, and the variables that lead the app to them."""

    environment: dict[str, str]
    servers: list[Server]
    sentinels: list[Sentinel] = field(default_factory=list)


@contextmanager
def watched_by_sentinels(folder: Path, *options: str) -> Iterator[Store]:
    """The master is the first of the servers; a majority of the sentinels decides."""
    with ExitStack() as stack:
        options = ("--repl-diskless-sync-delay", "0", *options)
        servers = [stack.enter_context(started("redis", *options)) for _ in range(3)]
        master, *replicas = servers
        for replica in replicas:
            replica.ask(f"REPLICAOF {HOST} {master.port}")
        wait_for(lambda: master.ask("INFO replication").count("state=online") == 2, "replicas")
        # The usual failover-timeout: a short one begins a second fail-over while the first still
        # lasts, which elects a replica that has none of what was written since.
        patience = (
            f"sentinel down-after-milliseconds {SERVICE} 1000",
            f"sentinel failover-timeout {SERVICE} 180000",
        )
        watch = sentinels(folder, master, 3, *patience, quorum=2)
        three = stack.enter_context(watch)
        wait_for(lambda: all(_knows_all(each, replicas) for each in three), "the sentinels")
        addresses = ",".join(f"{HOST}:{each.port}" for each in three)
        yield Store(
            {
                "SESSION_ENGINE": "redis",
                "REDIS_SENTINELS": addresses,
                "REDIS_SERVICE": SERVICE,
            },
            servers,
            three,
        )


def _knows_all(sentinel: Sentinel, replicas: list[Server]) -> bool:
    peers = sentinel.ask(f"SENTINEL SENTINELS {SERVICE}").count("runid")
    return peers == 2 and all(sentinel.knows(each) for each in replicas)


@contextmanager
def in_a_cluster(folder: Path, *options: str) -> Iterator[Store]:
    """The masters are the first three of the servers."""
    with cluster(folder, *options) as nodes:
        url = f"redis://{HOST}:{nodes[0].port},{HOST}:{nodes[1].port}"
        environment = {"SESSION_ENGINE": "redis", "REDIS_CLUSTER": "true", "REDIS_URL": url}
        yield Store(environment, nodes)


@contextmanager
def on_three_memcached(folder: Path) -> Iterator[Store]:
    """The third server has twice the share of each other."""
    with ExitStack() as stack:
        servers = [stack.enter_context(started("memcached")) for _ in range(3)]
        names = [f"{HOST}:{each.port}" for each in servers]
        addresses = f"{names[0]},{names[1]},{names[2]}=2"
        yield Store({"SESSION_ENGINE": "memcached", "MEMCACHED_SERVERS": addresses}, servers)
