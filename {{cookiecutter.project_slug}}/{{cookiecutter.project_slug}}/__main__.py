"""python -m {{cookiecutter.project_slug}}: read the settings, serve, and shut down cleanly.
`--help` lists the options.

`migrate` in front of the options updates the schema of the database instead, and `user` makes
accounts: see user_command.py. To add a command, add a function to `COMMANDS`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
import sys
from collections.abc import Callable
from functools import partial

import tornado.autoreload
from tornado.httpserver import HTTPServer

from . import logs, metrics, ports, processes, texts
from .app import App, make_app
from .database import Database, DatabaseUnavailable, DatabaseUnusable, SchemaBehind
from .environment import read_environment
from .proxies import make_server
from .server import Server, raise_file_limit
from .services import make_services
from .sessions import ConfigurationError, StoreUnavailable
from .settings import Settings, in_variables, read_settings
from .settings_faults import memory_engine
from .socket_activation import inherited_sockets
from .user_command import UserCommand

shutdown_timeout_s = 8.0  # for requests in flight; `docker stop` waits 10 s before it kills
patience_s = 12.0  # after GRACE, for a process to end before its parent kills it

HOW_TO_START = {
    # Lines that end in a mark belong to one answer alone.  # without hooks
    "redis": "redis-server --port {port}",  # engine: redis
    "memcached": "memcached -p {port}",  # engine: memcached
}

_LOCAL = ("127.0.0.1", "0.0.0.0", "::1", "::", "localhost")  # noqa: S104 - only compared

log = logging.getLogger(__package__)


def main() -> None:
    """Do what the command line says. Exits with one line per fault where that is impossible."""
    logs.configure(debug=False)
    program, *arguments = sys.argv
    command: Callable[[Settings], None] = serve
    if arguments[:1] == ["user"]:
        command = user = UserCommand(arguments[1:])
        arguments = user.rest
    elif arguments and arguments[0] in COMMANDS:
        command = COMMANDS[arguments.pop(0)]
    try:
        settings = read_settings([program, *arguments], read_environment(os.environ))
        logs.configure(
            debug=settings.debug,
            level=settings.log_level,
            form=settings.log_format,
            in_variables=partial(in_variables, settings.session_engine),
        )
        command(settings)
    except ConfigurationError as error:
        sys.exit("\n".join(error.faults))
    except StoreUnavailable as error:
        sys.exit(_store_is_down(settings, error))
    except (DatabaseUnavailable, DatabaseUnusable) as error:
        sys.exit(_database_is_down(error))
    except KeyboardInterrupt:
        sys.exit(130)


def serve(settings: Settings) -> None:
    """Run the app until it is told to stop."""
    raise_file_limit()
    asyncio.run(_prepare(settings))
    inherited = inherited_sockets()
    with metrics.files(settings):
        child = None
        if several := settings.processes > 1:
            if not inherited:
                ports.check_free(settings, "port")
            if settings.metrics_port:
                ports.check_free(settings, "metrics_port")
            child = processes.fork(settings.processes, patience_s=settings.grace + patience_s)
        sockets = inherited or ports.listen(settings, "port", shared=several)
        metrics_sockets = []
        if settings.metrics_port:
            metrics_sockets = ports.listen(settings, "metrics_port", shared=several)
        if child is None or (child.number == 0 and child.is_first_start):
            host = "localhost" if settings.address in _LOCAL else settings.address
            print(f"Serving on http://{host}:{settings.port} - Ctrl-C ends it", flush=True)
        with asyncio.Runner(loop_factory=_loop_factory(settings)) as runner:
            server = _serve(settings, sockets, metrics_sockets, child, sockets_stay=bool(inherited))
            runner.run(server)


def migrate(settings: Settings) -> None:
    """Bring the schema of the database up to date, before a new release starts."""
    asyncio.run(_migrate(settings))
    print("All migrations have run.")


COMMANDS = {"serve": serve, "migrate": migrate}


async def _migrate(settings: Settings) -> None:
    database = Database(settings.database_url)
    try:
        await database.migrate()
    finally:
        await database.close()


async def _prepare(settings: Settings) -> None:
    """See that translations, store and database can be used. It happens before any process is
    forked, so that one alone migrates.
    """
    texts.load()
    services = make_services(settings)
    try:
        if settings.debug:
            await services.database.migrate()
        await services.start()
    finally:
        await services.close()


def _loop_factory(settings: Settings) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if not settings.uvloop:
        return None
    import uvloop

    return uvloop.new_event_loop


async def _serve(
    settings: Settings,
    sockets: list[socket.socket],
    metrics_sockets: list[socket.socket],
    child: processes.Child | None,
    *,
    sockets_stay: bool,
) -> None:
    """Answer requests until told to stop; then finish those in flight, and let go of everything."""
    app = make_app(settings)
    server = make_server(app, settings.trusted_proxies)
    server.sockets_stay = sockets_stay
    if metrics_sockets:
        HTTPServer(metrics.install(app)).add_sockets(metrics_sockets)
    try:
        await app.start()
        server.add_sockets(sockets)
        if settings.debug:
            tornado.autoreload.start()
        await processes.told_to_stop(child)
        await _finish(app, server, settings.grace)
    finally:
        await app.close()


async def _finish(app: App, server: Server, grace_s: float) -> None:
    """Lose no request: first those who send them learn from /readyz to send no more, then the
    socket is closed, then what has come is answered.
    """
    log.info(
        "stopping: %d requests in flight, %d open WebSockets",
        len(app.in_flight),
        len(app.websockets),
    )
    app.draining = True
    server.drain()
    await asyncio.sleep(grace_s)
    await server.refuse_connections()
    loop = asyncio.get_running_loop()
    deadline = loop.time() + shutdown_timeout_s
    await server.wait_for_requests(shutdown_timeout_s)
    await app.drain(deadline - loop.time())
    await server.close_all_connections()


def _store_is_down(settings: Settings, error: StoreUnavailable) -> str:
    if not error.cause.startswith("it is not there"):  # somebody listens
        cause, cure = (
            in_variables(settings.session_engine, each) for each in (error.cause, error.cure)
        )
        to_do = f" To do: {cure}." if cure else ""
        return f"The session store at {error.address} cannot be used: {cause.rstrip('.')}.{to_do}"
    found = re.search(r":(\d+)\b", error.address)
    start = HOW_TO_START[settings.session_engine].format(port=found[1] if found else "")
    return (
        f"The session store at {error.address} does not answer ({error.cause}). "
        f"Start it: {start} - or do without it: make run ENGINE={memory_engine}"
    )


def _database_is_down(error: DatabaseUnavailable | DatabaseUnusable) -> str:
    words = f"The database at {error.address} cannot be used: {error.cause}"
    if isinstance(error, SchemaBehind):  # its cause says what to do
        return words
    if error.address.startswith("sqlite"):
        return (
            f"{words}. The app writes this file, and others beside it: give it the right to, in the "
            "folder too, or name another file in DATABASE_URL. If another program keeps the file "
            "locked, end that program."
        )
    if isinstance(error, DatabaseUnusable):
        return words
    return (
        f"The database at {error.address} does not answer ({error.cause}). "
        f"Start it, or take a file: DATABASE_URL={Settings.database_url}"
    )


if __name__ == "__main__":
    main()
