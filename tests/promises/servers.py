"""Private redis-server and memcached processes that can be killed, frozen and started again."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

HOST: Final = "127.0.0.1"
ENGINES: Final = ("redis", "memcached")


class Server:
    """A store on a port of its own, which it keeps when it is started again."""

    def __init__(self, engine: str, *options: str) -> None:
        self.engine = engine
        self.port = free_port()
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def storage(self) -> dict[str, Any]:
        """What settings["pycket"]["storage"] takes."""
        return storage(self.engine, self.port)

    @property
    def environment(self) -> dict[str, str]:
        """What the generated app takes from its environment."""
        return environment(self.engine, self.port)

    def start(self) -> None:
        """Start the process and return when it answers."""
        program = "redis-server" if self.engine == "redis" else "memcached"
        path = shutil.which(program)
        assert path is not None, f"{program} is not installed: these tests start private ones"
        arguments = {
            "redis": ["--bind", HOST, "--port", str(self.port), "--save", "", "--dir", "/"],
            "memcached": ["-l", HOST, "-p", str(self.port), "-U", "0", "-c", "512"],
        }[self.engine]
        if self.engine == "redis":
            # A replica would leave what it was sent in a file, for the next server to load.
            arguments += ["--repl-diskless-load", "swapdb"]
        if self.engine == "memcached" and os.geteuid() == 0:
            arguments += ["-u", "root"]  # it refuses to run as root unless told to
        self._process = subprocess.Popen(
            [path, *arguments, *self._options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(self._answers, f"{program} on port {self.port}")

    def kill(self) -> None:
        """End it at once, with all it holds."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Stop it as it is: the kernel still accepts connections, and nobody answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        os.waitpid(self._process.pid, os.WUNTRACED)

    def thaw(self) -> None:
        """Go on after `freeze`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def ask(self, command: str) -> str:
        """Send a command in the server's own language and return what it says at once."""
        with socket.create_connection((HOST, self.port), timeout=5) as connection:
            connection.sendall(command.encode() + b"\r\n")
            return connection.recv(65536).decode(errors="replace")

    def value(self, key: str) -> bytes:
        """What memcached holds under `key`."""
        with socket.create_connection((HOST, self.port), timeout=5) as connection:
            connection.sendall(f"get {key}\r\n".encode())
            with connection.makefile("rb") as answer:
                size = int(answer.readline().split()[3])
                return answer.read(size)

    def connections(self) -> int:
        """How many clients are connected, besides the one that asks."""
        if self.engine == "redis":
            return self.ask("CLIENT LIST").count(" addr=") - 1
        stats = dict(line.split()[1:3] for line in self.ask("stats").splitlines() if "STAT" in line)
        return int(stats["curr_connections"]) - 2  # one asks, one listens

    def _answers(self) -> bool:
        try:
            return bool(self.ask("PING" if self.engine == "redis" else "version"))
        except OSError:
            return False


@contextmanager
def started(engine: str, *options: str) -> Iterator[Server]:
    """A running server for the length of a block."""
    server = Server(engine, *options)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def storage(engine: str, *ports: int) -> dict[str, Any]:
    """What settings["pycket"]["storage"] takes for an engine on local ports."""
    if engine == "redis":
        return {"host": HOST, "port": ports[0]}
    return {"servers": [f"{HOST}:{port}" for port in ports]}


def environment(engine: str, *ports: int) -> dict[str, str]:
    """The same as environment variables of the generated app."""
    if engine == "redis":
        return {"SESSION_ENGINE": engine, "REDIS_URL": f"redis://{HOST}:{ports[0]}"}
    servers = ",".join(storage(engine, *ports)["servers"])
    return {"SESSION_ENGINE": engine, "MEMCACHED_SERVERS": servers}


_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_FIRST_PORT = 15_000 + 1_000 * (_WORKER % 16)
"""Below the ports that the system gives to clients; each process that runs tests has its own."""
_ports = itertools.cycle(random.sample(range(_FIRST_PORT, _FIRST_PORT + 1_000), 1_000))


def free_port() -> int:
    """Return a TCP port that nothing listens on, and that no other test will be given meanwhile."""
    while True:
        port = next(_ports)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port


def wait_for(condition: Any, what: str, timeout_s: float = 20) -> None:
    """Return when `condition()` is true. Fails after `timeout_s`."""
    due = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < due, f"{what}: not within {timeout_s} s"
        time.sleep(0.01)
