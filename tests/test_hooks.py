"""What the hooks refuse, as somebody at a terminal sees it."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

from .conftest import TEMPLATE, run, tool

HOOKS = sorted((TEMPLATE / "hooks").glob("*.py"))

REFUSED_SLUGS = [
    ("My App", "is no package name", "my_app"),
    ("my-app", "is no package name", "my_app"),
    ("MyApp", "is no package name", "myapp"),
    ("2fast", "is no package name", "app_2fast"),
    ("_private", "is no package name", "private"),
    ("private_", "is no package name", "private"),
    ("naïve", "is no package name", "naive"),
    ("приложение", "is no package name", "my_app"),
    ("class", "is a keyword of Python", "class_app"),
    ("json", "is a module of Python's standard library", "json_app"),
    ("asyncio", "is a module of Python's standard library", "asyncio_app"),
    ("redis", "is a package that the project depends on", "redis_app"),
    ("memcache", "is a package that the project depends on", "memcache_app"),
    ("tornado", "is a package that the project depends on", "tornado_app"),
    ("sqlalchemy", "is a package that the project depends on", "sqlalchemy_app"),
    ("argon2", "is a package that the project depends on", "argon2_app"),
    ("msgspec", "is a package that the project depends on", "msgspec_app"),
    ("pytest", "is a package that the project depends on", "pytest_app"),
    ("tests", "is the name of a folder", "tests_app"),
    ("x" * 101, "has 101 characters; 100 are the most", "x" * 40),
    ('a"b', "is no package name", "a_b"),
    ('"""', "is no package name", "my_app"),
]


@pytest.mark.parametrize(("slug", "why", "instead"), REFUSED_SLUGS)
def test_a_slug_that_cannot_work_is_refused(
    template: Path, tmp_path: Path, slug: str, why: str, instead: str
) -> None:
    line = _refusal(template, tmp_path, f"project_slug={slug}")
    assert line.startswith("Cannot create the project: project_slug ")
    assert why in line
    assert line.endswith(f"; write for example {instead}.")


@pytest.mark.parametrize("slug", ["a", "app2", "match", "my_app", "x" * 100])
def test_a_slug_that_can_work_is_taken(template: Path, tmp_path: Path, slug: str) -> None:
    done = run(tool("cookiecutter"), template, "--no-input", f"project_slug={slug}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / slug / slug / "app.py").exists()


@pytest.mark.parametrize(
    ("question", "character"),
    [
        ("project_name", "\n"),
        ("description", "\n"),
        ("author", "\n"),
        ("email", "\n"),
        ("description", "\t"),
        ("author", "\x1b"),
        ("email", "\x7f"),
        ("project_name", "\x85"),
        ("description", "\u2028"),
        ("author", "\u202e"),
    ],
    ids=ascii,
)
def test_a_character_that_breaks_files_is_refused(
    template: Path, tmp_path: Path, question: str, character: str
) -> None:
    answer = f"{question}=before{character}after"
    line = _refusal(template, tmp_path, answer, "project_slug=plain")
    assert line.startswith(f"Cannot create the project: {question} ")
    assert f"the invisible character U+{ord(character):04X}" in line
    assert line.endswith("; write it without.")


@pytest.mark.parametrize("question", ["project_name", "description", "author", "email"])
def test_an_empty_answer_is_refused(template: Path, tmp_path: Path, question: str) -> None:
    line = _refusal(template, tmp_path, f"{question}= ", "project_slug=plain")
    assert line == (
        f"Cannot create the project: {question} is empty, and the files need one; write any text."
    )


def test_every_fault_gets_a_line(template: Path, tmp_path: Path) -> None:
    done = run(
        tool("cookiecutter"), template, "--no-input", "author= ", "project_slug=class", cwd=tmp_path
    )
    assert done.returncode != 0
    assert len(re.findall("^Cannot create", done.stderr, re.MULTILINE)) == 2


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.name)
def test_hooks_use_the_standard_library_alone_and_no_network(hook: Path) -> None:
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(hook.read_text()))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= sys.stdlib_module_names
    assert not imported & {"random", "secrets", "socket", "subprocess", "time", "urllib", "uuid"}


def _refusal(template: Path, folder: Path, *answers: str) -> str:
    """The one line with which the hook refuses. Nothing is left behind.

    Cookiecutter logs a traceback of its own, to standard output; the hook is an exit status in it.
    """
    done = run(tool("cookiecutter"), template, "--no-input", *answers, cwd=folder)
    assert done.returncode != 0
    assert not list(folder.iterdir())
    (line,) = done.stderr.splitlines()
    assert "Cannot create" not in done.stdout
    return line
