"""The schema: who changes it, when, and what becomes of the data. Own migrations are tried out in a
copy of the project.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import argon2
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection
from tornado.ioloop import IOLoop

from {{cookiecutter.project_slug}}.accounts import Accounts, User
from {{cookiecutter.project_slug}}.database import Base, Database, SchemaBehind
from {{cookiecutter.project_slug}}.sessions import Store

from .conftest import CHEAP_HASHES, COOKIE_SECRET
from .examples import EXAMPLES
from .project_copy import Project

PACKAGE = "{{cookiecutter.project_slug}}"

# What the app made by itself before it had migrations, on SQLite.
BEFORE_MIGRATIONS = """
CREATE TABLE users (
    id VARCHAR(22) NOT NULL,
    username VARCHAR(64) NOT NULL,
    username_key VARCHAR(64) NOT NULL,
    password_hash VARCHAR(255) NOT NULL,
    created_at DATETIME NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (username_key)
)
"""


@pytest.fixture
def database(tmp_path: Path, io_loop: IOLoop) -> Iterator[Database]:
    """A database that nobody has migrated."""
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'new.db'}")
    yield database
    io_loop.run_sync(database.close)


async def differences(database: Database) -> list[Any]:
    """How the classes differ from the tables."""

    def compare(connection: Connection) -> list[Any]:
        return list(compare_metadata(MigrationContext.configure(connection), Base.metadata))

    async with database.engine.connect() as connection:
        return await connection.run_sync(compare)


@pytest.mark.gen_test
async def test_the_migrations_make_what_the_classes_say(database: Database) -> None:
    await database.migrate()
    assert await differences(database) == []


@pytest.mark.gen_test
async def test_a_database_that_is_behind_is_refused_and_left_alone(
    tmp_path: Path, database: Database
) -> None:
    with pytest.raises(SchemaBehind, match=f"run: python -m {PACKAGE} migrate"):
        await database.start()
    assert tables(tmp_path / "new.db") == set()
    await database.migrate()
    await database.start()


@pytest.mark.gen_test
async def test_a_database_from_before_the_migrations_goes_on_with_its_users(
    tmp_path: Path, database: Database
) -> None:
    hash_ = argon2.PasswordHasher.from_parameters(CHEAP_HASHES).hash("correct horse")
    with closing(sqlite3.connect(tmp_path / "new.db")) as connection, connection:
        connection.execute(BEFORE_MIGRATIONS)
        row = ("id-of-ada", "Ada", "ada", hash_, "2026-01-01 12:00:00.000000")
        connection.execute("INSERT INTO users VALUES (?, ?, ?, ?, ?)", row)
    await database.migrate()
    await database.start()
    assert await differences(database) == []
    store = Store({"pycket": {"engine": "memory"}, "cookie_secret": COOKIE_SECRET})
    accounts = Accounts(database, store, CHEAP_HASHES)
    user = await accounts.authenticate("ada", "correct horse")
    assert user is not None
    assert (user.id, user.created_at.isoformat()) == ("id-of-ada", "2026-01-01T12:00:00+00:00")
    await accounts.close()


@pytest.mark.gen_test
async def test_a_table_of_another_program_is_not_taken_over(
    tmp_path: Path, database: Database
) -> None:
    with closing(sqlite3.connect(tmp_path / "new.db")) as connection, connection:
        connection.execute("CREATE TABLE users (number INTEGER, name TEXT)")
    with pytest.raises(RuntimeError, match="not the one of this app"):
        await database.migrate()
    assert tables(tmp_path / "new.db") == {"users"}


@pytest.mark.gen_test
async def test_a_schema_that_is_newer_than_the_code_is_accepted_and_logged(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = database_url.removeprefix("sqlite+aiosqlite:///")
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'next_year'")
    database = Database(database_url)
    for start in (database.start, database.migrate):  # the release before is started in both ways
        caplog.clear()
        await start()
        assert "newer than this code: revision next_year" in caplog.text
    await database.close()


# --- In a copy of the project


@pytest.fixture
def project(tmp_path: Path, empty_database: Path) -> Project:
    """A copy of the project; its database has two users."""
    project = Project(tmp_path / "copy", empty_database)
    project.add_user("ada")
    project.add_user("eve")
    return project


def tables(file: Path) -> set[str]:
    """The names of tables and indexes."""
    with closing(sqlite3.connect(file)) as connection:
        return {row[0] for row in connection.execute("SELECT name FROM sqlite_schema")}


def test_the_app_refuses_to_start_on_a_schema_that_is_behind(project: Project) -> None:
    project.database.unlink()
    status, output = project.run(PACKAGE)
    assert status == 1
    (line,) = output.splitlines()
    assert "is at revision none" in line
    assert line.endswith(f"run: python -m {PACKAGE} migrate")


def test_migrations_that_fail_change_nothing_at_all(project: Project) -> None:
    before = tables(project.database)
    project.add_migration(
        'op.create_table("half", sa.Column("id", sa.Integer()))\n'
        'with op.batch_alter_table("users") as users:\n'
        '    users.add_column(sa.Column("age", sa.Integer()))\n'
        'with op.batch_alter_table("users") as users:\n'
        '    users.alter_column("age", existing_type=sa.Integer(), nullable=False)'
    )
    status, output = project.run(PACKAGE, "migrate")
    assert status != 0
    assert "NOT NULL constraint failed" in output
    assert tables(project.database) == before
    assert project.sql("SELECT username FROM users ORDER BY id") == [("ada",), ("eve",)]


def test_changing_a_table_leaves_the_rows_that_refer_to_it(project: Project) -> None:
    project.sql("CREATE TABLE of_a_test (owner REFERENCES users (id) ON DELETE CASCADE)")
    project.sql("INSERT INTO of_a_test VALUES ('ada')")
    project.add_migration(
        'with op.batch_alter_table("users", recreate="always") as users:\n'
        '    users.add_column(sa.Column("age", sa.Integer()))'
    )
    project.migrate()
    assert project.sql("SELECT age FROM users") == [(None,), (None,)]
    assert project.sql("SELECT owner FROM of_a_test") == [("ada",)]


def test_a_migration_that_leaves_references_to_nothing_is_undone(project: Project) -> None:
    project.sql("CREATE TABLE of_a_test (owner REFERENCES users (id))")
    project.sql("INSERT INTO of_a_test VALUES ('ada')")
    project.add_migration("op.execute(\"DELETE FROM users WHERE id = 'ada'\")")
    _, output = project.run(PACKAGE, "migrate")
    assert "1 rows of of_a_test would refer to rows that are gone" in output
    assert project.sql("SELECT count(*) FROM users") == [(2,)]


def test_of_several_that_migrate_at_once_one_does(project: Project) -> None:
    project.database.unlink()
    running = [project.start(PACKAGE, "migrate") for _ in range(3)]
    ended = [process.end(60) for process in running]
    assert [status for status, _ in ended] == [0, 0, 0], ended
    assert sum(output.count("migration done: 0001") for _, output in ended) == 1


def test_two_migrations_with_the_same_words_in_one_minute_are_two(project: Project) -> None:
    after = "    created_at: Mapped[datetime] = mapped_column(UtcDateTime)\n"
    for column in ("age", "height"):
        project.insert("accounts.py", after, f"    {column}: Mapped[int | None]\n")
        project.make_migration("Users change")
        project.migrate()
    assert project.sql("SELECT age, height FROM users") == 2 * [(None, None)]


@pytest.mark.parametrize("command", [[], ["migrate"]])
def test_a_migration_without_the_one_before_it_is_named(
    project: Project, command: list[str]
) -> None:
    project.add_migration("pass")
    file = project.versions / "9999_of_a_test.py"
    file.write_text(re.sub('"(?=$)', 'y"', file.read_text(encoding="utf-8"), count=1, flags=re.M))
    status, output = project.run(PACKAGE, *command)
    assert status == 1
    assert "Traceback" not in output
    assert "y', which no file there has: bring that file back" in output.splitlines()[-1]


# --- docs/database.md


def test_a_column_that_may_not_be_empty_comes_to_a_table_with_rows(project: Project) -> None:
    if hasattr(User, "language"):
        pytest.skip("this project has the column")
    column, functions = EXAMPLES["language"], EXAMPLES["upgrade"]
    project.insert(
        "accounts.py", "    created_at: Mapped[datetime] = mapped_column(UtcDateTime)\n", column
    )
    _, output = project.run(PACKAGE)
    assert 'make migration m="what changes"' in output

    file = project.make_migration('Users have a "language"')
    _, output = project.run(PACKAGE, "migrate")  # as it was written
    assert "Cannot add a NOT NULL column" in output

    written = file.read_text(encoding="utf-8")
    assert '"language", sa.String(length=8), nullable=False' in written
    file.write_text(written.partition("def upgrade")[0] + functions, encoding="utf-8")
    assert project.run("ruff", "check", str(file)) == (0, "All checks passed!\n")
    project.migrate()
    assert project.sql("SELECT id, language FROM users") == [("ada", "en"), ("eve", "en")]
    with pytest.raises(sqlite3.IntegrityError, match="NOT NULL"):
        project.sql("UPDATE users SET language = NULL")
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        project.sql("UPDATE users SET username_key = 'ada'")
    _, output = project.run("alembic", "revision", "--autogenerate", "-m", "Nothing")
    assert "no table has changed" in output

    assert project.run("alembic", "downgrade", "-1")[0] == 0
    assert "language" not in [row[1] for row in project.sql("PRAGMA table_info(users)")]


def test_a_table_of_ones_own_gets_a_migration(project: Project) -> None:
    if "notes" in Base.metadata.tables:
        pytest.skip("this project has the table")
    package = project.folder / PACKAGE
    (package / "notes.py").write_text(EXAMPLES["Note"], encoding="utf-8")
    services = package / "services.py"
    text = services.read_text(encoding="utf-8")
    services.write_text(text + "\nfrom . import notes  # noqa: E402, F401\n", encoding="utf-8")
    written = project.make_migration("Notes").read_text(encoding="utf-8")
    assert "sa.DateTime(timezone=True)" in written
    assert PACKAGE not in written  # it goes on working when the app's own classes move
    project.migrate()
    project.sql("INSERT INTO notes VALUES (1, 'ada', 'Buy milk', '2026-01-01')")
    assert {"notes", "notes_owner_id_idx"} <= tables(project.database)
