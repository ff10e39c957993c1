"""constraints.txt: the releases that a generated project installs are those that were tested."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from .conftest import ENGINES, Bake, run, tool

INSTALL_S = 300
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
PIN = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*==[a-z0-9.]+( ; [a-z_]+ [<>=!]+ '[\w.]+')?")


def pins(project: Path) -> dict[str, str]:
    """What constraints.txt says for this machine and the Python of the tests: release by name."""
    lines = (project / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    return {
        canonicalize_name(pin.name): str(pin.specifier).removeprefix("==")
        for pin in pins
        if pin.marker is None or pin.marker.evaluate()
    }


def installed(project: Path) -> dict[str, str]:
    """What is in the project's virtual environment, but for the project and pip."""
    done = run(".venv/bin/python", "-m", "pip", "list", "--format=freeze", cwd=project)
    assert done.returncode == 0, done.stderr
    found = dict(line.split("==") for line in done.stdout.splitlines())
    names = {canonicalize_name(name): release for name, release in found.items()}
    return {
        name: release
        for name, release in names.items()
        if name not in {"pip", canonicalize_name(project.name)}
    }


def assert_installed_from_the_lock(project: Path) -> None:
    """Every package in the environment is one that constraints.txt names, in that release."""
    there, named = installed(project), pins(project)
    assert len(there) > 20
    assert there.items() <= named.items(), set(there.items()) - set(named.items())


def test_the_lock_names_releases_and_nothing_else(project: Path) -> None:
    lines = (project / "constraints.txt").read_text().splitlines()
    for line in lines:
        assert line.startswith("#") or PIN.fullmatch(line), line
        assert "://" not in line
        assert "--" not in line


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_make_lock_finds_nothing_to_change(bake: Bake, engine: str) -> None:
    project = bake(engine=engine)
    before = (project / "constraints.txt").read_text()
    done = run("make", "lock", cwd=project, timeout_s=INSTALL_S)
    assert done.returncode == 0, done.stderr
    assert (project / "constraints.txt").read_text() == before


@pytest.mark.slow
@pytest.mark.parametrize("version", PYTHONS)
def test_every_release_has_a_wheel_for_every_python(project: Path, version: str) -> None:
    done = run(
        tool("uv"), "pip", "compile", "--quiet", "--no-cache", "--only-binary=:all:",
        f"--python-version={version}", "--python-platform=x86_64-unknown-linux-gnu",
        "--constraints=constraints.txt", "--all-extras", "--group=dev", "pyproject.toml",
        cwd=project,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_what_the_lock_names_is_installed_and_a_changed_lock_is_followed(bake: Bake) -> None:
    project = bake()
    lock, metadata = project / "constraints.txt", project / "pyproject.toml"
    lock.write_text(lock.read_text().replace("aiosqlite==0.22.1", "aiosqlite==0.22.0"))
    _make(project, ".venv/.installed")
    assert installed(project)["aiosqlite"] == "0.22.0"

    # The pins that a changed pyproject.toml rules out are no obstacle.
    metadata.write_text(metadata.read_text().replace('"aiosqlite>=0.22"', '"aiosqlite>=0.22.1"'))
    _make(project, "lock")
    assert pins(project)["aiosqlite"] == "0.22.1"
    _make(project, ".venv/.installed")
    assert installed(project)["aiosqlite"] == "0.22.1"


@pytest.mark.slow
def test_a_project_without_a_lock_installs_too(bake: Bake) -> None:
    project = bake()
    (project / "constraints.txt").unlink()
    _make(project, ".venv/.installed")
    assert "tornado" in installed(project)


def test_the_image_and_ci_install_from_the_lock(project: Path) -> None:
    assert (
        "pip install --disable-pip-version-check -c constraints.txt"
        in (project / "Dockerfile").read_text()
    )
    assert "!constraints.txt" in (project / ".dockerignore").read_text().splitlines()
    # CI calls make, which the tests above are about.
    assert "make test" in (project / ".github/workflows/ci.yml").read_text()


def _make(project: Path, target: str) -> None:
    done = run("make", target, cwd=project, timeout_s=INSTALL_S)
    assert done.returncode == 0, done.stdout + done.stderr
