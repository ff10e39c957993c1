"""Alembic runs this file for each of its commands, and when the app migrates."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Any, Literal

from alembic import context
from alembic.runtime.migration import MigrationInfo
from sqlalchemy import Connection
from sqlalchemy.types import TypeDecorator

# Importing the services imports every module with tables.
from {{cookiecutter.project_slug}} import logs, migrations, services
from {{cookiecutter.project_slug}}.database import Base, Database
from {{cookiecutter.project_slug}}.environment import read_environment
from {{cookiecutter.project_slug}}.settings import read_settings

assert services

log = logging.getLogger(migrations.__name__)


def run(connection: Connection) -> None:
    """Do what the command asks for, in one transaction."""
    migrations.begin(connection)
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        # SQLite cannot change a column: a migration makes another table, and copies the rows. On
        # PostgreSQL the same migration alters the table.
        render_as_batch=True,
        # `begin` makes SQLite keep or drop all changes together, as PostgreSQL does by itself.
        transactional_ddl=True,
        render_item=render_item,
        process_revision_directives=leave_out_empty,
        on_version_apply=tell,
    )
    with context.begin_transaction():
        context.run_migrations()
    migrations.commit(connection)


def render_item(kind: str, item: Any, _: object) -> str | Literal[False]:
    """Write a type of ours as the type of SQLAlchemy that it stores: a migration goes on working
    when the class moves.
    """
    if kind == "type" and isinstance(item, TypeDecorator):
        stored = item.impl_instance
        if type(stored).__module__ == "sqlalchemy.sql.sqltypes":
            return f"sa.{stored!r}"
    return False


def leave_out_empty(_: object, __: object, directives: list[Any]) -> None:
    """Write no file where no table has changed. `alembic revision -m "..."` writes an empty one."""
    options = context.config.cmd_opts
    if getattr(options, "autogenerate", False) and directives[0].upgrade_ops.is_empty():
        directives.clear()
        log.warning("no table has changed: no migration is needed")


def tell(ctx: object, step: MigrationInfo, heads: object, run_args: object) -> None:
    """Log each migration that has run."""
    way = "done" if step.is_upgrade else "undone"
    log.info("migration %s: %s", way, ", ".join(step.up_revision_ids))


async def connect_and_run() -> None:
    """From the command line: with the database that the app uses."""
    logs.configure(debug=False)
    settings = read_settings(["alembic"], read_environment(os.environ))
    database = Database(settings.database_url)
    try:
        await database.in_migration(run)
    finally:
        await database.close()


if context.is_offline_mode():
    raise SystemExit("Migrations look at the database as they run: they cannot print SQL alone.")
if (connection := context.config.attributes.get("connection")) is not None:
    run(connection)
else:
    asyncio.run(connect_and_run())
