"""Redis with Sentinel and as a cluster: private servers, to be killed and frozen."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from .servers import HOST, Server, started, wait_for

SERVICE: Final = "sessions"


class Sentinel(Server):
    """A sentinel that watches over `master`; `quorum` of them agree that it is down. `more` are
    lines of its settings.
    """

    def __init__(self, folder: Path, master: Server, *more: str, quorum: int = 1) -> None:
        super().__init__("redis")
        self._settings = folder / f"sentinel-{self.port}.conf"
        self._settings.write_text(
            f"bind {HOST}\nport {self.port}\ndir {folder}\n"
            f"sentinel monitor {SERVICE} {HOST} {master.port} {quorum}\n"
            f"sentinel down-after-milliseconds {SERVICE} 300\n"
            f"sentinel failover-timeout {SERVICE} 1000\n" + "\n".join(more)
        )

    def start(self) -> None:
        self._process = subprocess.Popen(
            ["redis-server", str(self._settings), "--sentinel"], stdout=subprocess.DEVNULL
        )
        wait_for(self._answers, f"the sentinel on port {self.port}")

    def knows(self, replica: Server) -> bool:
        return str(replica.port) in self.ask(f"SENTINEL REPLICAS {SERVICE}")

    def failovers(self) -> int:
        """How many masters were made so far, as this sentinel knows."""
        said = self.ask(f"SENTINEL MASTER {SERVICE}")
        return int(said.partition("config-epoch")[2].split()[1])


@contextmanager
def sentinels(
    folder: Path, master: Server, count: int, *more: str, quorum: int = 1
) -> Iterator[list[Sentinel]]:
    """`count` sentinels for the length of a block."""
    started = [Sentinel(folder, master, *more, quorum=quorum) for _ in range(count)]
    try:
        for sentinel in started:
            sentinel.start()
        yield started
    finally:
        for sentinel in started:
            sentinel.kill()


@contextmanager
def replicated() -> Iterator[tuple[Server, Server]]:
    """A master and its replica, in step."""
    with started("redis") as master, started("redis", "--replicaof", HOST, "1") as replica:
        replica.ask(f"REPLICAOF {HOST} {master.port}")
        wait_for(lambda: "state=online" in master.ask("INFO replication"), "the replica")
        yield master, replica


def offset(server: Server) -> str:
    """How far the server has come in the stream of changes."""
    said = server.ask("INFO replication")
    return said.partition("master_repl_offset:")[2].partition("\r")[0]


@contextmanager
def cluster(folder: Path, *more: str) -> Iterator[list[Server]]:
    """A cluster of three masters and three replicas; the masters come first in the list."""
    with ExitStack() as stack:
        nodes = []
        for number in range(6):
            own = folder / f"node-{number}"
            own.mkdir()
            options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"]
            options += ["--repl-diskless-sync-delay", "0", "--dir", str(own), *more]
            nodes.append(stack.enter_context(_node(options)))
        create = ["redis-cli", "--cluster", "create", *(f"{HOST}:{n.port}" for n in nodes)]
        create += ["--cluster-replicas", "1", "--cluster-yes"]
        done = subprocess.run(create, check=False, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        wait_for(lambda: all(_settled(node) for node in nodes), "the cluster")
        yield sorted(nodes, key=lambda node: "role:master" not in node.ask("INFO replication"))


@contextmanager
def _node(options: list[str]) -> Iterator[Server]:
    # Its bus listens 10,000 above, where not every free port has one.
    while True:
        server = Server("redis", *options)
        if server.port + 10_000 < 65_536:
            break
    server.start()
    try:
        yield server
    finally:
        server.kill()


def _settled(node: Server) -> bool:
    replication = node.ask("INFO replication")
    linked = "role:master" in replication or "master_link_status:up" in replication
    return linked and "cluster_state:ok" in node.ask("CLUSTER INFO")
