"""What a run needs on the machine: wrk and the stores' servers, and an environment for each app.

Everything but system packages goes to build/bench, which git ignores.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
BUILD: Final = ROOT / "build" / "bench"

PROGRAMS: Final = {"wrk": "wrk", "redis-server": "redis-server", "memcached": "memcached"}
"""Debian's package for each program."""

# The peers are old, but still run on current versions of Tornado and of the stores' clients, which is
# what pip installs beside them today, and what our own project uses. But they open a connection for
# each request, and connecting is two to three times slower with redis-py 8 than it was with 4. So they
# are measured with that as well, and nobody can say that they were slowed down.
PEERS: Final = {
    "pycket": ("pycket==0.3.0", "tornado>=6.6", "redis>=8.1", "python-memcached>=1.62"),
    "torndsession": (
        "torndsession==1.1.5.1",
        "tornado>=6.6",
        "redis>=8.1",
        "python-memcached>=1.62",
    ),
    "pycket-redis4": ("pycket==0.3.0", "tornado>=6.6", "redis==4.6.0"),
    "torndsession-redis4": (
        "torndsession==1.1.5.1",
        "tornado>=6.6",
        "redis==4.6.0",
        "python-memcached>=1.62",  # imported by the application
    ),
}
REDIS_ONLY: Final = ("pycket-redis4", "torndsession-redis4")
"""On Memcached they would be the same again."""


@dataclass(frozen=True)
class Project:
    """A baked project."""

    path: Path
    package: str
    engine: str
    baked_in_s: float
    """How long the `cookiecutter` command took."""


def need_programs() -> None:
    """Install what is missing through apt; exits and says what to do where that is not possible."""
    missing = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    if not missing:
        return
    install = ["apt-get", "install", "-y", *missing]
    if os.getuid() != 0:
        install.insert(0, "sudo")
    if shutil.which("apt-get") is None or shutil.which(install[0]) is None:
        sys.exit(f"The benchmark needs {', '.join(missing)}: please install them.")
    print(f"installing {', '.join(missing)}", file=sys.stderr)
    if subprocess.run(install, check=False, stdout=subprocess.DEVNULL).returncode:
        subprocess.run([*install[: install.index("apt-get") + 1], "update"], check=True)
        subprocess.run(install, check=True)


def python_of_peer(peer: str) -> Path:
    """Return the interpreter of a peer's environment, made on first use."""
    return _venv(peer, PEERS[peer])


def python_of(project: Project) -> Path:
    """Return the interpreter of an environment with what the project depends on."""
    pyproject = tomllib.loads((project.path / "pyproject.toml").read_text())
    return _venv(f"project-{project.engine}", pyproject["project"]["dependencies"])


def bake(engine: str, out: Path | None = None) -> Project:
    """Bake the template with its defaults, into build/bench unless told otherwise."""
    cookiecutter = _venv("cookiecutter", ("cookiecutter>=2.7.1",)).with_name("cookiecutter")
    # Not from the working tree itself: whoever works on the template leaves caches in it.
    template = BUILD / "template"
    shutil.rmtree(template, ignore_errors=True)
    leave_out = shutil.ignore_patterns("build", ".git", ".venv", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, template, ignore=leave_out)
    out = out or BUILD / engine
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    started = time.perf_counter()
    command = [str(cookiecutter), "--no-input", "--default-config", "-o", str(out), str(template)]
    command += ["project_name=Bench", f"engine={engine}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return Project(out / "bench", "bench", engine, time.perf_counter() - started)


def said(*command: str | Path) -> str:
    """What a command prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _venv(name: str, requirements: Sequence[str]) -> Path:
    path = BUILD / "venvs" / name
    python = path / "bin" / "python"
    stamp = path / "requirements.json"
    wanted = json.dumps([sys.version, *requirements])
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"making the environment of {name}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", path], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run([*pip, *requirements], check=False, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"pip could not install {' '.join(requirements)}:\n{done.stderr}")
        stamp.write_text(wanted)
    return python
