"""Redis as it is found in production: behind a password, TLS or a socket, as a cluster, with Sentinel.

In each of them a visitor's session, messages and logout are kept by the real servers.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from .proxy import before
from .servers import HOST, Server, free_port, started, wait_for
from .site import Page, site

Storage = dict[str, Any]
SERVICE = "sessions"


@contextmanager
def with_a_password(folder: Path) -> Iterator[Storage]:
    with started("redis", "--requirepass", "secret words") as server:
        yield {"url": f"redis://:secret%20words@{HOST}:{server.port}"}


@contextmanager
def on_a_socket(folder: Path) -> Iterator[Storage]:
    with started("redis", "--unixsocket", str(folder / "redis.sock")):
        yield {"url": f"unix://{folder}/redis.sock"}


@contextmanager
def over_tls(folder: Path) -> Iterator[Storage]:
    key, certificate = str(folder / "key.pem"), str(folder / "certificate.pem")
    make = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=localhost",
    ]
    make += ["-addext", f"subjectAltName=IP:{HOST}", "-keyout", key, "-out", certificate]
    subprocess.run(make, check=True, capture_output=True)
    port = free_port()
    options = ["--tls-port", str(port), "--tls-cert-file", certificate, "--tls-key-file", key]
    with started("redis", *options, "--tls-ca-cert-file", certificate, "--tls-auth-clients", "no"):
        yield {"url": f"rediss://{HOST}:{port}", "ssl_ca_certs": certificate}


@contextmanager
def as_a_cluster(folder: Path) -> Iterator[Storage]:
    # The nodes' own port would be 10,000 above, where not every free port has one.
    options = ["--cluster-enabled", "yes", "--cluster-port", str(free_port())]
    with started("redis", *options, "--dir", str(folder)) as server:
        assert server.ask("CLUSTER ADDSLOTSRANGE 0 16383").startswith("+OK")
        wait_for(lambda: "cluster_state:ok" in server.ask("CLUSTER INFO"), "the cluster")
        yield {"host": HOST, "port": server.port, "cluster": True}


@contextmanager
def with_sentinel(folder: Path) -> Iterator[Storage]:
    with started("redis") as master, sentinel(folder, master) as port:
        yield {"sentinel": {"service": SERVICE, "nodes": [(HOST, port)]}}


@contextmanager
def sentinel(folder: Path, master: Server) -> Iterator[int]:
    """A sentinel that watches over `master`, by its port."""
    port = free_port()
    settings = folder / "sentinel.conf"
    settings.write_text(
        f"bind {HOST}\nport {port}\ndir {folder}\n"
        f"sentinel monitor {SERVICE} {HOST} {master.port} 1\n"
        f"sentinel down-after-milliseconds {SERVICE} 300\n"
        f"sentinel failover-timeout {SERVICE} 1000\n"
    )
    path = shutil.which("redis-server")
    assert path is not None
    process = subprocess.Popen([path, str(settings), "--sentinel"], stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: _answers(port), f"the sentinel on port {port}")
        yield port
    finally:
        process.kill()
        process.wait()


TOPOLOGIES = [with_a_password, on_a_socket, over_tls, as_a_cluster, with_sentinel]


@pytest.mark.parametrize("topology", TOPOLOGIES)
async def test_a_session_lives_and_ends_there(
    topology: Callable[[Path], AbstractContextManager[Storage]], tmp_path: Path
) -> None:
    with topology(tmp_path) as storage:
        async with site("redis", storage) as running:
            visitor = running.browser()

            def begin(page: Page) -> None:
                page.session["name"] = "ada"
                page.notifications.add("hello")

            await running.do(visitor, begin)
            old = running.browser(visitor)
            await running.do(
                visitor, lambda page: page.session.modify("visits", lambda n: n + 1, default=0)
            )
            await running.do(visitor, lambda page: page.session.regenerate())
            page = await running.do(visitor, show)
            assert page.json == {"name": "ada", "visits": 1, "messages": ["hello"]}
            assert (await running.do(visitor, show)).json["messages"] == []
            assert (await running.do(old, show)).json == {"messages": []}
            await running.do(visitor, lambda page: page.session.destroy())
            assert (await running.do(visitor, show)).json == {"messages": []}


async def test_after_a_fail_over_the_sessions_are_on_the_new_master(tmp_path: Path) -> None:
    with started("redis") as master, started("redis", "--replicaof", HOST, "1") as replica:
        replica.ask(f"REPLICAOF {HOST} {master.port}")
        wait_for(lambda: "state=online" in master.ask("INFO replication"), "the replica")
        with sentinel(tmp_path, master) as port:
            # Sentinel asks the master for its replicas every ten seconds, and once at the start.
            wait_for(lambda: str(replica.port) in _said(port), "Sentinel to find the replica")
            storage = {"sentinel": {"service": SERVICE, "nodes": [(HOST, port)]}}
            async with site("redis", storage, storage_timeout=0.5) as running:
                visitor = running.browser()
                await running.do(visitor, lambda page: page.session.update(name="ada"))
                await asyncio.to_thread(
                    wait_for, lambda: _offset(master) == _offset(replica), "replication"
                )
                master.kill()
                statuses = set()
                async with asyncio.timeout(20):
                    while (page := await running.do(visitor, show)).status != 200:
                        statuses.add(page.status)
                        assert not page.cookies
                        await asyncio.sleep(0.1)
                assert statuses == {503}
                assert page.json == {"name": "ada", "messages": []}
                page = await running.do(visitor, lambda page: page.session.update(seen=1))
                assert page.status == 200
                assert (await running.do(visitor, show)).json["seen"] == 1


async def test_a_master_that_became_a_replica_is_left_for_whoever_is_the_master_now() -> None:
    with started("redis") as old, started("redis") as new:
        async with (
            before(old.port) as proxy,
            site("redis", {"host": HOST, "port": proxy.port}) as running,
        ):
            visitor = running.browser()
            await running.do(visitor, lambda page: page.session.update(name="ada"))
            old.ask(f"REPLICAOF {HOST} {free_port()}")
            proxy.lead_to(new.port)
            page = await running.do(visitor, lambda page: page.session.update(name="grace"))
            assert page.status == 503
            begun = running.browser()
            page = await running.do(begun, lambda page: page.session.update(name="grace"))
            assert page.status == 200
            assert (await running.do(begun, show)).json["name"] == "grace"


async def show(page: Page) -> None:
    messages = [message.value for message in await page.notifications.take()]
    page.write({**page.session, "messages": messages})


def _answers(port: int) -> bool:
    try:
        return bool(_said(port))
    except OSError:
        return False


def _said(port: int) -> str:
    """What the sentinel on that port knows of the replicas."""
    server = Server("redis")
    server.port = port
    return server.ask(f"SENTINEL REPLICAS {SERVICE}")


def _offset(server: Server) -> str:
    said = server.ask("INFO replication")
    return said.partition("master_repl_offset:")[2].partition("\r")[0]
