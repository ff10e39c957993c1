"""Measure what a session, a request and a connection take, for docs/operations.md of the projects.

`make capacity` prints one table for both engines. It counts processor time and memory, not the clock,
so that a busy machine does not change the figures much.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import secrets
import socket
import tempfile
from http.client import HTTPConnection
from pathlib import Path

from tests.promises import generated
from tests.promises.servers import ENGINES, HOST, Server, started
from tests.security.process import COOKIE, App, Visitor

# Of the package that `generated` has rendered.
from promised.sessions import Store  # isort: skip

SESSIONS = 10_000
REQUESTS = 3_000
CONNECTIONS = 500
IDLE = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def main() -> None:
    print("| | " + " | ".join(ENGINES) + " |\n|---|---|---|")
    columns = [measured(engine) for engine in ENGINES]
    for name in columns[0]:
        print(f"| {name} | " + " | ".join(column[name] for column in columns) + " |")


def measured(engine: str) -> dict[str, str]:
    with started(engine) as server, tempfile.TemporaryDirectory() as folder:
        app = App(generated.PROJECT, Path(folder, "run"), environment=environment(server))
        try:
            ada = Visitor(app)
            ada.register()
            visitor = Visitor(app)
            visitor.post("/", text="Water the plants")
            bytes_a_session = asyncio.run(size_of_a_session(server, app, id_of(ada)))
            found = {"a session of somebody who is logged in": f"{bytes_a_session:.0f} bytes"}
            for name, path, jar in (
                ("`/healthz`", "/healthz", {}),
                ("`/` with a session", "/", visitor.jar),
                ("`/account`", "/account", ada.jar),
            ):
                seconds = processor_time(app, path, jar)
                found[f"{name}, of one core"] = f"{1 / seconds:.0f} a second"
            found["an idle process"] = f"{memory(app) / 2**20:.0f} MiB"
            found["an idle connection"] = f"{size_of_a_connection(app) / 1024:.0f} KiB"
            return found
        finally:
            app.stop()


def environment(server: Server) -> dict[str, str]:
    return {"SESSION_ENGINE": server.engine, "LOG_LEVEL": "warning", **server.environment}


def id_of(visitor: Visitor) -> str:
    """The session's id in the store, which is the hash of the one in the cookie."""
    signed = visitor.jar[COOKIE.replace("my_tornado_app", generated.PROJECT.name)]
    token = base64.b64decode(signed.split("|")[4].partition(":")[2]).decode()
    return hashlib.sha256(token.partition(".")[0].encode()).hexdigest()


async def size_of_a_session(server: Server, app: App, session_id: str) -> float:
    """Bytes in the store for each of many copies of this session."""
    store = Store(
        {
            "cookie_secret": "x" * 32,
            "pycket": {
                "engine": server.engine, "storage": server.storage, "key_prefix": app.package
            },
        }
    )  # fmt: skip
    try:
        snapshot = await store.sessions.load(store.key("session", session_id))
        assert snapshot is not None
        before = used(server)
        for _ in range(SESSIONS // 100):
            await asyncio.gather(
                *(
                    store.sessions.write(
                        store.key("session", secrets.token_hex(32)),
                        snapshot.fields,
                        86_400,
                        create=True,
                    )
                    for _ in range(100)
                )
            )
        return (used(server) - before) / SESSIONS
    finally:
        await store.close()


def used(server: Server) -> int:
    """Bytes in the store, as it counts them."""
    ask, name = {
        "redis": (b"INFO memory\r\n", "used_memory:"),
        "memcached": (b"stats\r\n", "STAT bytes "),
    }[server.engine]
    with socket.create_connection((HOST, server.port)) as connection:
        connection.sendall(ask)
        answer = ""
        while "mem_fragmentation" not in answer and "END\r\n" not in answer:
            answer += connection.recv(65536).decode()
    return int(answer.partition(name)[2].split()[0])


def processor_time(app: App, path: str, jar: dict[str, str]) -> float:
    """Seconds of the processor that the app takes for a request."""
    headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in jar.items())}
    connection = HTTPConnection(HOST, app.port)

    def ask(times: int) -> None:
        for _ in range(times):
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            response.read()
            assert response.status == 200, response.status

    ask(200)
    before = ticks(app)
    ask(REQUESTS)
    connection.close()
    return (ticks(app) - before) / os.sysconf("SC_CLK_TCK") / REQUESTS


def ticks(app: App) -> int:
    user, system = Path(f"/proc/{app.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return int(user) + int(system)


def memory(app: App) -> int:
    pages = int(Path(f"/proc/{app.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def size_of_a_connection(app: App) -> float:
    """Bytes of memory that a connection takes that waits for its next request."""
    connections = []
    before = 0
    for number in range(CONNECTIONS + 100):
        if number == 100:  # the first ones pay for what all use
            before = memory(app)
        connections.append(socket.create_connection((HOST, app.port)))
        connections[-1].sendall(IDLE.encode())
        assert b"200" in connections[-1].recv(4096)
    size = (memory(app) - before) / CONNECTIONS
    for connection in connections:
        connection.close()
    return size


if __name__ == "__main__":
    main()
