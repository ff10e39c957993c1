"""The database: what its sessions keep, and which of its errors pass by themselves."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import (
    DBAPIError,
    IntegrityError,
    InvalidRequestError,
    OperationalError,
    StatementError,
)
from tornado.ioloop import IOLoop

from {{cookiecutter.project_slug}}.accounts import User
from {{cookiecutter.project_slug}}.app import App
from {{cookiecutter.project_slug}}.database import (
    Database,
    DatabaseUnavailable,
    DatabaseUnusable,
    is_taken,
)
from {{cookiecutter.project_slug}}.database_errors import (
    WRONG_SCHEMA,
    told_apart,
)

from .browser import Browser
from .servers import HOST, free_port


@pytest.fixture
def file(database_url: str) -> Path:
    return Path(database_url.removeprefix("sqlite+aiosqlite:///"))


@pytest.fixture
def database(database_url: str, io_loop: IOLoop) -> Iterator[Database]:
    database = Database(database_url)
    io_loop.run_sync(database.start)
    yield database
    io_loop.run_sync(database.close)


def run_sql(file: Path, *statements: str) -> None:
    """As somebody else would, who has the file open too."""
    with closing(sqlite3.connect(file)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def user(name: str, **columns: Any) -> User:
    values = {"id": name, "username": name, "username_key": name, "password_hash": "-"}
    return User(**{"created_at": datetime.now(UTC), **values, **columns})


@pytest.mark.gen_test
async def test_what_was_not_committed_is_gone(database: Database) -> None:
    async with database.session() as db:
        db.add(user("ada"))
        await db.commit()
        db.add(user("eve"))
        await db.flush()
    async with database.session() as db:
        assert [each.username for each in await db.scalars(select(User))] == ["ada"]


@pytest.mark.gen_test
async def test_a_session_that_is_used_after_its_block_raises(database: Database) -> None:
    async with database.session() as db:
        await db.execute(text("SELECT 1"))
    with pytest.raises(InvalidRequestError, match="closed"):
        await db.execute(text("SELECT 1"))
    with pytest.raises(InvalidRequestError, match="closed"):
        db.add(user("late"))


@pytest.mark.gen_test
async def test_a_time_comes_back_aware_and_as_the_same_moment(database: Database) -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=5)))
    async with database.session() as db:
        db.add(user("ada", created_at=noon))
        await db.commit()
    async with database.session() as db:
        found = (await db.scalars(select(User))).one().created_at
    assert found == noon
    assert found.tzinfo is UTC


@pytest.mark.gen_test
async def test_a_time_without_a_zone_is_refused(database: Database) -> None:
    async with database.session() as db:
        db.add(user("ada", created_at=datetime(2026, 1, 1)))
        with pytest.raises(StatementError, match="has no time zone"):
            await db.commit()


@pytest.mark.gen_test
async def test_sqlite_lets_readers_and_a_writer_work_at_once(database: Database) -> None:
    async with database.engine.connect() as connection:
        mode = await connection.exec_driver_sql("PRAGMA journal_mode")
        timeout_ms = await connection.exec_driver_sql("PRAGMA busy_timeout")
        assert (mode.scalar(), timeout_ms.scalar()) == ("wal", 5000)


@pytest.mark.gen_test
async def test_sqlite_keeps_foreign_keys(database: Database) -> None:
    async with database.session() as db:
        await db.execute(text("CREATE TABLE of_a_test (owner TEXT REFERENCES users (id))"))
        with pytest.raises(IntegrityError, match="FOREIGN KEY"):
            await db.execute(text("INSERT INTO of_a_test VALUES ('nobody')"))


@pytest.mark.gen_test
async def test_23_no_error_of_the_database_shows_what_it_was_asked_for(database: Database) -> None:
    async with database.session() as db:
        with pytest.raises(DBAPIError) as error:
            await db.execute(text("SELECT :name FROM nowhere"), {"name": "hunter2"})
    assert "hunter2" not in str(error.value)


# --- Errors told apart


@pytest.mark.gen_test
async def test_only_a_duplicate_of_that_column_counts_as_taken(database: Database) -> None:
    async with database.session() as db:
        db.add(user("ada"))
        await db.commit()
    refused = []
    for each in (
        user("eve", username_key="ada"),
        user("ada", username_key="eve"),
        user("eve", username=None),
    ):
        async with database.session() as db:
            db.add(each)
            with pytest.raises(IntegrityError) as error:
                await db.commit()
            refused.append(error.value)
    assert [is_taken(error, User.username_key) for error in refused] == [True, False, False]
    assert [is_taken(error, User.id) for error in refused] == [False, True, False]


@pytest.mark.gen_test
async def test_a_column_that_is_missing_is_no_outage(file: Path, database: Database) -> None:
    run_sql(file, "ALTER TABLE users RENAME COLUMN username TO name")
    async with database.session() as db:
        with pytest.raises(OperationalError, match="no such column") as error:
            await db.execute(select(User))
    assert error.value.orig is not None
    assert error.value.orig.__notes__ == [WRONG_SCHEMA]


@pytest.mark.gen_test
async def test_a_file_that_another_program_keeps_locked_is_an_outage(
    file: Path, database: Database
) -> None:
    with closing(sqlite3.connect(file)) as other:
        other.execute("BEGIN IMMEDIATE")
        async with database.session() as db:
            await db.execute(text("PRAGMA busy_timeout=10"))
            with pytest.raises(DatabaseUnavailable, match="database is locked"):
                await db.execute(text("DELETE FROM users"))


@pytest.mark.gen_test
async def test_a_pool_without_a_free_connection_says_so(database: Database) -> None:
    database.engine.pool._timeout = 0.01  # type: ignore[attr-defined]
    size = database.engine.pool.size() + database.engine.pool._max_overflow  # type: ignore[attr-defined]
    busy = [await database.engine.connect() for _ in range(size)]
    with pytest.raises(DatabaseUnavailable, match="all connections of this process are in use"):
        async with database.session() as db:
            await db.execute(select(User))
    for connection in busy:
        await connection.close()


@pytest.mark.gen_test
async def test_an_error_of_the_code_inside_of_a_session_stays_what_it_is(
    database: Database,
) -> None:
    async def fail(error: Exception) -> None:
        async with database.session() as db:
            await db.execute(select(User))
            raise error

    for error in (OSError("disk"), TimeoutError()):
        with pytest.raises(type(error)) as raised:
            await fail(error)
        assert raised.value is error


@pytest.mark.gen_test
async def test_a_server_that_is_not_there_is_an_outage() -> None:
    database = Database(f"postgresql+asyncpg://me:hunter2@{HOST}:{free_port()}/app")
    with pytest.raises(DatabaseUnavailable) as error:
        await database.start()
    assert error.value.status_code == 503
    assert "hunter2" not in str(error.value)
    await database.close()


@pytest.mark.gen_test
async def test_a_file_that_cannot_be_opened_stops_the_start(tmp_path: Path) -> None:
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/no/such/folder/app.db")
    with pytest.raises(DatabaseUnusable, match="unable to open database file"):
        await database.start()
    await database.close()


class Refusal(Exception):
    """An error of PostgreSQL, as far as it is looked at."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__("words")
        self.sqlstate = sqlstate


