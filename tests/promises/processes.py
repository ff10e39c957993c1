"""Processes of the generated app, each on a port of its own, with what they log."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from .generated import ENVIRONMENT, empty_database
from .servers import HOST, free_port, wait_for

PROGRAM: Final = Path(__file__).with_name("application.py")


class Process:
    """A process of the app with the pages of application.py."""

    def __init__(self, environment: dict[str, str], directory: str, *flags: str) -> None:
        port = free_port()
        self.url = f"http://{HOST}:{port}"
        self._log = Path(directory, f"{port}.log")
        shutil.copy(empty_database(), Path(directory, f"{port}.db"))
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, *flags, str(PROGRAM), f"--port={port}"],
                env={
                    **ENVIRONMENT,
                    "DATABASE_URL": f"sqlite+aiosqlite:///{directory}/{port}.db",
                    **environment,
                },
                cwd=directory,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self._log.read_text(errors="replace")

    def serves(self) -> bool:
        """Whether it answers."""
        assert self._process.poll() is None, self.log
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def terminate(self) -> None:
        """Tell it to stop."""
        self._process.send_signal(signal.SIGTERM)

    def wait(self, timeout_s: float = 15) -> int:
        """Wait for its end and return the exit status."""
        return self._process.wait(timeout_s)

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.wait()


@contextmanager
def running(
    count: int, environment: dict[str, str], *flags: str, **settings: str
) -> Iterator[list[Process]]:
    """`count` processes of the app that share a store, for the length of a block."""
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        processes = []
        for _ in range(count):
            process = Process({**environment, **settings}, directory, *flags)
            stack.callback(process.kill)
            processes.append(process)
        for process in processes:
            wait_for(process.serves, "the app")
        yield processes
