"""The processes of a run: private stores, the delay proxy, the applications under test.

Every server listens on a free port of 127.0.0.1 and dies with the run. Nothing here ever touches
a server that it did not start.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

HOST: Final = "127.0.0.1"
START_TIMEOUT_S: Final = 20.0
_HERE: Final = Path(__file__).parent


class StartFailed(Exception):
    """A process did not begin to listen."""


@dataclass(frozen=True)
class Server:
    """A process that listens."""

    process: subprocess.Popen[bytes]
    port: int

    def freeze(self) -> None:
        """Stop it in the middle of whatever it does; its connections stay open."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)

    def cpu_s(self) -> float:
        """Processor time it has used so far, in all its threads."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self) -> float:
        """Its resident memory in MB."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return float("nan")


@dataclass(frozen=True)
class Store(Server):
    """A private Redis or Memcached."""

    engine: str

    def stats(self) -> dict[str, str]:
        """What the server counts, by name."""
        with socket.create_connection((HOST, self.port), timeout=30) as connection:
            if self.engine == "redis":
                connection.sendall(b"INFO all\r\n")
                said = _read(connection, lambda data: _bulk_is_whole(data))
                pairs = (line.partition(":") for line in said.splitlines() if ":" in line)
                return {name: value for name, _, value in pairs}
            connection.sendall(b"stats\r\n")
            said = _read(connection, lambda data: data.endswith(b"END\r\n"))
            rows = (line.split(" ", 2) for line in said.splitlines() if line.startswith("STAT "))
            return {row[1]: row[2] for row in rows}

    def count(self, name: str) -> int:
        """One number out of `stats`."""
        return int(self.stats()[name])

    def commands(self) -> dict[str, int]:
        """How often each command was carried out."""
        stats = self.stats()
        if self.engine == "redis":
            return {
                name.removeprefix("cmdstat_"): int(value.split(",")[0].removeprefix("calls="))
                for name, value in stats.items()
                if name.startswith("cmdstat_")
            }
        return {
            name.removeprefix("cmd_"): int(value)
            for name, value in stats.items()
            if name in ("cmd_get", "cmd_set", "cmd_touch", "delete_hits", "delete_misses")
        }


class Servers:
    """Starts processes and, as a context manager, ends them."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.scratch = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def store(self, engine: str, memory_mb: int = 64) -> Store:
        """Start an empty store."""
        port = free_port()
        if engine == "redis":
            command = f"redis-server --bind {HOST} --port {port} --dir {self.scratch}".split()
            command += ["--appendonly", "no", "--save", ""]
        else:
            command = f"memcached -l {HOST} -p {port} -U 0 -c 4096 -m {memory_mb}".split()
            if os.getuid() == 0:
                command += ["-u", "nobody"]
        return Store(self.start(command, port), port, engine)

    def proxy(self, store: Store, delay_ms: float) -> Server:
        """Start a proxy through which `store` is `delay_ms` further away."""
        port = free_port()
        command = [sys.executable, str(_HERE / "proxy.py"), str(port), str(store.port)]
        return Server(self.start([*command, str(delay_ms)], port), port)

    def app(self, python: Path, name: str, **options: Any) -> Server:
        """Start one of apps/ with the interpreter of its environment."""
        port = free_port()
        given = json.dumps({"port": port, **options})
        return Server(self.start([str(python), str(_HERE / "apps" / name), given], port), port)

    def start(
        self, command: list[str], port: int, *, cwd: Path | None = None, **environ: str
    ) -> subprocess.Popen[bytes]:
        """Start `command` and return when it listens on `port`."""
        log = self.scratch / f"{port}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=cwd,
                env={**os.environ, **environ},
            )
        self._stack.callback(end, process)
        due = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < due and process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex((HOST, port)) == 0:
                    return process
            time.sleep(0.005)
        raise StartFailed(f"{' '.join(command)} does not listen:\n{log.read_text()[-2000:]}")


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process, even one that is frozen."""
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """A port of this machine that nothing listens on right now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _read(connection: socket.socket, is_whole: Any) -> str:
    data = b""
    while not is_whole(data):
        received = connection.recv(65536)
        if not received:
            raise ConnectionError("the store hung up")
        data += received
    return data.decode()


def _bulk_is_whole(data: bytes) -> bool:
    size, newline, rest = data.partition(b"\r\n")
    return bool(newline) and len(rest) >= int(size[1:]) + 2
