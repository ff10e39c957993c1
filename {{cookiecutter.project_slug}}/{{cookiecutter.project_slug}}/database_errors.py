"""What went wrong with the database, told apart by whether it passes by itself.

| | |
|---|---|
| DatabaseUnavailable | it does not answer, starts, is full, or was too slow: another try may succeed. 503 |
| DatabaseUnusable | it answers, and somebody has to repair something: a password, a right. 500 |
| SchemaBehind | of those: a migration has not run, or is not written yet. 500 |
| sqlalchemy.exc.IntegrityError | a constraint refused the row: `is_taken` says whether it is a duplicate |
| other errors of SQLAlchemy | faults of the code. 500 |

To make another error of a server one that passes, add its code to the tables below. Nothing is
logged here: Tornado logs what a handler does not catch, once, with its cause.
"""

from __future__ import annotations

import sqlite3
import ssl
from typing import Any

from sqlalchemy import PrimaryKeyConstraint, Table, UniqueConstraint
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import InstrumentedAttribute
from tornado.web import HTTPError


class DatabaseUnavailable(HTTPError):
    """The database cannot answer now. Left alone it becomes a 503."""

    state = "unavailable"
    retry_after_s = 1

    def __init__(self, address: str, cause: BaseException | str) -> None:
        self.address = address
        self.cause = _line(cause)
        super().__init__(503, "%s", f"database {address}: {self.cause}")

    def __str__(self) -> str:
        return f"database {self.address}: {self.cause}"


class DatabaseUnusable(Exception):
    """The database cannot be used before somebody repairs what `cause` says."""

    state = "unusable"

    def __init__(self, address: str, cause: BaseException | str) -> None:
        self.address = address
        self.cause = _line(cause)
        super().__init__(f"database {address}: {self.cause}")


class SchemaBehind(DatabaseUnusable):
    """The database lacks a table or a column that the code needs."""

    state = "schema is behind"


WRONG_SCHEMA = (
    "The code has a table or a column that the database lacks: write the migration "
    '(make migration m="what changes"), and run it (make migrate)'
)


def told_apart(error: BaseException, address: str) -> BaseException | None:
    """What to raise for an error of the driver; None for SQLAlchemy's own."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return DatabaseUnusable(address, error)
    if _passes(error):
        return DatabaseUnavailable(address, error)
    if is_wrong_schema(error):
        # The note is printed with the traceback: SQLAlchemy shows its cause.
        error.add_note(WRONG_SCHEMA)
    return None


def is_wrong_schema(error: BaseException | None) -> bool:
    """Whether an error of the driver says that there is no such table or column."""
    return _sqlstate(error) in ("42P01", "42703") or str(error).startswith(
        ("no such table", "no such column")
    )


def is_taken(error: IntegrityError, column: InstrumentedAttribute[Any]) -> bool:
    """Whether `column`, which is unique, has the value of the refused row already.

    Say "this name is taken" for this alone: the row may have been refused for another reason.
    """
    table = column.class_.__table__
    driver = error.orig.__cause__ if error.orig is not None else None
    if _sqlstate(error.orig) == "23505":
        return getattr(driver, "constraint_name", None) in _unique_names(table, column.key)
    return str(error.orig) == f"UNIQUE constraint failed: {table.name}.{column.key}"


def _unique_names(table: Table, column: str) -> set[object]:
    names: set[object] = {
        each.name
        for each in table.constraints
        if isinstance(each, (PrimaryKeyConstraint, UniqueConstraint))
        and list(each.columns.keys()) == [column]
    }
    return names | {
        each.name for each in table.indexes if each.unique and list(each.columns.keys()) == [column]
    }


# Codes of PostgreSQL (https://www.postgresql.org/docs/current/errcodes-appendix.html), or the
# beginnings of such.
_PASSES = (
    "08",  # the connection broke
    "25006",  # only reading is possible: it is a standby, or about to be the primary
    "40",  # a deadlock, or two transactions that exclude each other
    "53",  # too many connections, no memory or disk left
    "55P03",  # a lock was not to be had in time
    "57014",  # it took longer than the server permits
    "57P",  # it starts, stops or was restarted
    "58",  # its disk or machine fails
)

# Codes of SQLite (https://sqlite.org/rescode.html), without what they have above the first byte.
_SQLITE_PASSES = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
}


def _passes(error: BaseException) -> bool:
    if isinstance(error, OSError):  # refused, no such host, a TimeoutError
        return True
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF in _SQLITE_PASSES
    if (state := _sqlstate(error)) is not None:
        return state.startswith(_PASSES)
    # asyncpg's own words for a connection that is gone, and for a server of several that is not the
    # one that was asked for, as during a failover.
    return "connection is closed" in str(error) or (
        type(error.__cause__).__name__ == "TargetServerAttributeNotMatched"
    )


def _sqlstate(error: BaseException | None) -> str | None:
    state = getattr(error, "sqlstate", None)
    return state if isinstance(state, str) else None


def _line(cause: BaseException | str) -> str:
    return str(cause).partition("\n")[0] or type(cause).__name__
