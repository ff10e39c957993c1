"""Whatever people are called, and whatever they write: every file stays what it is."""

from __future__ import annotations

import compileall
import configparser
import json
import tomllib
from pathlib import Path

import pytest
import yaml

from ..conftest import ENGINES, Bake, run, tool, tree

HOSTILE = {
    "quotes": """He said "it's" ""here"" '''and''' \"\"\"there\"\"\" """.strip(),
    "quote_last": 'ends with "',
    "backslashes": "C:\\new\\table \\u0041 \\x41 \\N{BULLET} \\\\ \\",
    "jinja": "{ { x } } { % if x %} {cookiecutter.author}} }} %} #}",
    "braces": "{0} {name} ${HOME} $(id) `id` %s %(name)s {",
    "markup": "<script>alert(1)</script> &amp; --> </title> [a](b) *c* # d",
    "yaml": "- a: b # c, &d *e !f | > @g",
    "non_ascii": "Zoë Ångström 山田太郎 עברית 👩\u200d🚀 ﬀ ß",
    "look_alikes": " Bob’s\u00a0“app” – Приложение а, ο Αpp, Ａ！ 3 × 4\u2009\u2011 \u200b",  # noqa: RUF001
    "long": "word " * 39 + "words",
    "marker": "x # engine: redis",
    "many_lines_in_one": "\\n\\r\\t",
}


@pytest.fixture(params=HOSTILE)
def answer(request: pytest.FixtureRequest) -> str:
    return HOSTILE[request.param]


@pytest.fixture(params=ENGINES)
def hostile_project(request: pytest.FixtureRequest, bake: Bake, answer: str) -> Path:
    return bake(
        engine=request.param,
        project_slug="plain",
        project_name=answer,
        description=answer,
        author=answer,
        email=answer,
    )


def test_a_hostile_answer_leaves_all_files_valid(hostile_project: Path, answer: str) -> None:
    assert compileall.compile_dir(hostile_project, quiet=1)
    for path in sorted(hostile_project.rglob("*")):
        _parse(path)

    metadata = tomllib.loads((hostile_project / "pyproject.toml").read_text())["project"]
    assert metadata["description"] == answer
    assert metadata["authors"] == [{"name": answer, "email": answer}]
    assert answer in (hostile_project / "README.md").read_text()
    assert answer in (hostile_project / "LICENSE").read_text()


def test_a_hostile_answer_needs_no_formatting(hostile_project: Path) -> None:
    for command in (["format", "--check", "--diff"], ["check"]):
        done = run(tool("ruff"), *command, "--no-cache", ".", cwd=hostile_project)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_hostile_answer_changes_no_other_file(bake: Bake, answer: str) -> None:
    """Answers are in the files that are for people, and in three lines of Python."""
    hostile = tree(bake("hostile", project_slug="plain", project_name=answer, description=answer))
    plain = tree(bake("plain", project_slug="plain"))
    assert hostile.keys() == plain.keys()
    changed = {path for path in plain if plain[path] != hostile[path]}
    assert changed <= {"README.md", "pyproject.toml", "plain/app.py", "plain/__init__.py"}


def _parse(path: Path) -> None:
    match path.suffix:
        case ".toml":
            tomllib.loads(path.read_text())
        case ".yaml" | ".yml":
            list(yaml.safe_load_all(path.read_text()))
        case ".json":
            json.loads(path.read_text())
        case ".ini" | ".cfg":
            configparser.ConfigParser().read_string(path.read_text())
