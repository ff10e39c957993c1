"""Schema and errors of the generated app's database, on a private PostgreSQL."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from .conftest import clean_environment, run, tool
from .promises.servers import HOST, free_port, wait_for
from .security.process import COOKIE_SECRET, App, Visitor
from .test_postgresql import (  # noqa: F401 - fixtures
    OF_ONE_ENGINE,
    _do,
    _last_words,
    _listens,
    _version,
    database_url,
    postgresql,
)

pytestmark = [pytest.mark.slow, OF_ONE_ENGINE]

# What the app made by itself before it had migrations.
BEFORE_MIGRATIONS = """
CREATE TABLE users (
    id VARCHAR(22) NOT NULL,
    username VARCHAR(64) NOT NULL,
    username_key VARCHAR(64) NOT NULL,
    password_hash VARCHAR(255) NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (username_key)
);
INSERT INTO users VALUES ('1', 'Ada', 'ada', '-', now()), ('2', 'Eve', 'eve', '-', now());
"""


class Copy:
    """A project that a test changes, with its database."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", *map(str, arguments)],
            cwd=self.folder,
            env=clean_environment()
            | {
                "PYTHONPATH": str(self.folder),
                "PYTHONDONTWRITEBYTECODE": "1",
                "COOKIE_SECRET": COOKIE_SECRET,
                "SESSION_ENGINE": "memory",
                "DATABASE_URL": self.url,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str | Path) -> tuple[int, str]:
        """The status of `python -m` with these arguments, and what it wrote."""
        with self.start(*arguments) as process:
            output, _ = process.communicate(timeout=60)
        return process.returncode, output

    def succeed(self, *arguments: str | Path) -> str:
        status, output = self.run(*arguments)
        assert status == 0, output
        return output

    def sql(self, statement: str) -> list[Any]:
        return asyncio.run(_sql(self.url, statement))


async def _sql(url: str, statement: str) -> list[Any]:
    connection = await asyncpg.connect(url)
    try:
        if statement.startswith("SELECT"):
            return [tuple(row) for row in await connection.fetch(statement)]
        await connection.execute(statement)
        return []
    finally:
        await connection.close()


@pytest.fixture
def copy(project: Path, tmp_path: Path, database_url: str) -> Copy:  # noqa: F811
    folder = tmp_path / project.name
    shutil.copytree(project, folder)
    return Copy(folder, database_url)


def test_a_database_from_before_the_migrations_is_taken_over(copy: Copy) -> None:
    copy.sql(BEFORE_MIGRATIONS)
    copy.succeed("my_tornado_app", "migrate")
    assert "No new upgrade operations" in copy.succeed("alembic", "check")
    assert copy.sql("SELECT username FROM users ORDER BY id") == [("Ada",), ("Eve",)]


def test_of_several_that_migrate_at_once_one_does(copy: Copy) -> None:
    running = [copy.start("my_tornado_app", "migrate") for _ in range(3)]
    ended = [(process.communicate(timeout=60)[0], process.returncode) for process in running]
    assert [status for _, status in ended] == [0, 0, 0], ended
    assert sum(output.count("migration done: 0001") for output, _ in ended) == 1


def test_the_recipe_for_a_column_that_may_not_be_empty(copy: Copy) -> None:
    copy.sql(BEFORE_MIGRATIONS)
    copy.succeed("my_tornado_app", "migrate")
    text = (copy.folder / "docs/database.md").read_text()
    recipe = text.partition("## Add a column that may not be empty")[2]
    column, functions = re.findall(r"```python\n(.*?)```", recipe, re.DOTALL)[:2]
    accounts = copy.folder / "my_tornado_app/accounts.py"
    line = "    created_at: Mapped[datetime] = mapped_column(UtcDateTime)\n"
    assert line in accounts.read_text()
    accounts.write_text(accounts.read_text().replace(line, line + column))

    versions = copy.folder / "my_tornado_app/migrations/versions"
    before = set(versions.glob("*.py"))
    copy.succeed("alembic", "revision", "--autogenerate", "-m", "A 'language' \\ \"for\" users")
    (file,) = set(versions.glob("*.py")) - before
    check(copy)
    status, output = copy.run("my_tornado_app", "migrate")
    assert status != 0
    assert "contains null values" in output
    file.write_text(file.read_text().partition("def upgrade")[0] + functions)
    check(copy)
    copy.succeed("my_tornado_app", "migrate")
    assert copy.sql("SELECT username, language FROM users ORDER BY id") == [
        ("Ada", "en"),
        ("Eve", "en"),
    ]
    assert "No new upgrade operations" in copy.succeed("alembic", "check")


def check(copy: Copy) -> None:
    """As `make check` does."""
    copy.succeed("ruff", "check", ".")
    copy.succeed("ruff", "format", "--check", ".")
    done = run(tool("mypy"), "my_tornado_app", cwd=copy.folder, timeout_s=300)
    assert done.returncode == 0, done.stdout


