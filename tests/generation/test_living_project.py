"""Cookiecutter over a project that somebody has worked in: it changes the template's own files."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from ..conftest import ENGINES, Bake, run, tool, tree

OTHER = {"redis": "memcached", "memcached": "redis"}
OVERWRITE = [["-f"], ["-f", "-s"]]

# What an owner may have, with names, marks and folders that the template knows too.
OWNERS_FILES = {
    "LICENSE.old": "Mine.\n",
    "docs/{other}-notes.md": "Why we did not take {other}.\n",
    "docs/{engine}-notes.md": "Why we took {engine}.\n",
    "scripts/try_{other}.py": 'client = "{other}"  # engine: {other}\nprint(client)\n',
    "scripts/mine.py": "x = 1  # engine: {other}\ny = 2  # engine: {engine}\nz = 3  # without hooks\n",
    "config.toml": 'a = "b" # engine: {other}\n',
    "my_tornado_app/{other}.py": "# engine: {other}\n",
    "my_tornado_app/static/{other}/logo.svg": "<svg/>\n",
    "my_tornado_app/templates/mine/{other}.html": "<p>mine</p>\n",
    "my_tornado_app/__pycache__/{other}.cpython-311.pyc": "cached",
    "tests/test_{other}_mine.py": "def test_mine() -> None: ...\n",
    "vendor/lib/LICENSE": "Theirs.\n",
    ".mypy_cache/3.11/{other}.json": "{{}}",
    ".ruff_cache/0.17/{other}": "cached",
    ".cache/{other}": "cached",
    ".venv/lib/python3.11/site-packages/{other}/__init__.py": "installed = 1  # engine: {other}\n",
    ".venv/lib/python3.11/site-packages/pip/_internal/{other}.py": "installed = 1\n",
    ".venv/lib/python3.11/site-packages/{other}-1.dist-info/licenses/LICENSE": "Theirs.\n",
    ".env": "COOKIE_SECRET={other}\n",
    "app.db": "data",
}


@pytest.mark.parametrize("license_name", ["MIT", "none"])
@pytest.mark.parametrize("options", OVERWRITE, ids=" ".join)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_second_generation_changes_nothing(
    bake: Bake, template: Path, engine: str, options: list[str], license_name: str
) -> None:
    answers = {"engine": engine, "license": license_name}
    project = bake(**answers)
    _work_for_a_year(project, engine)
    if license_name == "none":
        (project / "LICENSE").write_text("All rights reserved, and this is how.\n")
    before = _hashes(project)
    done = _generate_over(project, template, options, answers)
    assert done.returncode == 0, done.stdout + done.stderr
    assert _hashes(project) == before
    assert _git(project, "status", "--porcelain", "--", "my_tornado_app/app.py") == ""


def test_only_files_of_the_template_are_written_anew(bake: Bake, template: Path) -> None:
    project = bake()
    fresh = tree(project)
    _work_for_a_year(project, "redis")
    for path in fresh:
        (project / path).write_bytes(b"# The owner's own.\n")
    owners = _hashes(project).items() - {(path, _hash(project / path)) for path in fresh}
    assert _generate_over(project, template, ["-f"], {}).returncode == 0
    assert owners <= _hashes(project).items()
    assert {path: (project / path).read_bytes() for path in fresh} == fresh


def test_what_is_not_overwritten_keeps_its_marks(bake: Bake, template: Path) -> None:
    """--skip-if-file-exists leaves a file as it is, so the hook does not finish it again."""
    project = bake()
    settings = project / "my_tornado_app/settings.py"
    settings.write_text(settings.read_text() + "\nMINE = 1  # engine: memcached\n")
    before = settings.read_bytes()
    assert _generate_over(project, template, ["-f", "-s"], {}).returncode == 0
    assert settings.read_bytes() == before


@pytest.mark.parametrize("options", OVERWRITE, ids=" ".join)
def test_a_file_of_the_owner_in_the_place_of_the_other_engine_is_not_removed(
    bake: Bake, template: Path, options: list[str]
) -> None:
    project = bake()
    (project / "my_tornado_app/sessions/engines/memcached.py").write_text("mine = True\n")
    before = _hashes(project)
    done = _generate_over(project, template, options, {})
    assert done.returncode != 0
    assert done.stdout.splitlines()[-1] == (
        "Cannot create the project: my_tornado_app/sessions/engines/memcached.py is there already, "
        "and belongs to engine=memcached; move it away, or answer engine=memcached."
    )
    assert _hashes(project) == before


def test_a_symlinked_cache_does_not_stop_the_hook(bake: Bake, template: Path) -> None:
    project = bake()
    elsewhere = project.parent / "elsewhere"
    (elsewhere / "3.11").mkdir(parents=True)
    (elsewhere / "3.11/redis.json").write_text("{}")
    for cache in (".mypy_cache", "__pycache__", "my_tornado_app/__pycache__"):
        (project / cache).symlink_to(elsewhere)
    before = _hashes(project)
    assert _generate_over(project, template, ["-f"], {}).returncode == 0
    assert _hashes(project) == before
    assert (elsewhere / "3.11/redis.json").exists()


def _work_for_a_year(project: Path, engine: str) -> None:
    """Branches, tags and notes; a virtual environment, caches and symlinks."""
    for path, content in OWNERS_FILES.items():
        names = {"engine": engine, "other": OTHER[engine]}
        file = project / path.format(**names)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content.format(**names))
    _git(project, "init", "--quiet", "--initial-branch=main")
    for branch in (f"feature/try-{OTHER[engine]}", "license", "main"):
        _git(project, "checkout", "--quiet", "-B", branch)
        _git(project, "add", "--all")
        _git(project, "commit", "--quiet", "--allow-empty", f"--message=Work on {branch}")
    _git(project, "tag", f"{OTHER[engine]}-1.0")
    (project / f"{OTHER[engine]}.link").symlink_to("docs")
    (project / "dangling").symlink_to(f"nowhere/{OTHER[engine]}.py")
    (project / ".pytest_cache").symlink_to(".cache")
    (project / "scripts/__pycache__").symlink_to("../.cache")
    (project / "deploy-key").write_text("secret")
    (project / "deploy-key").chmod(0o400)


def _generate_over(
    project: Path, template: Path, options: list[str], answers: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    words = [f"{question}={answer}" for question, answer in answers.items()]
    command = [tool("cookiecutter"), template, "--no-input", *options, *words]
    return run(*command, cwd=project.parent)


def _git(project: Path, *words: str) -> str:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
    done = run("git", *identity, *words, cwd=project)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _hashes(project: Path) -> dict[str, str]:
    """What each path of the project is, of git and the virtual environment, too."""
    return {
        path.relative_to(project).as_posix(): _hash(path)
        for path in sorted(project.rglob("*"))
        if path.is_symlink() or path.is_file() or not any(path.iterdir())
    }


def _hash(path: Path) -> str:
    if path.is_symlink():
        return f"link to {path.readlink()}"
    if path.is_dir():
        return "empty folder"
    return f"{path.stat().st_mode:o} {hashlib.sha256(path.read_bytes()).hexdigest()}"
