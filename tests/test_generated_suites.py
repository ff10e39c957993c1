"""The commands of the generated project, as its owner runs them first: nothing is installed yet.

Each engine's suite runs in a virtual environment of its own: one with the oldest Python that is
here, one with the newest.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from .conftest import ENGINES, Bake, clean_environment, run
from .promises.servers import free_port
from .test_lock import assert_installed_from_the_lock

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
INSTALL_AND_TEST_S = 900

pytestmark = pytest.mark.slow


def _python(version: str) -> str | None:
    """The path of a Python of this version: on PATH, or installed by pyenv. None: there is none."""
    candidates = [sys.executable, sys._base_executable, shutil.which(f"python{version}")]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates += sorted(map(str, pyenv.glob(f"versions/{version}.*/bin/python")), reverse=True)
    tell = "import sys; print('%d.%d' % sys.version_info[:2], sys.prefix == sys.base_prefix)"
    for candidate in filter(None, candidates):
        done = subprocess.run([candidate, "-c", tell], capture_output=True, text=True, check=False)
        if done.stdout.split() == [version, "True"]:
            return candidate
    return None


@pytest.mark.parametrize(("engine", "which"), [("redis", 0), ("memcached", -1)])
def test_the_generated_suite_passes(bake: Bake, engine: str, which: int) -> None:
    pythons = list(filter(None, map(_python, PYTHONS)))
    project = bake(engine=engine)
    done = run(
        "make", "test", f"PYTHON={pythons[which]}", cwd=project, timeout_s=INSTALL_AND_TEST_S
    )
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr[-5_000:]
    result = done.stdout.rstrip().splitlines()[-1]
    assert re.search(r"\d+ passed", result)
    assert "warning" not in result
    assert_installed_from_the_lock(project)


@pytest.mark.parametrize("engine", ENGINES)
def test_make_run_serves_the_app_without_a_server(bake: Bake, engine: str) -> None:
    project = bake(engine=engine)
    port = free_port()
    process = subprocess.Popen(
        ["make", "run", "ENGINE=memory", f"PORT={port}"],
        cwd=project,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    )
    try:
        page = _get(f"http://localhost:{port}/", process)
        assert "My Tornado App" in page
    finally:
        os.killpg(process.pid, 15)
        output, _ = process.communicate(timeout=30)
    assert f"http://localhost:{port}" in output
    assert "Traceback" not in output
    secret = re.search(r"^COOKIE_SECRET=(\S{64})$", (project / ".env").read_text(), re.MULTILINE)
    assert secret
    assert (project / ".env").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_make_run_ends_with_one_line_when_the_server_does_not_answer(
    bake: Bake, engine: str
) -> None:
    project = bake(engine=engine)
    address = f"localhost:{free_port()}"
    variable = {
        "redis": f"REDIS_URL=redis://{address}",
        "memcached": f"MEMCACHED_SERVERS={address}",
    }
    (project / ".env").write_text(f"COOKIE_SECRET={'x7' * 32}\n{variable[engine]}\n")
    done = run("make", "run", f"PORT={free_port()}", cwd=project, timeout_s=INSTALL_AND_TEST_S)
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if address in line]
    assert "make run ENGINE=memory" in line
    assert "Traceback" not in done.stdout + done.stderr


def test_make_says_when_python_is_too_old(bake: Bake, tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = run("make", "test", f"PYTHON={old}", cwd=bake())
    assert done.returncode != 0
    assert "Python 3.11 or newer is needed" in done.stdout


def _get(url: str, process: subprocess.Popen[str]) -> str:
    """The page at `url`, as soon as it is served. Fails when `process` ends before."""
    deadline = time.monotonic() + INSTALL_AND_TEST_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urlopen(url, timeout=5) as response:
                page: str = response.read().decode()
                return page
        except (URLError, ConnectionError):
            time.sleep(0.2)
    pytest.fail(f"{url} was never served")
