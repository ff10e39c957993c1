"""What the benchmark's applications have in common: their words, and how they are served.

Each application is started by servers.py as a process of its own, with its options as JSON on the
command line. All answer the same paths with the same words:

    GET /begin         log in: keep a name and a role, set the cookie
    GET /begin-large   the same, and 100 kB more
    GET /read          a page that reads the two names
    GET /write         a page that also counts its visits
    GET, POST /flash   a form post that leaves a message, and the page that shows it
    GET /large         a page that changes 20 bytes of the 100 kB
    GET /plain         a page without a session
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import random
import sys
from collections.abc import Callable, Iterable
from typing import Any

import tornado.httpserver
import tornado.netutil
import tornado.web

NAME = "Ada Lovelace"
ROLE = "editor"
COOKIE_SECRET = "only for the benchmark, which serves 127.0.0.1"

LARGE = {f"part{number}": random.Random(number).randbytes(500).hex() for number in range(100)}
"""What a large session holds: 100 kB that cannot be shortened."""

_numbers = itertools.count(1)


def page(name: str, role: str, visits: int | None = None, messages: Iterable[str] = ()) -> str:
    """A small page: what is around a session costs every application the same."""
    seen = "" if visits is None else f"<p>Visit number {visits}.</p>"
    told = "".join(f'<p role="status">{message}</p>' for message in messages)
    return (
        f"<!doctype html><title>Home</title>{told}<h1>Hello {name}</h1><p>You are {role}.</p>{seen}"
    )


def note() -> str:
    """20 characters that were never there before."""
    return f"{next(_numbers):020d}"


class PlainHandler(tornado.web.RequestHandler):
    """A page without a session, for what others suffer when a session's store is slow."""

    def get(self) -> None:
        self.write(page("visitor", "nobody"))


def options() -> dict[str, Any]:
    """What servers.py has put on the command line: port, engine, store_port and more."""
    given: dict[str, Any] = json.loads(sys.argv[1])
    return given


def serve(port: int, handlers: list[Any], **settings: Any) -> None:
    """Serve on 127.0.0.1 until killed: one process, nothing logged."""
    logging.disable(logging.CRITICAL)
    application = tornado.web.Application(
        [*handlers, ("/plain", PlainHandler)],
        cookie_secret=COOKIE_SECRET,
        log_function=lambda handler: None,
        **settings,
    )

    async def run() -> None:
        server = tornado.httpserver.HTTPServer(application)
        server.add_sockets(tornado.netutil.bind_sockets(port, "127.0.0.1", backlog=1024))
        await asyncio.Event().wait()

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(run())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if not options().get("uvloop"):
        return None
    import uvloop

    return uvloop.new_event_loop
