"""What a run needs on the machine: wrk and the stores' servers, and an environment for each app.

Everything but system packages goes to build/bench, which git ignores.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
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
_PEERS: Final = (
    "pycket==0.3.0",
    "torndsession==1.1.5.1",
    "tornado>=6.6",
    "python-memcached>=1.62",
)
_WITH_REDIS_8: Final = ("peers", (*_PEERS, "redis>=8.1"))
_WITH_REDIS_4: Final = ("peers-redis4", (*_PEERS, "redis==4.6.0"))
PEERS: Final = {
    "pycket": _WITH_REDIS_8,
    "torndsession": _WITH_REDIS_8,
    "pycket-redis4": _WITH_REDIS_4,
    "torndsession-redis4": _WITH_REDIS_4,
}
"""The environment of each peer: its name, and what is in it."""
REDIS_ONLY: Final = ("pycket-redis4", "torndsession-redis4")
"""On Memcached they would be the same again."""
UVLOOP: Final = "ours-uvloop"
"""Ours once more, on another event loop: only its throughput is of interest."""


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
    return _venv(*PEERS[peer])


def python_of(project: Project) -> Path:
    """Return the interpreter of an environment with what the project depends on."""
    pyproject = tomllib.loads((project.path / "pyproject.toml").read_text())
    extras = pyproject["project"]["optional-dependencies"]["uvloop"]
    return _venv(f"project-{project.engine}", [*pyproject["project"]["dependencies"], *extras])


def bake(engine: str, scratch: Path) -> Project:
    """Bake the template with its defaults, somewhere in `scratch`."""
    cookiecutter = _venv("cookiecutter", ("cookiecutter>=2.7.1",)).with_name("cookiecutter")
    out = Path(tempfile.mkdtemp(prefix=f"{engine}-", dir=scratch))
    # Not from the working tree itself: whoever works on the template leaves caches in it.
    template = out / "template"
    leave_out = shutil.ignore_patterns("build", ".git", ".venv", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, template, ignore=leave_out)
    command = [str(cookiecutter), "--no-input", "--default-config", "-o", str(out), str(template)]
    command += ["project_name=Bench", f"engine={engine}"]
    started = time.perf_counter()
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
