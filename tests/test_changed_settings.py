"""What people change is in one place: with other defaults in settings.py a project stays green."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from .conftest import Bake, run

DAY_S = 24 * 60 * 60

CHANGES = [
    {"idle_timeout": 1200, "port": 9000},
    {
        "absolute_timeout": 90 * DAY_S,
        "cookie_domain": "example.org",
        "max_body_bytes": 50 * 1024 * 1024,
    },
    {
        "remember_days": 1,
        "csp_sources": "img-src https://images.example.com data:; form-action https://example.com",
        "max_body_bytes": 64 * 1024,
    },
]
TOGETHER = {
    "idle_timeout": 2 * DAY_S,
    "absolute_timeout": 2 * DAY_S,
    "remember_days": 2,
    "cookie_domain": "example.org",
    "csp_sources": "script-src https://cdn.example.com",
    "max_body_bytes": 2 * 1024 * 1024,
    "base_url": "https://www.example.org",
    "log_level": "warning",
}
# The rest of the suite has settings of its own, and runs with all of them changed.
TOUCHED = [
    "login",
    "security",
    "pages",
    "forms",
    "bodies",
    "head",
    "settings",
    "account",
    "flash",
    "recipes",
    "trips",
]

pytestmark = pytest.mark.slow


def change(project: Path, **defaults: object) -> None:
    path = project / project.name / "settings.py"
    code = path.read_text()
    for name, value in defaults.items():
        code, count = re.subn(
            rf"^(    {name}: \w+) = .*$", rf"\1 = {value!r}", code, flags=re.MULTILINE
        )
        assert count == 1, name
    path.write_text(code)


def suite(project: Path, names: list[str]) -> str:
    """Run modules of the project's tests; return their last line."""
    tests = [next(project.glob(f"tests/*/test_{name}.py")) for name in names]
    options = ["-q", "-n", "2", "-p", "no:cacheprovider"]
    done = run(sys.executable, "-m", "pytest", *options, *tests, cwd=project, timeout_s=600)
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr[-5_000:]
    return done.stdout.rstrip().splitlines()[-1]


@pytest.mark.parametrize("defaults", CHANGES, ids=" ".join)
def test_a_project_stays_green_when_some_of_them_change(
    bake: Bake, defaults: dict[str, object]
) -> None:
    project = bake()
    change(project, **defaults)
    assert "passed" in suite(project, TOUCHED)


def test_a_project_stays_green_when_all_of_them_change(bake: Bake) -> None:
    project = bake(engine="memcached")
    change(project, **TOGETHER)
    # Those of sessions/ know no settings.py.
    modules = [module.stem.removeprefix("test_") for module in project.glob("tests/*/test_*.py")]
    assert "passed" in suite(project, modules)
