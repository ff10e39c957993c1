"""python -m {{cookiecutter.project_slug}}: read the settings, serve, and leave in good order.
`--help` lists the options.

`migrate` in front of the options updates the schema of the database instead, and `user` makes
accounts: see user_command.py. To add a command, add a function to `COMMANDS`.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import re
import signal
import socket
import sys
from collections.abc import Callable

import tornado.autoreload
import tornado.netutil
import tornado.process
from tornado.httpserver import HTTPServer

from . import logs, metrics
from .app import App, make_app
from .database import Database, DatabaseUnavailable, DatabaseUnusable
from .environment import read_environment
from .proxies import make_server
from .services import make_services
from .sessions import ConfigurationError, StoreUnavailable
from .settings import Settings, memory_engine, read_settings
from .socket_activation import inherited_sockets
from .user_command import UserCommand

shutdown_timeout_s = 8.0  # for requests in flight; `docker stop` waits 10 s before it kills
max_body_bytes = 1024 * 1024  # no form here is larger; raise it when you accept uploads

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
        logs.configure(debug=settings.debug, level=settings.log_level, form=settings.log_format)
        command(settings)
    except ConfigurationError as error:
        sys.exit("\n".join(error.faults))
    except StoreUnavailable as error:
        sys.exit(_store_is_down(settings, error))
    except DatabaseUnavailable as error:
        sys.exit(_database_is_down(error))
    except DatabaseUnusable as error:
        sys.exit(f"The database at {error.address} cannot be used: {error.cause}")
    except KeyboardInterrupt:
        sys.exit(130)


def serve(settings: Settings) -> None:
    """Run the app until SIGTERM or SIGINT."""
    asyncio.run(_prepare(settings))
    sockets = inherited_sockets() or _bind(settings, "port")
    metrics_sockets = _bind(settings, "metrics_port") if settings.metrics_port else []
    host = "localhost" if settings.address in _LOCAL else settings.address
    print(f"Serving on http://{host}:{settings.port} - Ctrl-C ends it", flush=True)
    with metrics.files(settings):
        parent = _fork(settings.processes) if settings.processes > 1 else None
        asyncio.run(_serve(settings, sockets, metrics_sockets, parent))


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
    """See that store and database can be used. It happens before any process is forked, so that one
    alone migrates.
    """
    services = make_services(settings)
    try:
        if settings.debug:
            await services.database.migrate()
        await services.start()
    finally:
        await services.close()


async def _serve(
    settings: Settings,
    sockets: list[socket.socket],
    metrics_sockets: list[socket.socket],
    parent: int | None,
) -> None:
    """Answer requests until told to stop; then finish those in flight, and let go of everything."""
    app = make_app(settings)
    server = make_server(
        app, settings.trusted_proxies, max_body_size=max_body_bytes, max_buffer_size=max_body_bytes
    )
    if metrics_sockets:
        HTTPServer(metrics.install(app)).add_sockets(metrics_sockets)
    try:
        await app.start()
        server.add_sockets(sockets)
        await _answer_requests(app, server, settings, parent)
    finally:
        await app.close()


async def _answer_requests(
    app: App, server: HTTPServer, settings: Settings, parent: int | None
) -> None:
    if settings.debug:
        tornado.autoreload.start()
    await _told_to_stop(parent)
    log.info("stopping: %d requests in flight", len(app.in_flight))
    server.stop()
    await app.drain(shutdown_timeout_s)
    await server.close_all_connections()


async def _told_to_stop(parent: int | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if parent is not None:
        loop.add_reader(parent, stop.set)
    await stop.wait()
    if parent is not None:
        loop.remove_reader(parent)


def _fork(processes: int) -> int:
    """Fork, and return in each child a file descriptor that becomes readable when the parent is
    told to stop, or dies.

    The parent stays here: it starts children again that fail, and exits after the last one.
    """
    child_end, parent_end = os.pipe()

    def close(*_: object) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        os.close(parent_end)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, close)
    tornado.process.fork_processes(processes)
    os.close(parent_end)  # only the parent's own copy may keep the pipe open
    return child_end


def _bind(settings: Settings, option: str) -> list[socket.socket]:
    port, address = getattr(settings, option), settings.address
    try:
        return tornado.netutil.bind_sockets(port, address)
    except OSError as error:
        name = option.upper()
        match error.errno:
            case errno.EADDRINUSE:
                fault = (
                    f"port {port} is in use: stop what listens there, or write {name}={port + 1}"
                )
            case errno.EACCES | errno.EPERM:
                fault = (
                    f"port {port} is not permitted: write one above 1023, for example {name}=8888"
                )
            case _:
                fault = f"{error.strerror}: write an ADDRESS of this machine, such as 127.0.0.1"
    raise ConfigurationError([f"Cannot listen on {address}: {fault}"])


def _store_is_down(settings: Settings, error: StoreUnavailable) -> str:
    found = re.search(r":(\d+)\b", error.address)
    start = HOW_TO_START[settings.session_engine].format(port=found[1] if found else "")
    return (
        f"The session store at {error.address} does not answer ({error.cause}). "
        f"Start it: {start} - or do without it: make run ENGINE={memory_engine}"
    )


def _database_is_down(error: DatabaseUnavailable) -> str:
    return (
        f"The database at {error.address} does not answer ({error.cause}). "
        f"Start it, or take a file: DATABASE_URL={Settings.database_url}"
    )


if __name__ == "__main__":
    main()
