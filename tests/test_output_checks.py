"""The generated code passes its own checks, those of `make check`."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import run, tool


@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "--no-cache"], ["ruff", "format", "--check", "--diff", "--no-cache"]],
    ids=["check", "format"],
)
def test_ruff_finds_nothing(project: Path, command: list[str]) -> None:
    name, *arguments = command
    done = run(tool(name), *arguments, ".", cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_mypy_finds_nothing(project: Path, tmp_path: Path) -> None:
    """In strict mode: the project's own configuration says so."""
    assert "strict = true" in (project / "pyproject.toml").read_text()
    done = run(tool("mypy"), "--cache-dir", tmp_path, cwd=project, timeout_s=300)
    assert done.returncode == 0, done.stdout + done.stderr
