"""The schema of the database, step by step: versions/ has one file for each change of a table.

To change a table, change its class, run `make migration m="what changes"`, and read what it wrote;
docs/database.md goes through it. The app runs what is new by itself in development; in production
`python -m <package> migrate` does. Alembic's own commands work too, in the project's folder:
`alembic history`, `alembic downgrade -1`.

database.py calls this module, env.py what is between `begin` and `commit`.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from ..sessions import ConfigurationError

log = logging.getLogger(__name__)

PACKAGE = __name__.partition(".")[0]

# Any number will do, as long as no other program locks the same one in this database.
_LOCK = 7_305_212_604_841_731_586


def upgrade(connection: Connection) -> None:
    """Run what has not run yet: all of it, or, where something fails, nothing."""
    if what_is_missing(connection) is None:  # or the release after this one has run its own
        return
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "heads")


def what_is_missing(connection: Connection) -> str | None:
    """Say which revision the schema is behind, and what to do; None where it is not."""
    current = set(MigrationContext.configure(connection).get_current_heads())
    heads, known = _revisions()
    if current == heads:
        return None
    if current - known:
        # The release before a newer one, during or after an update. It goes on: a migration is
        # written so that the code before it still works, see docs/database.md.
        log.warning("the schema is newer than this code: revision %s", _names(current))
        return None
    return (
        f"its schema is at revision {_names(current) or 'none'}, and this code needs "
        f"{_names(heads)}; run: python -m {PACKAGE} migrate"
    )


def begin(connection: Connection) -> None:
    """Begin a transaction that no other migration can run beside, on this machine or another."""
    if connection.dialect.name == "sqlite":
        # SQLite changes a table by making another, and drops the old one: that would delete the rows
        # of other tables that refer to it.
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    elif connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")


def commit(connection: Connection) -> None:
    """Keep what was changed, if every foreign key still leads somewhere."""
    if connection.dialect.name == "sqlite":
        lost = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
        if lost:
            tables = _names({str(row[0]) for row in lost})
            raise RuntimeError(f"{len(lost)} rows of {tables} would refer to rows that are gone")
    connection.commit()
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA foreign_keys=ON")


def _config() -> Config:
    # The rest of Alembic's settings, which only making a migration needs, are in pyproject.toml.
    config = Config()
    folder = str(Path(__file__).parent)
    config.set_main_option("script_location", folder.replace("%", "%%"))
    return config


@lru_cache(maxsize=1)
def _revisions() -> tuple[set[str], set[str]]:
    """The newest revision (several, after a merge of two branches), and all of them. Raises
    ConfigurationError if one is missing in between.
    """
    scripts = ScriptDirectory.from_config(_config())
    try:
        known = {each.revision for each in scripts.walk_revisions()}
    except KeyError as error:
        raise ConfigurationError(
            [
                f"a migration in {scripts.versions} follows revision {error}, which no file there "
                "has: bring that file back, or write another revision into `down_revision`"
            ]
        ) from error
    return set(scripts.get_heads()), known


def _names(names: set[str]) -> str:
    return ", ".join(sorted(names))
