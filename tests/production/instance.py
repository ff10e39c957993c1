"""An instance of a baked app: `python -m <package>` on a port that it keeps when it starts again."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final

from ..conftest import clean_environment
from ..promises.servers import HOST, free_port, wait_for

COOKIE_SECRET: Final = "only-for-tests-" + "0123456789abcdef" * 2


class Instance:
    """A process of the app, or several with their parent."""

    def __init__(
        self,
        project: Path,
        directory: Path,
        environment: dict[str, str],
        program: tuple[str, ...] | None = None,
        files: int | None = None,
    ) -> None:
        """`directory` has the database, which instances share. `program` is what Python runs instead
        of the app, `files` the limit of open files.
        """
        self.port = free_port()
        self.environment = {
            **clean_environment(),
            "PYTHONPATH": str(project),
            "PYTHONDONTWRITEBYTECODE": "1",
            "COOKIE_SECRET": COOKIE_SECRET,
            "DATABASE_URL": f"sqlite+aiosqlite:///{directory}/app.db",
            "PORT": str(self.port),
            **environment,
        }
        self._program = program or ("-m", project.name)
        self._files = files
        self._directory = directory
        self._log = directory / f"{self.port}.log"
        self._process: subprocess.Popen[bytes] | None = None
        if not (directory / "app.db").exists():
            subprocess.run(
                [sys.executable, "-m", project.name, "migrate"],
                cwd=directory,
                env=self.environment,
                capture_output=True,
                check=True,
            )

    def start(self) -> None:
        """Start it, and return when it is ready."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self._program],
                cwd=self._directory,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=self._limit_files,  # noqa: PLW1509 - it only makes a system call
            )
        wait_for(self._is_ready, "the app")

    @property
    def log(self) -> str:
        """What it has written so far, in all its lives."""
        return self._log.read_text(errors="replace")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def children(self) -> list[int]:
        """The processes that serve, where there are several."""
        return [
            int(pid)
            for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        ]

    def send(self, number: signal.Signals, pid: int | None = None) -> None:
        """Send a signal to it, or to one of its children."""
        os.kill(pid or self.pid, number)

    def wait(self, timeout_s: float = 30) -> int:
        """Wait for its end and return the exit status."""
        assert self._process is not None
        return self._process.wait(timeout_s)

    def restart(self) -> None:
        """Shut it down cleanly and start it again."""
        self.send(signal.SIGTERM)
        assert self.wait() == 0, self.log
        self.start()

    def kill(self) -> None:
        """End it and its children, whatever they do."""
        if self._process is None:
            return
        if self._process.poll() is None:
            for pid in (*self.children, self.pid):
                self.send(signal.SIGKILL, pid)
        self._process.wait()

    def get(self, path: str, timeout_s: float = 10) -> int:
        """Ask for a page on a connection of its own; returns the status, or 0 without an answer."""
        connection = HTTPConnection(HOST, self.port, timeout=timeout_s)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, HTTPException):
            return 0
        finally:
            connection.close()

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log
        return self.get("/readyz") == 200

    def _limit_files(self) -> None:
        if self._files is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (self._files, self._files))
