"""A project follows its template with cruft: what changed in the template arrives, and no more."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import run, tool

pytestmark = pytest.mark.slow

NEW_LINE = "# A line that a later version of the template has.\n"


def test_only_the_change_of_the_template_arrives(template: Path, tmp_path: Path) -> None:
    _commit_all(template)
    answers = ["--no-input", "--extra-context", '{"engine": "memcached", "license": "none"}']
    _run(tool("cruft"), "create", template, *answers, cwd=tmp_path)
    project = tmp_path / "my_tornado_app"
    owners = project / "my_tornado_app/handlers/home.py"
    owners.write_text(owners.read_text() + "\n# The owner's own line.\n")
    _commit_all(project)

    changed = template / "{{cookiecutter.project_slug}}/.env.example"
    before = changed.read_text()
    try:
        changed.write_text(before + NEW_LINE)
        _commit_all(template)
        _run(tool("cruft"), "update", "--skip-apply-ask", cwd=project)
    finally:
        changed.write_text(before)

    status = _run("git", "status", "--porcelain", cwd=project).split()
    assert status == ["M", ".cruft.json", "M", ".env.example"]
    assert (project / ".env.example").read_text().endswith(NEW_LINE)
    added = _run("git", "diff", "--numstat", "HEAD", "--", ".env.example", cwd=project).split()
    assert added == ["1", "0", ".env.example"]
    assert "The owner's own line." in owners.read_text()


def test_nothing_arrives_when_nothing_changed(template: Path, tmp_path: Path) -> None:
    _commit_all(template)
    _run(tool("cruft"), "create", template, "--no-input", cwd=tmp_path)
    project = tmp_path / "my_tornado_app"
    _commit_all(project)
    _run(tool("cruft"), "update", "--skip-apply-ask", cwd=project)
    assert _run("git", "status", "--porcelain", cwd=project) == ""
    _run(tool("cruft"), "check", cwd=project)


def _commit_all(folder: Path) -> None:
    """Make `folder` a git repository, and commit whatever is in it."""
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
    _run("git", "init", "--quiet", cwd=folder)
    _run("git", "add", "--all", cwd=folder)
    _run("git", *identity, "commit", "--quiet", "--allow-empty", "--message=All", cwd=folder)


def _run(*command: str | Path, cwd: Path) -> str:
    done = run(*command, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
