"""A project follows its template with cruft: what changed in the template arrives, and no more."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ..conftest import ENGINES, run, tool, tree

pytestmark = pytest.mark.slow

NEW_LINE = "# A line that a later version of the template has.\n"


def test_only_the_change_of_the_template_arrives(template: Path, tmp_path: Path) -> None:
    commit_all(template)
    answers = ["--no-input", "--extra-context", '{"engine": "memcached", "license": "none"}']
    _run(tool("cruft"), "create", template, *answers, cwd=tmp_path)
    project = tmp_path / "my_tornado_app"
    owners = project / "my_tornado_app/handlers/home.py"
    owners.write_text(owners.read_text() + "\n# The owner's own line.\n")
    commit_all(project)

    changed = template / "{{cookiecutter.project_slug}}/.env.example"
    before = changed.read_text()
    try:
        changed.write_text(before + NEW_LINE)
        commit_all(template)
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
    commit_all(template)
    _run(tool("cruft"), "create", template, "--no-input", cwd=tmp_path)
    project = tmp_path / "my_tornado_app"
    commit_all(project)
    _run(tool("cruft"), "update", "--skip-apply-ask", cwd=project)
    assert _run("git", "status", "--porcelain", cwd=project) == ""
    _run(tool("cruft"), "check", cwd=project)


def test_a_file_that_a_new_version_has_for_another_answer_does_not_arrive(
    template: Path, tmp_path: Path
) -> None:
    """cruft keeps the old version's extension in memory; the table of files is the new one."""
    repository = tmp_path / "template"
    shutil.copytree(template, repository)
    commit_all(repository)
    _run(tool("cruft"), "create", repository, "--no-input", cwd=tmp_path)
    project = tmp_path / "my_tornado_app"
    commit_all(project)

    table = json.loads((repository / "files_by_answer.json").read_text())
    for engine in ENGINES:
        table["files"]["engine"][engine].append(f"tests/new_{engine}.py")
        (repository / f"{{{{cookiecutter.project_slug}}}}/tests/new_{engine}.py").write_text(
            "x = 1\n"
        )
    (repository / "files_by_answer.json").write_text(json.dumps(table))
    commit_all(repository)
    _run(tool("cruft"), "update", "--skip-apply-ask", cwd=project)
    status = _run("git", "status", "--porcelain", cwd=project).split()
    assert status == ["M", ".cruft.json", "A", "tests/new_redis.py"]


HOSTILE = {
    "project_name": """He said "it's" {0} $HOME 'x' C:\\new\\u0041 { % raw %} {""",
    "project_slug": "plain",
    "description": "} }} %} #} <b>&amp;</b> # engine: redis \\",
    "author": 'Zoë 山田太郎 👩\u200d🚀 \\N{BULLET} """',
    "email": "- a: b # without hooks",
}


def test_hostile_answers_survive_an_update_and_the_way_back(template: Path, tmp_path: Path) -> None:
    repository = tmp_path / "template"
    shutil.copytree(template, repository)
    commit_all(repository)
    old = _run("git", "rev-parse", "HEAD", cwd=repository).strip()
    answers = tmp_path / "answers.json"
    answers.write_text(json.dumps(HOSTILE))
    create = ["create", repository, "--no-input", "--extra-context-file", answers]
    _run(tool("cruft"), *create, cwd=tmp_path)
    project = tmp_path / "plain"
    commit_all(project)
    before = tree(project)

    example = "{{cookiecutter.project_slug}}/.env.example"
    (repository / example).write_text((repository / example).read_text() + NEW_LINE)
    commit_all(repository)
    _run(tool("cruft"), "update", "--skip-apply-ask", cwd=project)
    assert _changed(before, project) == {".cruft.json", ".env.example"}
    assert _kept_answers(project) == HOSTILE
    commit_all(project)

    _run(tool("cruft"), "update", "--skip-apply-ask", "--checkout", old, cwd=project)
    # The commit that was asked for is remembered, so this file alone is another.
    assert _changed(before, project) == {".cruft.json"}
    assert _kept_answers(project) == HOSTILE


def _changed(before: dict[str, bytes], project: Path) -> set[str]:
    after = tree(project)
    paths = before.keys() | after.keys()
    return {
        path
        for path in paths
        if not path.startswith(".git/") and before.get(path) != after.get(path)
    }


def _kept_answers(project: Path) -> dict[str, str]:
    kept = json.loads((project / ".cruft.json").read_text())["context"]["cookiecutter"]
    return {question: kept[question] for question in HOSTILE}


def commit_all(folder: Path) -> None:
    """Make `folder` a git repository, and commit whatever is in it."""
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
    _run("git", "init", "--quiet", cwd=folder)
    _run("git", "add", "--all", cwd=folder)
    _run("git", *identity, "commit", "--quiet", "--allow-empty", "--message=All", cwd=folder)


def _run(*command: str | Path, cwd: Path) -> str:
    done = run(*command, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
