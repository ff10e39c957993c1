"""The packages that a generated app installs have no vulnerability that is known.

pip-audit asks PyPI. Where that cannot be reached (a mirror may lack this service), the test is
skipped and says so in one line.

bandit is not run beside it: ruff's `S` rules, which every `make check` of a generated app applies,
are its rules. Tried on a bake, bandit 1.9 added nothing to them.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ..conftest import run, tool


def test_no_dependency_has_a_known_vulnerability(project: Path, tmp_path: Path) -> None:
    done = run(
        tool("pip-audit"),
        "--format=json",
        "--progress-spinner=off",
        "--timeout=15",
        project,
        cwd=tmp_path,
        timeout_s=300,
    )
    try:
        audited = json.loads(done.stdout)["dependencies"]
    except ValueError:
        pytest.skip(f"no audit of {project.name}: {done.stderr.strip().splitlines()[-1][:200]}")
    found = {each["name"]: each["vulns"] for each in audited if each.get("vulns")}
    assert not found
    missed = [each["name"] for each in audited if "skip_reason" in each]
    if missed:
        pytest.skip(f"PyPI's vulnerability service knows nothing here about {', '.join(missed)}")
    assert {"tornado", "sqlalchemy"} <= {each["name"] for each in audited}
