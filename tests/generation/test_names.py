"""The package of a project neither hides nor merges with something else of that name."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from needs_cookiecutter_2_1_or_cruft_2_16 import MAX_SLUG_LENGTH, why_not

from ..conftest import ENGINES, Bake, run, tool
from ..test_generated_suites import INSTALL_AND_TEST_S, PYTHONS, _python

# What is importable where a project is installed, and could be the name of a package.
TOP_LEVEL = """
import json
from importlib.metadata import packages_distributions
print(json.dumps([name for name in packages_distributions() if "__mypyc" not in name]))
"""
MODULES = "import json, sys; print(json.dumps(sorted(sys.stdlib_module_names)))"


@pytest.mark.slow
def test_whatever_a_project_installs_is_refused_as_its_name(bake: Bake, tmp_path: Path) -> None:
    python = tmp_path / "venv/bin/python"
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    run(python, "-m", "pip", "install", "--quiet", "--upgrade", "pip", cwd=tmp_path)
    for engine in ENGINES:
        project = bake(engine, engine=engine, project_slug=f"app_on_{engine}")
        packages = ["--editable", ".[postgresql]", "--group", "dev"]
        done = run(
            *(python, "-m", "pip", "install", "--quiet", *packages),
            cwd=project,
            timeout_s=INSTALL_AND_TEST_S,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    installed = {name for name in _names(python, TOP_LEVEL) if not name.startswith("app_on_")}
    assert {"tornado", "redis", "memcache", "pytest"} <= installed
    assert not {name for name in _slugs(installed) if why_not(name) is None}


def test_a_module_of_any_supported_python_is_refused() -> None:
    """Whichever Python cookiecutter runs on: this one knows its own modules alone."""
    here = set(sys.stdlib_module_names)
    others = [python for version in PYTHONS if (python := _python(version))]
    assert others
    for python in others:
        for name in _slugs(here ^ set(_names(Path(python), MODULES))):
            assert "standard library" in (why_not(name) or ""), (python, name)
    for name in ("annotationlib", "compression", "imp", "telnetlib"):
        assert "standard library" in (why_not(name) or "")


@pytest.mark.parametrize("license_name", ["MIT", "none"])
def test_whatever_lies_beside_the_package_is_refused_as_its_name(
    bake: Bake, license_name: str
) -> None:
    """On a disk that ignores case, too. What tools make there is in .gitignore."""
    project = bake(project_slug="plain", license=license_name)
    names = {path.name for path in project.iterdir()} - {"plain"}
    names |= set(re.findall(r"^(\w+)/?$", (project / ".gitignore").read_text(), re.MULTILINE))
    assert {"Makefile", "tests", "build"} <= names
    assert not {name for name in _slugs(names) if why_not(name) is None}


def test_whatever_make_runs_is_refused_as_its_name(project: Path) -> None:
    """Also what it installs only when it is needed, as `make lock` does."""
    makefile = (project / "Makefile").read_text()
    programs = set(re.findall(r"\$\(RUN\) (\w+)", makefile)) - {project.name}
    assert {"alembic", "pytest", "uv"} <= programs
    assert not {name for name in programs if why_not(name) is None}


@pytest.mark.parametrize("length", [1, 20, 33, 43, MAX_SLUG_LENGTH])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_name_of_any_length_needs_no_formatting(bake: Bake, engine: str, length: int) -> None:
    project = bake(engine=engine, project_slug="a" * length)
    for command in (["format", "--check", "--diff"], ["check"]):
        done = run(tool("ruff"), *command, "--no-cache", ".", cwd=project)
        assert done.returncode == 0, done.stdout + done.stderr


def _names(python: Path, program: str) -> list[str]:
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True)
    names: list[str] = json.loads(done.stdout)
    return names


def _slugs(names: set[str]) -> set[str]:
    """Those that could be slugs, in lower case."""
    return {name.lower() for name in names if re.fullmatch("[a-z][a-z0-9_]*", name.lower())}
