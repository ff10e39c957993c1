"""The app in a process of its own, as it is deployed: `start(PROCESSES="2")`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .forked import Python
from .servers import free_port

ROOT = Path(__file__).parents[2]

# The app with a page that says when it is asked, and waits. Each process that serves says so.
SLOW = """
import asyncio, os
from {{cookiecutter.project_slug}} import __main__ as program
from {{cookiecutter.project_slug}}.handlers.plain import PlainHandler

class Slow(PlainHandler):
    async def get(self):
        print("asked", asyncio.get_running_loop(), flush=True)
        await asyncio.sleep(float(self.get_argument("seconds")))
        self.write("done")

def make_app(settings, make=program.make_app):
    app = make(settings)
    app.add_handlers(".*", [("/slow", Slow)])
    async def job():
        print("serving", os.getpid(), flush=True)
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
        base["LOG_LEVEL"] = "info"  # tests wait for lines
        super().__init__(folder, program, base | environ, *files)
