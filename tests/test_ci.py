"""What runs the tests after a push, for generated projects and for the template itself."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import ENGINES, TEMPLATE, Bake, run, tool, tree

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
FILES = {
    "github": {".github/workflows/ci.yml", ".github/dependabot.yml"},
    "gitlab": {".gitlab-ci.yml", "renovate.json"},
    "none": set(),
}
# The file's schema, by file.
SCHEMAS = {
    ".github/workflows/ci.yml": "vendor.github-workflows",
    ".github/dependabot.yml": "vendor.dependabot",
    ".gitlab-ci.yml": "vendor.gitlab-ci",
    "renovate.json": "vendor.renovate",
    "compose.yaml": "vendor.compose-spec",
}
PINNED = re.compile(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")


@pytest.mark.parametrize("ci", FILES)
def test_only_the_files_of_the_ci_chosen_are_there(bake: Bake, ci: str) -> None:
    project = bake(ci=ci)
    assert {path for path in tree(project) if path in set.union(*FILES.values())} == FILES[ci]
    assert (project / ".github").exists() == (ci == "github")


@pytest.mark.parametrize("ci", FILES)
def test_every_file_of_ci_has_the_form_that_its_reader_expects(bake: Bake, ci: str) -> None:
    project = bake(ci=ci)
    for path, schema in SCHEMAS.items():
        if (project / path).exists():
            done = run(tool("check-jsonschema"), f"--builtin-schema={schema}", path, cwd=project)
            assert done.returncode == 0, done.stdout


def test_every_supported_python_is_tested(bake: Bake) -> None:
    workflows = [
        _yaml(bake("github") / ".github/workflows/ci.yml"),
        _yaml(TEMPLATE / ".github/workflows/ci.yml"),
    ]
    for workflow in workflows:
        assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"] == PYTHONS
    gitlab = bake("gitlab", ci="gitlab")
    (matrix,) = _yaml(gitlab / ".gitlab-ci.yml")["test"]["parallel"]["matrix"]
    assert matrix["PYTHON_VERSION"] == PYTHONS
    metadata = tomllib.loads((gitlab / "pyproject.toml").read_text())
    assert metadata["project"]["requires-python"] == f">={PYTHONS[0]}"


def test_ci_runs_what_the_readme_says(bake: Bake) -> None:
    steps = _yaml(bake("github") / ".github/workflows/ci.yml")["jobs"]["test"]["steps"]
    script = _yaml(bake("gitlab", ci="gitlab") / ".gitlab-ci.yml")["test"]["script"]
    assert [step["run"] for step in steps if "run" in step] == script == ["make check", "make test"]


def test_actions_are_pinned_to_commits_the_same_ones_as_the_templates_own(bake: Bake) -> None:
    """Dependabot renews the template's own; the generated ones follow because of this test."""
    used = [
        set(re.findall(r"uses: (.*)", (folder / ".github/workflows/ci.yml").read_text()))
        for folder in (bake(), TEMPLATE)
    ]
    assert used[0] == used[1]
    assert len(used[0]) == 2
    assert all(PINNED.fullmatch(action) for action in used[0])


def test_updates_cover_what_the_project_takes_from_elsewhere(bake: Bake) -> None:
    updates = _yaml(bake("github") / ".github/dependabot.yml")["updates"]
    assert {each["package-ecosystem"] for each in updates} == {
        "pip",
        "docker",
        "docker-compose",
        "github-actions",
    }
    renovate = (bake("gitlab", ci="gitlab") / "renovate.json").read_text()
    assert "constraints" in renovate


def test_zizmor_finds_nothing_in_a_generated_project(bake: Bake) -> None:
    _assert_zizmor_finds_nothing(bake())


def test_zizmor_finds_nothing_in_the_template() -> None:
    _assert_zizmor_finds_nothing(TEMPLATE / ".github")


def _assert_zizmor_finds_nothing(folder: Path) -> None:
    # Offline it asks no server whether a commit belongs to its tag.
    done = run(
        tool("zizmor"), "--offline", "--no-config", "--strict-collection", "--persona=auditor",
        "--no-progress", ".",
        cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "ci.yml" in done.stderr


@pytest.mark.parametrize("engine", ENGINES)
def test_hadolint_finds_nothing(bake: Bake, engine: str) -> None:
    done = run(tool("hadolint"), "--no-color", "Dockerfile", cwd=bake(engine=engine))
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def _yaml(path: Path) -> Any:
    loaded = yaml.safe_load(path.read_text())
    assert isinstance(loaded, dict)
    return loaded
