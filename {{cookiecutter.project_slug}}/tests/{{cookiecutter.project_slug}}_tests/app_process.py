"""The app in a process of its own, as it is deployed: `start(PROCESSES="2")`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .forked import Python
from .servers import free_port

ROOT = Path(__file__).parents[2]

# Two processes, each with a job that says where it runs.
TWO_PROCESSES = """
import os
from {{cookiecutter.project_slug}} import __main__ as program

def make_app(settings, make=program.make_app):
    app = make(settings)
    async def job():
        print("job", os.getpid(), flush=True)
    app.background(job)
    return app

program.make_app = make_app
program.main()
"""


class Process(Python):
    """The app with these environment variables, on a free port and the memory engine.

    `program` is what follows `python`; it inherits `files` as its own 3, 4, ...
    """

    def __init__(
        self,
        folder: Path,
        program: Sequence[str] = ("-m", "{{cookiecutter.project_slug}}"),
        files: Sequence[int] = (),
        **environ: str,
    ) -> None:
        self.port = int(environ.get("PORT", free_port()))
        base = {"PYTHONPATH": str(ROOT), "PORT": str(self.port), "SESSION_ENGINE": "memory"}
        super().__init__(folder, program, base | environ, *files)
