"""The database, for everything that keeps data: sessions of SQLAlchemy, and the base of tables.

    async with self.application.services.database.session() as db:
        db.add(Note(text="..."))
        await db.commit()

To add a table, subclass `Base` in a module that services.py imports, then run
`make migration m="what changes"`; docs/database.md shows it. What goes wrong is told apart in
database_errors.py: visitors get a 503 for what passes by itself, and a 500 for everything else.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, DateTime, MetaData, event, exc, exists, false, select, text
from sqlalchemy.engine import Dialect, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator

from . import migrations, postgresql
from .database_errors import (
    WRONG_SCHEMA,
    DatabaseUnavailable,
    DatabaseUnusable,
    SchemaBehind,
    is_taken,
    is_wrong_schema,
    told_apart,
)
from .per_loop import PerLoop

__all__ = [
    "Base",
    "Database",
    "DatabaseUnavailable",
    "DatabaseUnusable",
    "SchemaBehind",
    "UtcDateTime",
    "is_taken",
]

timeout_s = 5  # to connect, to get a connection of the pool, and for each statement
migration_timeout_s = 3600  # for each statement of a migration, and for another one to end


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime, in UTC on every database. It takes aware ones only: a time without a zone
    is a ValueError, before it is stored as another moment than was meant.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone; write datetime.now(UTC), for example")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        # SQLite forgets the zone, and PostgreSQL returns that of its own setting.
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """Base of the tables."""

    # A migration can only change a constraint that has a name: these are PostgreSQL's own.
    metadata = MetaData(
        naming_convention={
            "pk": "%(table_name)s_pkey",
            "uq": "%(table_name)s_%(column_0_N_name)s_key",
            "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
            "ix": "%(table_name)s_%(column_0_N_name)s_idx",
            "ck": "%(table_name)s_%(constraint_name)s_check",
        }
    )


class Database:
    """The connections to one database.

    What is asked of it raises DatabaseUnavailable where another try may succeed. All other errors
    are SQLAlchemy's own, and a 500 when nothing catches them: `sqlalchemy.exc.IntegrityError` is
    the one to expect, see `is_taken`.
    """

    def __init__(self, url: str, pool_size: int = 15) -> None:
        """`pool_size`: the most connections of this process; who comes next waits `timeout_s`."""
        self.address = make_url(url).render_as_string(hide_password=True)
        """Where it is, for people. Never a password."""
        self._url = url
        self._engines = PerLoop(lambda: _engine(url, self.address, timeout_s, pool_size))

    @property
    def engine(self) -> AsyncEngine:
        """The engine of the running event loop."""
        return self._engines.get()

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """A session; what was not committed when the block ends is rolled back. The objects that it
        loaded or stored can be read afterwards.
        """
        try:
            # Otherwise a session that is used after its block would begin anew, and lose it all.
            async with AsyncSession(
                self.engine, expire_on_commit=False, close_resets_only=False
            ) as session:
                yield session
        except exc.TimeoutError as error:  # of the pool: the database itself says TimeoutError
            raise DatabaseUnavailable(
                self.address, f"all connections of this process are in use ({error})"
            ) from error

    async def start(self) -> None:
        """See that the database can be used. Raises DatabaseUnavailable, DatabaseUnusable and, of
        the latter, SchemaBehind.
        """
        await self._reach()
        with self._saying_what_to_repair():
            async with self.engine.connect() as connection:
                missing = await connection.run_sync(migrations.what_is_missing)
        if missing:
            raise SchemaBehind(self.address, missing)
        await self.ping()

    async def ping(self) -> None:
        """Ask whether we can write, and whether all tables and columns are there: it costs two
        trips, and reads no rows. Raises as `start` does.
        """
        # Each table with its columns, none of its rows.
        tables = (exists(select(each).where(false())) for each in Base.metadata.sorted_tables)
        with self._saying_what_to_repair():
            async with self.session() as session:
                await session.execute(select(*tables))
                await session.execute(text(_NEEDS_WRITING))

    async def migrate(self) -> None:
        """Run the migrations that have not run yet, all or none. Raises as `start` does, and what
        a migration raises.
        """
        await self.in_migration(migrations.upgrade)

    async def in_migration(self, function: Callable[[Connection], None]) -> None:
        """Call `function` with a connection that waits as long as a migration may take."""
        await self._reach()
        engine = _engine(self._url, self.address, statement_timeout_s=migration_timeout_s)
        try:
            async with engine.connect() as connection:
                await connection.run_sync(function)
        finally:
            await engine.dispose()

    async def close(self) -> None:
        """Let go of the connections of this event loop."""
        await self.engine.dispose()

    async def _reach(self) -> None:
        # aiosqlite leaves a thread behind when it cannot open a file; it may fail later, with a
        # traceback, on an event loop that is closed. So see first whether it can be opened.
        if self.engine.dialect.name == "sqlite" and (file := self.engine.url.database):
            try:
                await asyncio.to_thread(lambda: sqlite3.connect(file).close())
            except sqlite3.Error as error:
                raise DatabaseUnusable(self.address, error) from error
        with self._saying_what_to_repair():
            async with self.engine.connect():
                pass

    @contextmanager
    def _saying_what_to_repair(self) -> Iterator[None]:
        try:
            yield
        except exc.DBAPIError as error:
            if is_wrong_schema(error.orig):
                raise SchemaBehind(self.address, f"{error.orig}. {WRONG_SCHEMA}") from error
            raise DatabaseUnusable(self.address, error.orig or error) from error


# Changes nothing, and fails where a change would: on a file or a server that can only be read. To
# begin a transaction is not enough: SQLite begins one that only reads where it may not write.
_NEEDS_WRITING = "UPDATE alembic_version SET version_num = version_num WHERE false"


def _engine(url: str, address: str, statement_timeout_s: int, pool_size: int = 1) -> AsyncEngine:
    # hide_parameters: no error in the log shows a name or a hash.
    pool: dict[str, Any] = {"pool_size": pool_size, "max_overflow": 0, "pool_timeout": timeout_s}
    if make_url(url).get_backend_name() == "sqlite":
        arguments: dict[str, Any] = {"timeout": statement_timeout_s}
        if make_url(url).database in (None, "", ":memory:"):
            pool = {}  # it has one connection
        engine = create_async_engine(url, connect_args=arguments, hide_parameters=True, **pool)
        event.listen(engine.sync_engine, "connect", _set_up_sqlite)
    else:
        plain_url, arguments = postgresql.translate(make_url(url))
        timeouts = {"timeout": timeout_s, "command_timeout": statement_timeout_s}
        engine = create_async_engine(
            plain_url,
            pool_pre_ping=True,
            connect_args=timeouts | arguments,
            hide_parameters=True,
            **pool,
        )

    # Errors are told apart where they happen: what the code inside of a session raises by itself,
    # an OSError for example, is none of the database's.

    @event.listens_for(engine.sync_engine, "do_connect")
    def connect(dialect: Dialect, _: object, args: Any, arguments: Any) -> Any:
        try:
            return dialect.connect(*args, **arguments)
        except UnicodeError as error:  # of a host that is no name
            raise DatabaseUnavailable(address, str(error)) from error
        except OSError as error:  # a TimeoutError is one, too
            raise told_apart(error, address) or error from error

    @event.listens_for(engine.sync_engine, "handle_error")
    def handle(context: Any) -> BaseException | None:
        # SQLAlchemy itself goes on after a failed ping, with another connection.
        return None if context.is_pre_ping else told_apart(context.original_exception, address)

    return engine


def _set_up_sqlite(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    # With a write-ahead log, readers and the one writer do not wait for each other, and NORMAL is
    # safe against a crash of the app. Writers wait for each other (`timeout`), instead of failing.
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    # Without it, SQLite takes foreign keys for comments.
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()
