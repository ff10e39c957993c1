"""Python in a process of its own: the app as it is deployed, its commands, Alembic.

Each process is forked from one that has imported the large libraries, which takes half a second of
a processor. The modules of the project are imported anew each time.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        "alembic.command",
        "email_validator",
        "sqlalchemy.ext.asyncio",
        "sqlalchemy.dialects.sqlite.aiosqlite",
        "tornado.autoreload",
        "tornado.web",
    ]
)


class Python:
    """`python` with these arguments, "-m" or "-c" first, and these environment variables alone."""

    def __init__(
        self, folder: Path, arguments: Sequence[str], environ: Mapping[str, str], *files: int
    ) -> None:
        """`files`: descriptors that it inherits, as its own 3, 4, ..."""
        output, its_output = _FORKS.Pipe(duplex=False)
        inherited = [Connection(os.dup(number)) for number in files]
        self._process = _FORKS.Process(
            target=_run, args=(str(folder), list(arguments), dict(environ), its_output, inherited)
        )
        self._process.start()
        for each in (its_output, *inherited):
            each.close()
        self._output = os.fdopen(os.dup(output.fileno()))
        output.close()

    def first_line(self) -> str:
        """Wait for the next line of what it prints; "" at the end."""
        return self._output.readline()

    def send(self, number: signal.Signals) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def wait(self, timeout_s: float = 10) -> int:
        """Wait for the end; returns the status: of a signal, minus its number."""
        self._process.join(timeout_s)
        if self._process.exitcode is None:
            self.kill()  # or it would hold its port after the suite
            raise AssertionError("it goes on")
        return self._process.exitcode

    def end(self, timeout_s: float = 10) -> tuple[int, str]:
        """Wait for the end; returns the status and what was printed since the last line."""
        status = self.wait(timeout_s)
        with self._output:
            return status, self._output.read()

    def kill(self) -> None:
        """End it, whatever it does."""
        if self._process.exitcode is None:
            self._process.kill()
        self._process.join()
        self._output.close()


def _run(
    folder: str,
    arguments: list[str],
    environ: dict[str, str],
    output: Connection,
    inherited: list[Connection],
) -> None:
    for number, source in enumerate([output, output, *inherited], start=1):
        os.dup2(source.fileno(), number)
    # As `python` does without -u, which is handed down from pytest-xdist: a line is written at once.
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    sys.path.insert(0, environ["PYTHONPATH"])
    kind, program, *rest = arguments
    sys.argv = [program if kind == "-m" else kind, *rest]
    if kind == "-m":
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        exec(compile(program, "<string>", "exec"), {"__name__": "__main__"})
