"""Several generated projects below one folder, and pytest that is run from there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .conftest import Bake, run, tool

pytestmark = pytest.mark.slow


@pytest.fixture
def above(bake: Bake) -> Path:
    for slug, engine in (("alpha", "redis"), ("beta", "memcached")):
        project = bake("repository", project_slug=slug, engine=engine)
    return project.parent


def _pytest(above: Path, *arguments: str) -> str:
    done = run(tool("pytest"), "-q", "-p", "no:cacheprovider", *arguments, cwd=above, timeout_s=300)
    assert done.returncode == 0, done.stdout[-5000:]
    return done.stdout


@pytest.mark.parametrize(
    "arguments",
    [[], ["--import-mode=importlib"], ["alpha", "beta"], ["beta/tests", "alpha/tests"]],
    ids=" ".join,
)
def test_pytest_finds_the_tests_of_both_projects(above: Path, arguments: list[str]) -> None:
    found = _pytest(above, "--collect-only", *arguments)
    counts = [
        len(re.findall(rf"^.*{slug}_tests/.*::test_", found, re.MULTILINE))
        for slug in ("alpha", "beta")
    ]
    assert min(counts) > 300


def test_each_project_is_tested_with_its_own_code_and_engine(above: Path) -> None:
    # Pages and sessions, on the memory engine and on the server of each project.
    done = _pytest(above, "-rA", "-k", "test_home or test_lifetime or test_settings")
    for slug, engine in (("alpha", "redis"), ("beta", "memcached")):
        passed = rf"^PASSED {slug}/tests/{slug}_tests/"
        assert re.search(rf"{passed}test_home.py::", done, re.MULTILINE)
        for name in ("memory", engine):
            lifetime = rf"{passed}sessions/test_lifetime.py::.*\[{name}"
            assert re.search(lifetime, done, re.MULTILINE)
