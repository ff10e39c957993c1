"""The generated app with its accounts in PostgreSQL, on a private server."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from .conftest import Bake, run, tool
from .promises.servers import HOST, free_port
from .security.process import App, Visitor

pytestmark = pytest.mark.slow

# The generated tests of accounts, once more: with other fixtures.
MODULE = """
import os

import asyncpg
import pytest

from .conftest import CHEAP_HASHES, COOKIE_SECRET
from .test_account import *
from .test_accounts import *
from .test_login import *
from .test_login import Settings

URL = os.environ["TEST_POSTGRESQL"]


@pytest.fixture
def engine():
    return "memory"


@pytest.fixture
def database_url(io_loop):
    async def clear():
        connection = await asyncpg.connect(URL.replace("+asyncpg", ""))
        await connection.execute("DROP TABLE IF EXISTS users")
        await connection.close()

    io_loop.run_sync(clear)
    return URL


@pytest.fixture
def settings(database_url, key_prefix):
    return Settings(
        session_engine="memory",
        cookie_secret=COOKIE_SECRET,
        database_url=database_url,
        key_prefix=key_prefix,
        password_cost=CHEAP_HASHES,
    )


@pytest.mark.gen_test
async def test_it_is_postgresql(accounts):
    assert accounts._engine.dialect.name == "postgresql"
    await accounts.register("ada", "correct horse")


@pytest.mark.gen_test
async def test_text_that_postgresql_cannot_store_is_nobody(make_browser):
    for name in ("a\\x00b", "\\x00", "ada\\x00"):
        assert (await make_browser().login(name)).status == 403
        assert (await make_browser().register(name)).status == 422
    await make_browser().register("ada", "correct horse\\x00")
    assert (await make_browser().login("ada", "correct horse\\x00")).status == 200
    assert (await make_browser().login("ada", "correct horse")).status == 403
"""


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """The URL of a server of our own, without a database."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version)  # Debian's place
    found = shutil.which(
        "initdb", path=os.pathsep.join([*map(str, programs[-1:]), os.environ["PATH"]])
    )
    assert found is not None, "PostgreSQL is missing: `make test` installs it"
    initdb, pg_ctl = found, str(Path(found).with_name("pg_ctl"))
    password, port = secrets.token_hex(8), free_port()
    with tempfile.TemporaryDirectory(prefix="postgresql-") as folder:
        (Path(folder) / "password").write_text(password)
        # It refuses to run as root.
        as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if as_user:
            for path in (folder, f"{folder}/password"):
                shutil.chown(path, "postgres")
        data = f"{folder}/data"
        _do(*as_user, initdb, "-D", data, "-U", "app", "--auth=scram-sha-256", "--no-sync",
            f"--pwfile={folder}/password", "--encoding=UTF8", "--locale=C")  # fmt: skip
        options = f"-p {port} -k {folder} -c listen_addresses={HOST} -c fsync=off"
        _do(*as_user, pg_ctl, "-D", data, "-l", f"{folder}/log", "-w", "-o", options, "start")
        try:
            yield f"postgresql://app:{password}@{HOST}:{port}"
        finally:
            _do(*as_user, pg_ctl, "-D", data, "-m", "immediate", "-w", "stop")


@pytest.fixture
def database_url(postgresql: str) -> str:
    """The URL of a new database."""
    name = f"test_{secrets.token_hex(4)}"

    async def create() -> None:
        connection = await asyncpg.connect(f"{postgresql}/postgres")
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()

    asyncio.run(create())
    return f"{postgresql}/{name}"


def _version(path: Path) -> int:
    return int(path.parent.name)


def _do(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_accounts_tests_pass_on_postgresql(bake: Bake, database_url: str) -> None:
    project = bake()
    (project / "tests/test_on_postgresql.py").write_text(MODULE)
    done = run(
        tool("pytest"),
        "-p", "no:cacheprovider",
        "tests/test_on_postgresql.py",
        "-k", "not sqlite",
        cwd=project,
        env={"TEST_POSTGRESQL": database_url.replace("://", "+asyncpg://")},
        timeout_s=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-10_000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed
    assert int(passed[1]) > 60


def test_a_whole_account_lives_on_postgresql(bake: Bake, database_url: str, tmp_path: Path) -> None:
    # As most hosts write the address.
    url = database_url.replace("postgresql://", "postgres://") + "?sslmode=disable"
    app = App(bake(), tmp_path / "run", environment={"DATABASE_URL": url})
    try:
        ada, other = Visitor(app), Visitor(app)
        assert ada.register("Ada").status == 303
        assert other.register("ada").status == 422
        assert other.login("ADA").status == 303
        changed = ada.post("/account", password="correct horse", new_password="another horse")
        assert changed.status == 303
        assert ada.logged_in
        assert not other.logged_in
        assert other.login("ada").status == 403
        assert ada.post("/account/delete", password="another horse").status == 303
        assert other.login("ada", "another horse").status == 403
        assert other.register("ada").status == 303  # the name is free again
    finally:
        app.stop()
    assert "Traceback" not in app.log
