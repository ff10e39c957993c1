"""A copy of the project that a test may change: with tables, columns and pages of its own."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from .conftest import COOKIE_SECRET

ROOT = Path(__file__).parents[2]
PACKAGE = "{{cookiecutter.project_slug}}"


class Project:
    """A copy of the project, with a database of its own."""

    def __init__(self, folder: Path, empty_database: Path) -> None:
        shutil.copytree(
            ROOT / PACKAGE, folder / PACKAGE, ignore=shutil.ignore_patterns("__pycache__")
        )
        shutil.copy(ROOT / "pyproject.toml", folder)
        shutil.copy(empty_database, folder / "app.db")
        self.folder = folder
        self.database = folder / "app.db"
        self.versions = folder / PACKAGE / "migrations/versions"

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m` with these arguments."""
        with self.start(*arguments) as process:
            output, errors = process.communicate(timeout=60)
        return subprocess.CompletedProcess(arguments, process.returncode, output, errors)

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        """Start `python -m` with these arguments, on the memory engine."""
        base = {"PATH": os.environ["PATH"], "PYTHONPATH": str(self.folder)}
        return subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=self.folder,
            env=base | {"COOKIE_SECRET": COOKIE_SECRET, "SESSION_ENGINE": "memory"} | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def migrate(self) -> None:
        done = self.run(PACKAGE, "migrate")
        assert done.returncode == 0, done.stderr

    def add_migration(self, upgrade: str) -> None:
        """Write a migration after all others that does this."""
        newest = max(self.versions.glob("*.py")).read_text(encoding="utf-8")
        (found,) = re.findall(r'^revision = "(\w+)"$', newest, re.MULTILINE)
        lines = [
            "import sqlalchemy as sa",
            "from alembic import op",
            f'revision, down_revision = "{found}x", "{found}"',
            "def upgrade() -> None:",
            *(f"    {line}" for line in upgrade.splitlines()),
        ]
        (self.versions / "9999_of_a_test.py").write_text("\n".join(lines), encoding="utf-8")

    def sql(self, statement: str, *values: str) -> list[Any]:
        with closing(sqlite3.connect(self.database)) as connection, connection:
            return connection.execute(statement, values).fetchall()

    def add_user(self, name: str) -> None:
        """Fill the columns that may not be empty."""
        columns = [row[1] for row in self.sql("PRAGMA table_info(users)") if row[3]]
        values = [{"created_at": "2026-01-01 12:00:00"}.get(column, name) for column in columns]
        marks = ", ".join("?" for _ in columns)
        self.sql(f"INSERT INTO users ({', '.join(columns)}) VALUES ({marks})", *values)

    def insert(self, file: str, after: str, text: str) -> None:
        """Insert `text` into a module of the package."""
        path = self.folder / PACKAGE / file
        head, line, rest = path.read_text(encoding="utf-8").partition(after)
        assert line, f"{file} has no {after!r}"
        path.write_text(head + line + text + rest, encoding="utf-8")

    def make_migration(self, message: str) -> Path:
        """As `make migration` does."""
        before = set(self.versions.glob("*.py"))
        done = self.run("alembic", "revision", "--autogenerate", "-m", message)
        assert done.returncode == 0, done.stderr
        (file,) = set(self.versions.glob("*.py")) - before
        for check in (["check"], ["format", "--check"]):
            done = self.run("ruff", *check, str(file))
            assert done.returncode == 0, done.stdout
        return file
