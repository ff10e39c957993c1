"""Fixtures of the template's tests, above all `bake`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cookiecutter.main import cookiecutter

TEMPLATE = Path(__file__).parent.parent
ENGINES = ["redis", "memcached"]
LICENSES = ["MIT", "BSD-3-Clause", "Apache-2.0", "none"]

Bake = Callable[..., Path]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests first: the quick ones then fill the processors to the end. `make quick` has them
    alone, for an answer in seconds.
    """
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One more than processors: many a test waits for a server most of its time."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template as a fresh clone has it: without what is ignored by git, and never written to."""
    copy = tmp_path_factory.mktemp("template") / "cookiecutter-tornado"
    shutil.copytree(
        TEMPLATE,
        copy,
        ignore=shutil.ignore_patterns(".git", ".venv", "build", "__pycache__", ".*_cache"),
    )
    return copy


@pytest.fixture
def bake(template: Path, tmp_path: Path) -> Bake:
    """Generates a project and returns its folder: `bake(engine="memcached")`."""

    def bake(folder: str = "baked", **answers: str) -> Path:
        return _bake(template, tmp_path / folder, answers)

    return bake


@pytest.fixture(scope="session", params=ENGINES)
def project(
    request: pytest.FixtureRequest, template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A project of each engine, baked once; tests do not change it."""
    folder = tmp_path_factory.mktemp(f"project-{request.param}")
    return _bake(template, folder, {"engine": request.param})


def _bake(template: Path, folder: Path, answers: dict[str, str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    project = cookiecutter(
        str(template), no_input=True, extra_context=literally(answers), output_dir=str(folder)
    )
    return Path(project)


def literally(answers: dict[str, str]) -> dict[str, str]:
    """The answers as they would be typed: cookiecutter renders what does not come from a prompt."""
    return {question: answer.replace("{", "{{ '{' }}") for question, answer in answers.items()}


def run(
    *command: str | Path, cwd: Path, env: dict[str, str] | None = None, timeout_s: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run a command as in a new terminal of this machine: with no virtual environment active, and
    not as part of the `make` that may have started the tests. The test fails when the command
    hangs; whether it succeeded is for the test to say.
    """
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=clean_environment() | (env or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def clean_environment() -> dict[str, str]:
    ours = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "VIRTUAL_ENV", "PYTHONPATH", "PYTEST_CURRENT_TEST"}
    return {name: value for name, value in os.environ.items() if name not in ours}


def tool(name: str) -> Path:
    """A program of the virtual environment the tests run in."""
    return Path(sys.executable).with_name(name)


def tree(project: Path) -> dict[str, bytes]:
    """All files of a project: content by path."""
    return {
        path.relative_to(project).as_posix(): path.read_bytes()
        for path in sorted(project.rglob("*"))
        if path.is_file() and not _made_by_tools(path.relative_to(project))
    }


def _made_by_tools(path: Path) -> bool:
    return any(part == "__pycache__" or part.endswith("_cache") for part in path.parts)