@pytest.mark.parametrize("state", ["57P03", "53300", "08006", "40P01", "57014", "25006"])
def test_what_passes_by_itself_is_an_outage(state: str) -> None:
    assert isinstance(told_apart(Refusal(state), "db"), DatabaseUnavailable)


@pytest.mark.parametrize("state", ["42P01", "42703", "28P01", "3D000", "42501", "23505"])
def test_what_somebody_has_to_repair_is_none(state: str) -> None:
    assert told_apart(Refusal(state), "db") is None


@pytest.mark.gen_test
async def test_visitors_are_told_to_come_back_for_what_passes_alone(
    app: App, browser: Browser, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_sql(file, "ALTER TABLE users RENAME COLUMN username TO name")
    page = await browser.login()
    assert page.status == 500
    assert "Retry-After" not in page.headers
    (record,) = [each for each in caplog.records if each.levelno >= logging.ERROR and each.exc_info]
    assert record.exc_info is not None
    assert "no such column: users.username" in str(record.exc_info[1])
    assert "no such column" in (await readyz_log(browser, caplog))


async def readyz_log(browser: Browser, caplog: pytest.LogCaptureFixture) -> str:
    """What /readyz logs when the schema is not the one of the code."""
    caplog.clear()
    page = await browser.get("/readyz")
    assert page.status == 503
    assert '"database": "schema is behind"' in page.text
    (record,) = [each for each in caplog.records if each.name.endswith("health")]
    return record.getMessage()


@pytest.mark.gen_test
async def test_readyz_knows_a_database_that_cannot_be_written(
    app: App, browser: Browser, file: Path
) -> None:
    async with app.services.database.engine.connect() as connection:
        await connection.exec_driver_sql("PRAGMA query_only=ON")
    page = await browser.get("/readyz")
    assert '"database": "unusable"' in page.text


@pytest.mark.gen_test
async def test_a_file_that_may_only_be_read_is_not_ready(file: Path) -> None:
    database = Database(f"sqlite+aiosqlite:///file:{file}?mode=ro&uri=true")
    with pytest.raises(DatabaseUnusable, match="attempt to write a readonly database"):
        await database.ping()
    await database.close()


@pytest.mark.gen_test
async def test_a_row_refused_for_another_reason_than_the_name_is_no_taken_name(
    app: App, browser: Browser, file: Path
) -> None:
    run_sql(file, "CREATE TRIGGER t BEFORE INSERT ON users BEGIN SELECT RAISE(ABORT, 'no'); END")
    page = await browser.register()
    assert page.status == 500
    assert "taken" not in page.plain


@pytest.mark.gen_test
async def test_an_outage_is_logged_once_with_its_cause(
    app: App, browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object) -> Any:
        await asyncio.sleep(0)
        raise DatabaseUnavailable("nowhere", OSError("it is broken"))

    app.services.accounts._find = fail  # type: ignore[method-assign]
    assert (await browser.login()).status == 503
    assert caplog.text.count("it is broken") == 1
