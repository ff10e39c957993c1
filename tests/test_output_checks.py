"""The generated code passes its own checks, those of `make check`."""

from __future__ import annotations

import re
import shutil
import sys
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


@pytest.mark.slow
def test_the_recipes_pass_the_checks_of_a_project_that_follows_them(
    project: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(project, tmp_path / "copy")
    package = copy / project.name
    added: list[str] = []
    for page in (copy / "docs").glob("*.md"):
        for number, block in enumerate(
            re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
        ):
            if block.startswith(("from ", "import ")):  # a whole module
                folder = package if "from .database" in block else package / "handlers"
                (folder / (name := f"{page.stem.replace('-', '_')}_{number}.py")).write_text(block)
                if "\nROUTES = " in block:
                    added.append(name.removesuffix(".py"))
            elif "google_client_id" in block:
                settings = package / "settings.py"
                head, line, rest = settings.read_text().partition("    debug: bool = False\n")
                settings.write_text(head + line + block + rest)
    routes = package / "handlers/__init__.py"
    text = routes.read_text().replace("from . import ", f"from . import {', '.join(added)}, ")
    for module in added:
        text = text.replace("ROUTES = [\n", f"ROUTES = [\n    *{module}.ROUTES,\n")
    routes.write_text(text)
    # Whichever module is imported first: a circle of imports fails from one side alone.
    done = run(sys.executable, "-c", f"import {project.name}.handlers", cwd=copy)
    assert done.returncode == 0, done.stderr
    run(tool("ruff"), "check", "--no-cache", "--fix", "--select", "I", routes, cwd=copy)
    for name, *arguments in (
        ["ruff", "check", "--no-cache", "."],
        ["mypy", "--cache-dir", str(tmp_path / "cache")],
    ):
        done = run(tool(name), *arguments, cwd=copy, timeout_s=300)
        assert done.returncode == 0, done.stdout + done.stderr
