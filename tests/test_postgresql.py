"""The generated app with its accounts in PostgreSQL, on a private server: through TLS, behind a
pooler, and by the URLs that hosts hand out.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from .conftest import Bake, run, tool
from .promises.servers import HOST, free_port, wait_for
from .security.process import COOKIE_SECRET, App, Visitor

pytestmark = pytest.mark.slow
# The engine of the sessions has no part in this.
OF_ONE_ENGINE = pytest.mark.parametrize("project", ["redis"], indirect=True)

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
from my_tornado_app.database import Database

URL = os.environ["TEST_POSTGRESQL"]


@pytest.fixture
def database_url(io_loop):
    async def make_anew():
        connection = await asyncpg.connect(URL.replace("+asyncpg", ""))
        await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        await connection.close()
        database = Database(URL)
        await database.migrate()
        await database.close()

    io_loop.run_sync(make_anew)
    return URL


@pytest.fixture
def settings(engine, server, database_url, key_prefix):
    return Settings(
        session_engine=engine,
        cookie_secret=COOKIE_SECRET,
        database_url=database_url,
        key_prefix=key_prefix,
        password_cost=CHEAP_HASHES,
        **server.options,
    )


@pytest.mark.gen_test
async def test_it_is_postgresql(database, accounts):
    assert database.engine.dialect.name == "postgresql"
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


@dataclass(frozen=True)
class Postgresql:
    """A server of our own. The URL names no database; the folder has the certificates."""

    url: str
    folder: Path


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Postgresql]:
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
        _make_certificates(Path(folder))
        for path in (f"{folder}/server.key", f"{folder}/server.pem"):
            if as_user:
                shutil.chown(path, "postgres")
        data = f"{folder}/data"
        _do(*as_user, initdb, "-D", data, "-U", "app", "--auth=scram-sha-256", "--no-sync",
            f"--pwfile={folder}/password", "--encoding=UTF8", "--locale=C")  # fmt: skip
        options = f"-p {port} -k {folder} -c listen_addresses={HOST} -c fsync=off -c ssl=on"
        options += f" -c ssl_cert_file={folder}/server.pem -c ssl_key_file={folder}/server.key"
        _do(*as_user, pg_ctl, "-D", data, "-l", f"{folder}/log", "-w", "-o", options, "start")
        try:
            yield Postgresql(f"postgresql://app:{password}@{HOST}:{port}", Path(folder))
        finally:
            _do(*as_user, pg_ctl, "-D", data, "-m", "immediate", "-w", "stop")


@pytest.fixture
def database_url(postgresql: Postgresql) -> str:
    """The URL of a new database."""
    name = f"test_{secrets.token_hex(4)}"

    async def create() -> None:
        connection = await asyncpg.connect(f"{postgresql.url}/postgres")
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()

    asyncio.run(create())
    return f"{postgresql.url}/{name}"


def _make_certificates(folder: Path) -> None:
    """Authorities `ca.pem`, a certificate of theirs for localhost, and others `other.pem`."""
    for name in ("ca", "other"):
        _do("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1",
            "-subj", f"/CN={name}", "-addext", "keyUsage=critical,keyCertSign",
            "-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.pem")  # fmt: skip
    _do("openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost",
        "-keyout", f"{folder}/server.key", "-out", f"{folder}/server.csr")  # fmt: skip
    (folder / "names").write_text("subjectAltName=DNS:localhost\n")
    _do("openssl", "x509", "-req", "-in", f"{folder}/server.csr", "-days", "1", "-CAcreateserial",
        "-CA", f"{folder}/ca.pem", "-CAkey", f"{folder}/ca.key", "-extfile", f"{folder}/names",
        "-out", f"{folder}/server.pem")  # fmt: skip
    (folder / "server.key").chmod(0o600)


def _version(path: Path) -> int:
    return int(path.parent.name)


def _do(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_accounts_tests_pass_on_postgresql(bake: Bake, database_url: str) -> None:
    project = bake()
    (project / "tests/my_tornado_app_tests/test_on_postgresql.py").write_text(MODULE)
    done = run(
        tool("pytest"),
        "-p", "no:cacheprovider",
        "tests/my_tornado_app_tests/test_on_postgresql.py",
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
        assert other.register("ada", "another horse").status == 422
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


# --- URLs as hosts hand them out

# What it says; then what the server sees: whether TLS is used, and the name of the application.
HANDED_OUT = [
    ("sslmode=require", True, ""),
    ("sslmode=disable", False, ""),
    ("sslmode=require&channel_binding=require", True, ""),
    ("sslmode=verify-full&sslrootcert=system", True, ""),
    ("sslmode=verify-full&sslrootcert={ca}", True, ""),
    ("sslmode=require&connect_timeout=10&application_name=harbour%20log", True, "harbour log"),
    ("options=-c%20application_name%3Dharbour", True, "harbour"),
    ("target_session_attrs=read-write&gssencmode=disable", True, ""),
    ("sslmode=require&pgbouncer=true&supa=base-pooler.x", True, ""),
]  # fmt: skip


@OF_ONE_ENGINE
@pytest.mark.parametrize(("query", "tls", "name"), HANDED_OUT)
def test_a_url_works_as_it_was_handed_out(
    project: Path,
    postgresql: Postgresql,
    database_url: str,
    tmp_path: Path,
    query: str,
    tls: bool,
    name: str,
) -> None:
    query = query.format(ca=postgresql.folder / "ca.pem")
    url = f"{database_url.replace(HOST, 'localhost')}?{query}"
    # The system's authorities are ours.
    environment = {"DATABASE_URL": url, "SSL_CERT_FILE": str(postgresql.folder / "ca.pem")}
    app = App(project, tmp_path / "run", environment=environment)
    try:
        visitor = Visitor(app)
        assert visitor.register().status == 303
        assert visitor.logged_in
        seen = asyncio.run(_connections_of_the_app(database_url))
    finally:
        app.stop()
    assert set(seen) == {(tls, name)}
    assert "Traceback" not in app.log


@OF_ONE_ENGINE
@pytest.mark.parametrize("place", ["socket", "hosts"])
def test_a_url_may_name_a_socket_or_several_hosts(
    project: Path, postgresql: Postgresql, database_url: str, tmp_path: Path, place: str
) -> None:
    address, _, name = database_url.rpartition("/")
    login, _, port = address.replace(f"@{HOST}", "").rpartition(":")
    query = {
        "socket": f"host={postgresql.folder}&port={port}",
        "hosts": f"host={HOST}:{free_port()}&host={HOST}:{port}&target_session_attrs=read-write",
    }
    url = f"{login}@/{name}?{query[place]}"
    app = App(project, tmp_path / "run", environment={"DATABASE_URL": url})
    try:
        assert Visitor(app).register().status == 303
    finally:
        app.stop()


async def _connections_of_the_app(database_url: str) -> list[tuple[bool, str]]:
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch(
            "SELECT ssl, application_name FROM pg_stat_activity JOIN pg_stat_ssl USING (pid)"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return [(row["ssl"], row["application_name"]) for row in rows]
    finally:
        await connection.close()


@OF_ONE_ENGINE
@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("sslmode=verify-full&sslrootcert={other}", "certificate verify failed"),
        ("sslmode=require&channel_binding=require", "certificate verify failed"),
        ("sslmode=verify-full&sslrootcert={ca}.pem", "sslrootcert names a file that is not there"),
        ("sslmode=verify-full", "root certificate file"),
        ("sslmode=sometimes", "sslmode has an unknown value"),
        ("target_session_attrs=standby", "standby"),
        ("options=-c%20no.such%3D1%20-z", "-z"),
        ("connection_limit=1", "cannot keep connection_limit"),
    ],
)
def test_a_url_that_cannot_work_is_one_line(
    project: Path,
    postgresql: Postgresql,
    database_url: str,
    tmp_path: Path,
    query: str,
    words: str,
) -> None:
    files = {name: postgresql.folder / f"{name}.pem" for name in ("ca", "other")}
    url = f"{database_url.replace(HOST, 'localhost')}?{query.format(**files)}"
    line = _last_words(project, tmp_path, url)
    assert words in line
    password = database_url.split(":")[2].partition("@")[0]
    assert password not in line


@OF_ONE_ENGINE
@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("app:", "nobody:", "password authentication failed"),
        ("/test_", "/no_such_test_", "does not exist"),
        (f"@{HOST}", "@no.such.host.invalid", "does not answer"),
        (f"@{HOST}", f"@{HOST}:1,{HOST}", "postgresql://user:password@host/name"),
    ],
)
def test_a_database_that_lets_nobody_in_is_one_line(
    project: Path, database_url: str, tmp_path: Path, old: str, new: str, words: str
) -> None:
    assert words in _last_words(project, tmp_path, database_url.replace(old, new, 1))


def _last_words(project: Path, folder: Path, database_url: str) -> str:
    """The only line that the app writes before it gives up."""
    environment = {"COOKIE_SECRET": COOKIE_SECRET, "SESSION_ENGINE": "memory"}
    done = run(
        sys.executable, "-m", project.name,
        cwd=folder,
        env=environment | {"PYTHONPATH": str(project), "DATABASE_URL": database_url},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line


@contextmanager
def pooled(database_url: str, folder: Path) -> Iterator[str]:
    """The URL of the same database behind PgBouncer: each transaction on a new connection."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program is not None, "PgBouncer is missing: `make test` installs it"
    address, _, name = database_url.rpartition("/")
    password, _, server = address.partition("app:")[2].partition("@")
    port = free_port()
    (folder / "users").write_text(f'"app" "{password}"\n')
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n{name} = host={HOST} port={server.rpartition(':')[2]}\n"
        f"[pgbouncer]\nlisten_addr = {HOST}\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = scram-sha-256\nauth_file = {folder}/users\n"
        "pool_mode = transaction\nserver_lifetime = 0\n"
    )
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if as_user:
        for path in (folder, folder / "users", folder / "pgbouncer.ini"):
            shutil.chown(path, "postgres")
    process = subprocess.Popen(
        [*as_user, program, str(folder / "pgbouncer.ini")],
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: _listens(port), "PgBouncer")
        yield f"postgresql://app:{password}@{HOST}:{port}/{name}"
    finally:
        process.terminate()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


@OF_ONE_ENGINE
def test_accounts_live_behind_a_pooler(project: Path, database_url: str) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="pgbouncer-") as folder,
        pooled(database_url, Path(folder)) as url,
    ):
        app = App(
            project,
            Path(folder) / "run",
            environment={"DATABASE_URL": f"{url}?sslmode=disable&pgbouncer=true"},
        )
        try:
            assert Visitor(app).register().status == 303
            assert [Visitor(app).login().status for _ in range(5)] == [303] * 5
        finally:
            app.stop()
        assert "Traceback" not in app.log
        # It has no TLS here: what insists on it is refused.
        line = _last_words(project, Path(folder), f"{url}?sslmode=require&pgbouncer=true")
        assert "SSL" in line
