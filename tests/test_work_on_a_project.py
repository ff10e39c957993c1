"""A day with a generated project: it is started, broken, repaired and moved, on a machine that has
variables, programs and permissions of its own.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from .conftest import Bake, clean_environment, run
from .promises.servers import free_port, wait_for

INSTALL_AND_TEST_S = 600
FOREIGN = {
    "CONFIG": "Release",
    "DEBUG": "*",
    "ENGINE": "docker",
    "PYTHON": "/opt/python2/bin/python",
    "VENV": "/opt/venv",
}


@pytest.fixture(scope="module")
def installed(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of each engine with its virtual environment; .env has a secret."""
    copy = tmp_path_factory.mktemp("installed") / project.name
    shutil.copytree(project, copy)
    done = run("make", ".venv/.installed-dev", ".env", cwd=copy, timeout_s=INSTALL_AND_TEST_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return copy


class Started:
    """`make run ENGINE=memory`, with what it writes in `log`."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, port: int) -> None:
        self._process, self._log, self._port = process, log, port

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def page(self, text: str) -> bool:
        """Return whether the home page contains `text` for a browser that accepts German."""
        url = f"http://localhost:{self._port}/"
        try:
            with urlopen(Request(url, headers={"Accept-Language": "de"}), timeout=5) as response:
                return text in response.read().decode()
        except OSError:
            return False


@contextmanager
def make_run(project: Path, folder: Path, **environment: str) -> Iterator[Started]:
    port, log = free_port(), folder / "log.txt"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["make", "run", "ENGINE=memory", f"PORT={port}"],
            cwd=project,
            env={**clean_environment(), **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
    try:
        yield Started(process, log, port)
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
        process.wait(timeout=20)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def save_until(file: Path, text: str, condition: Callable[[], bool]) -> None:
    """Save a file as an editor does, once a second, as tornado.autoreload misses what changes in the
    half second before it looks for the first time.
    """
    new, deadline = file.with_suffix(".new"), time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, f"{file.name} was saved, and nothing came of it"
        new.write_text(text)
        new.replace(file)
        with suppress(AssertionError):
            wait_for(condition, "the effect", timeout_s=1.5)


@pytest.mark.slow
def test_make_run_lives_through_a_syntax_error_and_comes_back_by_itself(
    installed: Path, tmp_path: Path
) -> None:
    home = installed / "my_tornado_app/handlers/home.py"
    before = home.read_text()
    with make_run(installed, tmp_path) as started:
        wait_for(lambda: started.page("My Tornado App"), "the app")
        save_until(home, before + "\ndef broken(:\n", lambda: "SyntaxError" in started.log)
        save_until(home, before, lambda: started.page("My Tornado App"))
    assert "Script exited normally" in started.log


@pytest.mark.slow
def test_make_run_lives_through_a_setting_that_cannot_work(installed: Path, tmp_path: Path) -> None:
    settings = installed / "my_tornado_app/settings.py"
    before = settings.read_text()
    with make_run(installed, tmp_path) as started:
        wait_for(lambda: started.page("My Tornado App"), "the app")
        wrong = before.replace("processes: int = 1", "processes: int = 0")
        save_until(settings, wrong, lambda: "PROCESSES 0 would serve nobody" in started.log)
        save_until(settings, before, lambda: started.page("My Tornado App"))


@pytest.mark.slow
def test_make_run_notices_a_migration_that_it_waits_for_and_each_translation(
    installed: Path, tmp_path: Path
) -> None:
    package = installed / "my_tornado_app"
    accounts, translations = package / "accounts.py", package / "translations"
    before = accounts.read_text()
    after = "    created_at: Mapped[datetime] = mapped_column(UtcDateTime)\n"
    translations.mkdir()
    german = translations / "de.csv"
    try:
        with make_run(installed, tmp_path) as started:
            wait_for(lambda: started.page("My Tornado App"), "the app")
            save_until(german, '"Log in","Anmelden"\n', lambda: started.page("Anmelden"))
            save_until(german, '"Log in","Einloggen"\n', lambda: started.page("Einloggen"))
            changed = before.replace(after, f"{after}    age: Mapped[int | None]\n")
            save_until(accounts, changed, lambda: "write the migration" in started.log)
            done = run("make", "migration", "m=Users have an age", cwd=installed, timeout_s=600)
            assert done.returncode == 0, done.stdout + done.stderr
            wait_for(lambda: started.page("My Tornado App"), "the app")
    finally:
        accounts.write_text(before)
        shutil.rmtree(translations)
        for made in (*package.rglob("*_users_have_an_age.py"), *installed.glob("app.db*")):
            made.unlink()


@pytest.mark.slow
def test_variables_that_are_meant_for_other_programs_stop_no_start(
    installed: Path, tmp_path: Path
) -> None:
    with make_run(installed, tmp_path, **FOREIGN) as started:
        wait_for(lambda: started.page("My Tornado App"), "the app")
    assert "DEBUG=*" in started.log
    assert "Traceback" not in started.log


@pytest.mark.slow
def test_a_doubtful_line_in_env_ends_make_run_with_its_number(installed: Path) -> None:
    env = installed / ".env"
    before = env.read_text()
    url = "postgresql://db/app?sslmode=require&connect_timeout=5"
    try:
        env.write_text(f"{before}\nDATABASE_URL={url}\n")
        number = len(env.read_text().splitlines())
        done = run("make", "run", f"PORT={free_port()}", cwd=installed)
    finally:
        env.write_text(before)
    assert done.returncode != 0
    assert f".env, line {number} is unclear" in done.stderr
    assert url not in done.stdout + done.stderr
    assert "Serving" not in done.stdout
    _assert_one_line(done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("project", ["redis"], indirect=True)  # the engine plays no part
def test_a_project_that_was_moved_and_renamed_goes_on(installed: Path, tmp_path: Path) -> None:
    moved = tmp_path / "another name"
    installed.rename(moved)
    # Whatever is in the old place now, it is not what is tested.
    (installed / "my_tornado_app").mkdir(parents=True)
    (installed / "my_tornado_app/__init__.py").write_text("raise RuntimeError('the old place')\n")
    try:
        # Some tests, as it is their start that may fail.
        some = {"PYTEST_ADDOPTS": "-k 'test_pages or test_cookie'"}
        for command in ("check", "test"):
            done = run("make", command, cwd=moved, env=some, timeout_s=INSTALL_AND_TEST_S)
            assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
            assert "Installing" not in done.stdout
        with make_run(moved, tmp_path) as started:
            wait_for(lambda: started.page("My Tornado App"), "the app")
    finally:
        shutil.rmtree(installed)
        moved.rename(installed)


@pytest.mark.parametrize("command", ["", "run", "test", "check", ".env"])
def test_a_python_that_is_not_there_is_one_line(bake: Bake, command: str) -> None:
    done = run("make", *command.split(), "PYTHON=nosuch", cwd=bake())
    assert done.returncode != 0
    assert done.stdout == ""
    assert "There is no nosuch here" in done.stderr
    _assert_one_line(done.stderr)


@pytest.mark.parametrize(
    ("there", "words"),
    [
        (
            {"apt-get": "exit 1", "id": "echo 1000"},
            "there is no sudo here: as root, apt-get install",
        ),
        ({"id": "echo 1000"}, "there is neither apt nor brew here"),
    ],
)
def test_a_server_that_cannot_be_installed_is_one_line(
    project: Path, tmp_path: Path, there: dict[str, str], words: str
) -> None:
    for program in ("sh", "make", "python3"):
        path = shutil.which(program)
        assert path is not None
        (tmp_path / program).symlink_to(path)
    for program, script in there.items():
        (tmp_path / program).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / program).chmod(0o755)
    done = run("make", "server", cwd=project, env={"PATH": str(tmp_path)})
    assert done.returncode != 0
    assert words in done.stdout
    assert len(done.stdout.splitlines()) == 1
    _assert_one_line(done.stderr)


def _assert_one_line(stderr: str) -> None:
    """One line, beside the one that make itself adds about the command that failed."""
    lines = [line for line in stderr.splitlines() if not line.startswith("make: *** [")]
    assert len(lines) <= 1, stderr
