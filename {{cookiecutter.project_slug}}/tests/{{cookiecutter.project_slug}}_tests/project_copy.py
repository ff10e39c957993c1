"""A copy of the project that a test may change: with tables, columns and pages of its own."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from .conftest import COOKIE_SECRET
from .forked import Python
from .servers import free_port

ROOT = Path(__file__).parents[2]
PACKAGE = "{{cookiecutter.project_slug}}"


class Project:
    """A copy of the project, with a database of its own."""

    def __init__(self, folder: Path, empty_database: Path) -> None:
        # Other workers write their bytecode meanwhile: files that come and go.
        left_out = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / PACKAGE, folder / PACKAGE, ignore=left_out)
        shutil.copy(ROOT / "pyproject.toml", folder)
        shutil.copy(empty_database, folder / "app.db")
        self.folder = folder
        self.database = folder / "app.db"
        self.versions = folder / PACKAGE / "migrations/versions"

    def run(self, *arguments: str) -> tuple[int, str]:
        """Run `python -m` with these arguments; returns the status and what was printed."""
        return self.start(*arguments).end(60)

    def start(self, *arguments: str, **environ: str) -> Python:
        """Start `python -m` with these arguments, on the memory engine."""
        base = {"PATH": os.environ["PATH"], "PYTHONPATH": str(self.folder)}
        base |= {"COOKIE_SECRET": COOKIE_SECRET, "SESSION_ENGINE": "memory", "LOG_LEVEL": "info"}
        return Python(self.folder, ["-m", *arguments], base | environ)

    def serve(self, **environ: str) -> tuple[Python, str]:
        """Start the app, and wait until it serves. Returns its address, too."""
        url = f"http://localhost:{(port := free_port())}"
        process = self.start(PACKAGE, DEBUG="true", PORT=str(port), BASE_URL=url, **environ)
        while not (line := process.first_line()).startswith("Serving on"):
            assert line, "it ended"
        return process, url

    def migrate(self) -> None:
        status, output = self.run(PACKAGE, "migrate")
        assert status == 0, output

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

    def add_page(self, name: str, code: str) -> None:
        """Save a module of pages, and add its routes."""
        (self.folder / PACKAGE / f"handlers/{name}.py").write_text(code, encoding="utf-8")
        pages = "handlers/__init__.py"
        self.insert(pages, "from __future__ import annotations\n", f"\nfrom . import {name}\n")
        self.insert(pages, "ROUTES = [\n", f"    *{name}.ROUTES,\n")

    def make_migration(self, message: str) -> Path:
        """As `make migration` does."""
        before = set(self.versions.glob("*.py"))
        status, output = self.run("alembic", "revision", "--autogenerate", "-m", message)
        assert status == 0, output
        (file,) = set(self.versions.glob("*.py")) - before
        for check in (["check"], ["format", "--check"]):
            status, output = self.run("ruff", *check, str(file))
            assert status == 0, output
        return file
