"""`.env` as its readers see it, and `make .env`: the app, a shell and git agree on what it says."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .conftest import Bake, run
from .promises import generated  # noqa: F401 - renders the package `promised`

from promised.environment import read_environment  # isort: skip
from promised.sessions import ConfigurationError  # isort: skip

SECRET = re.compile(r"^COOKIE_SECRET=([\w-]{64})$", re.MULTILINE)
FILES = {
    "an example": None,
    "an empty secret": b"PORT=80\nCOOKIE_SECRET=\nADDRESS=::1\n",
    "a blank secret": b"COOKIE_SECRET=  \nPORT=80\n",
    "an empty secret in quotes": b'COOKIE_SECRET=""\nPORT=80\n',
    "a blank secret in quotes": b"COOKIE_SECRET=' '\nPORT=80\n",
    "no secret": b"PORT=80",
    "line ends of Windows": b"PORT=80\r\nCOOKIE_SECRET=\r\n",
}

# Without the carriage return, which a shell would keep: .gitattributes and `make .env` see to that.
pieces = st.text(st.sampled_from("aB1_=:/@?&;# '\"$`\\~!*{}[](),.%\t\u00e9"), max_size=12)


@given(pieces, st.sampled_from(["", "'", '"']))
def test_what_the_app_accepts_reads_the_same_in_a_shell(
    tmp_path_factory: pytest.TempPathFactory, value: str, quote: str
) -> None:
    folder = tmp_path_factory.getbasetemp()
    file = folder / "sample.env"
    file.write_text(f"SAMPLE={quote}{value}{quote}\n")
    try:
        read = read_environment({}, file).get("SAMPLE", "")
    except ConfigurationError:
        return
    shell = subprocess.run(
        ["sh", "-c", 'set -a; . ./sample.env; printf "%s" "$SAMPLE"'],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": "/home/somebody"},
        capture_output=True,
        check=True,
    )
    assert shell.stdout.decode() == read
    assert shell.stderr == b""


@pytest.mark.parametrize("content", FILES.values(), ids=FILES.keys())
def test_make_env_fills_in_a_secret_where_there_is_none(bake: Bake, content: bytes | None) -> None:
    project = bake()
    if content is not None:
        (project / ".env").write_bytes(content)
    done = run("make", ".env", cwd=project)
    assert done.returncode == 0, done.stderr
    filled = (project / ".env").read_bytes()
    assert len(SECRET.findall(filled.decode())) == 1
    assert b"\r" not in filled
    assert (project / ".env").stat().st_mode & 0o077 == 0
    if content is not None:
        assert b"PORT=80" in filled
    # It is kept the next time.
    assert run("make", ".env", cwd=project).stdout == ""
    assert (project / ".env").read_bytes() == filled


def test_make_env_leaves_a_secret_in_quotes(bake: Bake) -> None:
    project = bake()
    (project / ".env").write_text(given := f"COOKIE_SECRET='{'x7' * 32}'\n")
    assert run("make", ".env", cwd=project).stdout == ""
    assert (project / ".env").read_text() == given


def test_a_copy_of_the_example_gets_a_secret_of_its_own(bake: Bake) -> None:
    secrets = set()
    for name in ("one", "two"):
        project = bake(name)
        (project / ".env").write_bytes((project / ".env.example").read_bytes())
        run("make", ".env", cwd=project)
        secrets.add(SECRET.search((project / ".env").read_text()))
    assert None not in secrets
    assert len(secrets) == 2


def test_a_clone_has_the_line_ends_of_unix_whatever_git_is_told(bake: Bake, tmp_path: Path) -> None:
    project = bake()
    for command in (
        ["init", "--quiet"],
        ["add", "--all"],
        ["-c", "user.name=T", "-c", "user.email=t@example.com", "commit", "--quiet", "-m", "All"],
    ):
        assert run("git", *command, cwd=project).returncode == 0
    clone = tmp_path / "clone"
    done = run(
        "git", "clone", "--quiet", "-c", "core.autocrlf=true", "-c", "core.eol=crlf",
        project, clone, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name in (".env.example", "Makefile", "pyproject.toml", "my_tornado_app/app.py"):
        assert b"\r" not in (clone / name).read_bytes(), name