def test_a_migration_that_fails_changes_nothing(copy: Copy) -> None:
    copy.sql(BEFORE_MIGRATIONS)
    copy.succeed("my_tornado_app", "migrate")
    (copy.folder / "my_tornado_app/migrations/versions/9999_half.py").write_text(
        "import sqlalchemy as sa\nfrom alembic import op\n"
        "revision, down_revision = '9999', '0002'\n"
        "def upgrade():\n"
        "    op.create_table('half', sa.Column('id', sa.Integer()))\n"
        "    op.add_column('users', sa.Column('age', sa.Integer(), nullable=False))\n"
    )
    status, output = copy.run("my_tornado_app", "migrate")
    assert status != 0
    assert "contains null values" in output
    assert copy.sql("SELECT to_regclass('half')::text") == [(None,)]
    assert copy.sql("SELECT * FROM alembic_version") == [("0002",)]


# --- Errors told apart


def test_a_missing_column_is_a_500_that_readyz_knows(copy: Copy, tmp_path: Path) -> None:
    app = App(copy.folder, tmp_path / "run", environment={"DATABASE_URL": copy.url})
    try:
        assert Visitor(app).register().status == 303
        assert Visitor(app).get("/readyz").status == 200
        copy.sql("ALTER TABLE users RENAME COLUMN username TO name")
        assert Visitor(app).login().status == 500
        ready = Visitor(app).get("/readyz")
        assert ready.status == 503
        assert '"schema is behind"' in ready.text
    finally:
        app.stop()
    assert app.log.count("Traceback (most recent call last)") <= 3  # of one error, with its causes
    assert app.log.count("Uncaught exception") == 1
    assert "column users.username does not exist" in app.log
    assert 'make migration m="what changes"' in app.log


def test_a_row_refused_for_another_reason_is_no_taken_name(copy: Copy, tmp_path: Path) -> None:
    app = App(copy.folder, tmp_path / "run", environment={"DATABASE_URL": copy.url})
    try:
        copy.sql("ALTER TABLE users ADD CONSTRAINT no_eve CHECK (username <> 'eve')")
        assert Visitor(app).register("ada").status == 303
        assert Visitor(app).register("ada", "another horse").status == 422
        assert Visitor(app).register("eve").status == 500
    finally:
        app.stop()
    assert app.log.count("Uncaught exception") == 1
    assert "no_eve" in app.log


def test_readyz_knows_a_database_that_can_only_be_read(copy: Copy, tmp_path: Path) -> None:
    app = App(copy.folder, tmp_path / "run", environment={"DATABASE_URL": copy.url})
    try:
        assert Visitor(app).get("/readyz").status == 200
        name = copy.sql("SELECT current_database()::text")[0][0]
        copy.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        copy.sql(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        assert '"database": "unavailable"' in Visitor(app).get("/readyz").text
    finally:
        app.stop()
    assert "read-only transaction" in app.log


def test_an_application_serves_several_event_loops_and_forks(copy: Copy) -> None:
    copy.succeed("my_tornado_app", "migrate")
    suite = (copy.folder / "tests/my_tornado_app_tests/test_services.py").read_text()
    script = suite.partition('LOOPS = """')[2].partition('"""')[0]
    (copy.folder / "loops.py").write_text(script)
    assert copy.succeed("loops").count("done") == 3


def test_too_many_connections_are_an_outage(project: Path, copy: Copy, tmp_path: Path) -> None:
    name = f"role_{secrets.token_hex(4)}"
    copy.sql(f"CREATE ROLE {name} LOGIN PASSWORD 'secret' CONNECTION LIMIT 0")
    url = re.sub("//app:[^@]+@", f"//{name}:secret@", copy.url)
    line = _last_words(project, tmp_path, url)
    assert "does not answer (too many connections for role" in line


def test_a_wrong_password_is_none(project: Path, copy: Copy, tmp_path: Path) -> None:
    url = re.sub("//app:[^@]+@", "//app:wrong@", copy.url)
    assert "cannot be used: password authentication failed" in _last_words(project, tmp_path, url)


@pytest.fixture
def starting() -> Iterator[str]:
    """The URL of a server that lets nobody in yet: a standby that is still told to recover."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version)
    path = os.pathsep.join([*map(str, programs[-1:]), os.environ["PATH"]])
    initdb = shutil.which("initdb", path=path)
    assert initdb is not None, "PostgreSQL is missing: `make test` installs it"
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="postgresql-") as folder:
        if as_user:
            shutil.chown(folder, "postgres")
        data = f"{folder}/data"
        _do(*as_user, initdb, "-D", data, "-U", "app", "--auth=trust", "--no-sync")
        _do(*as_user, "touch", f"{data}/standby.signal")
        process = subprocess.Popen(
            [*as_user, str(Path(initdb).with_name("postgres")), "-D", data, "-p", str(port),
             "-k", folder, "-c", f"listen_addresses={HOST}", "-c", "hot_standby=off"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
        )  # fmt: skip
        try:
            wait_for(lambda: _listens(port), "PostgreSQL")
            yield f"postgresql://app@{HOST}:{port}/postgres"
        finally:
            process.terminate()
            process.wait()


def test_a_server_that_starts_is_an_outage(project: Path, starting: str, tmp_path: Path) -> None:
    assert "does not answer (the database system is" in _last_words(project, tmp_path, starting)
