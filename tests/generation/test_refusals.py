"""What is refused, as somebody at a terminal sees it: one line, and nothing is left behind."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ..conftest import TEMPLATE, literally, run, tool, tree
from .test_updates import commit_all

HOOKS = sorted((TEMPLATE / "hooks").glob("*.py"))
EXTENSION = TEMPLATE / "needs_cookiecutter_2_1_or_cruft_2_16.py"

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
    ("tests", "is the name of a file or folder", "tests_app"),
    ("makefile", "is the name of a file or folder", "makefile_app"),
    ("license", "is the name of a file or folder", "license_app"),
    ("compression", "is a module of Python's standard library", "compression_app"),
    ("cgi", "is a module of Python's standard library", "cgi_app"),
    ("py", "is a package that the project depends on", "py_app"),
    ("aux", "is the name of a device on Windows", "aux_app"),
    ("Class", "is no package name", "class_app"),
    ("x" * 51, "has 51 characters; 50 are the most", "x" * 40),
    ("xx", "is a module of Python's standard library", "xx_app"),
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


@pytest.mark.parametrize("slug", ["a", "app2", "match", "my_app", "x" * 50])
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


@pytest.mark.parametrize("mark", ["{{ x }}", "{% if x %}", "{# x #}", "{{", "50 {% off"])
@pytest.mark.parametrize("question", ["project_name", "description", "author", "email"])
def test_an_answer_that_no_update_would_survive_is_refused(
    template: Path, tmp_path: Path, question: str, mark: str
) -> None:
    """cruft renders the answers that it has kept, like those of a command line."""
    answers = literally({question: f"a {mark} b", "project_slug": "plain"})
    line = _refusal(template, tmp_path, *(f"{name}={answer}" for name, answer in answers.items()))
    assert line.startswith(f"Cannot create the project: {question} ")
    assert "which cruft would run as a template at each update" in line


@pytest.mark.parametrize("mark", ["{{ x }}", "{% if x %}", "{# x #}", "{{"])
def test_a_template_that_is_given_beforehand_leaves_nothing_behind(
    template: Path, tmp_path: Path, mark: str
) -> None:
    """Cookiecutter runs it before the template is asked, and says by itself what is wrong."""
    done = run(tool("cookiecutter"), template, "--no-input", f"description={mark}", cwd=tmp_path)
    assert done.returncode != 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("question", ["project_name", "project_slug", "description", "email"])
@pytest.mark.parametrize("answer", ["null", "true", "{a: b}"])
def test_an_answer_in_a_config_file_that_is_no_text_is_refused(
    template: Path, tmp_path: Path, question: str, answer: str
) -> None:
    config = _config(tmp_path, f"    {question}: {answer}\n")
    folder = tmp_path / "empty"
    folder.mkdir()
    line = _refusal(template, folder, "--config-file", config)
    assert line.startswith(f"Cannot create the project: {question} is ")
    assert line.endswith(", which is no text; write it in quotes.")


@pytest.mark.parametrize("answer", ["7", "1.5"])
def test_a_number_in_a_config_file_is_taken_as_it_is_written(
    template: Path, tmp_path: Path, answer: str
) -> None:
    config = _config(tmp_path, f"    author: {answer}\n")
    done = run(tool("cookiecutter"), template, "--no-input", "--config-file", config, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert f'name = "{answer}"' in (tmp_path / "my_tornado_app/pyproject.toml").read_text()


@pytest.mark.parametrize("question", ["description", "author", "email"])
def test_a_byte_that_is_not_utf_8_is_refused(template: Path, tmp_path: Path, question: str) -> None:
    line = _refusal(template, tmp_path, os.fsdecode(question.encode() + b"=Zo\xeb"))
    assert line.startswith(f"Cannot create the project: {question} ")
    assert "contains the byte 0xEB, which is not UTF-8" in line


def test_a_name_with_a_byte_that_is_not_utf_8_is_refused(template: Path, tmp_path: Path) -> None:
    line = _refusal(template, tmp_path, os.fsdecode(b"project_name=Zo\xeb"))
    assert "contains the byte 0xEB, which is not UTF-8" in line


def test_answers_that_are_typed_are_refused_alike(template: Path, tmp_path: Path) -> None:
    typed = "Harbour {{ x }}\nharbour\n\n\n\n\n\n\n\n"
    done = subprocess.run(
        [tool("cookiecutter"), template],
        cwd=tmp_path,
        input=typed,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    (line,) = done.stderr.splitlines()
    assert line.startswith('Cannot create the project: project_name "Harbour {{ x }}"')
    assert not list(tmp_path.iterdir())


def test_cruft_refuses_in_the_same_line(template: Path, tmp_path: Path) -> None:
    repository = tmp_path / "template"
    shutil.copytree(template, repository)
    commit_all(repository)
    folder = tmp_path / "empty"
    folder.mkdir()
    answers = ["--no-input", "--extra-context", '{"project_slug": "makefile"}']
    done = run(tool("cruft"), "create", repository, *answers, cwd=folder)
    assert done.returncode != 0
    (line,) = done.stderr.splitlines()
    assert line.startswith('Cannot create the project: project_slug "makefile"')
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    ("edit", "refusal"),
    [
        ({"project_slug": "class"}, 'project_slug "class" is a keyword of Python'),
        ({"engine": "sqlite"}, 'engine "sqlite" is no choice; write one of redis, memcached.'),
        ({"author": "Ada"}, '__author is "Your Name", which does not follow from the other'),
        ({"license": "none"}, '__license_expression is "MIT", which does not follow from'),
    ],
    ids=str,
)
def test_an_edited_replay_file_is_refused_in_the_last_line(
    template: Path, tmp_path: Path, edit: dict[str, str], refusal: str
) -> None:
    """Its answers are not asked for again. Cookiecutter logs a traceback before the line."""
    config = tmp_path / "config.yaml"
    config.write_text(f"replay_dir: {tmp_path / 'replay'}\n")
    options = ["--config-file", config, "--output-dir"]
    done = run(tool("cookiecutter"), template, "--no-input", *options, tmp_path / "a", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    (replay,) = (tmp_path / "replay").iterdir()
    answers = json.loads(replay.read_text())
    answers["cookiecutter"] |= edit
    replay.write_text(json.dumps(answers))
    done = run(tool("cookiecutter"), template, "--replay", *options, tmp_path / "b", cwd=tmp_path)
    assert done.returncode != 0
    assert done.stdout.splitlines()[-1].startswith(f"Cannot create the project: {refusal}")
    assert not list((tmp_path / "b").iterdir())


def test_a_replay_repeats_the_project(template: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"replay_dir: {tmp_path / 'replay'}\n")
    options = ["--config-file", config, "--output-dir"]
    answers = ["engine=memcached", "author='Ada \\ \"x\"'"]
    for how, folder in ((["--no-input", *answers], "a"), (["--replay"], "b")):
        command = [tool("cookiecutter"), template, *how, *options, tmp_path / folder]
        done = run(*command, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_every_fault_gets_a_line(template: Path, tmp_path: Path) -> None:
    done = run(
        tool("cookiecutter"), template, "--no-input", "author= ", "project_slug=class", cwd=tmp_path
    )
    assert done.returncode != 0
    assert len(re.findall("^Cannot create", done.stderr, re.MULTILINE)) == 2


@pytest.mark.parametrize("path", [*HOOKS, EXTENSION], ids=lambda path: path.name)
def test_generation_uses_what_cookiecutter_brings_alone_and_no_network(path: Path) -> None:
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(path.read_text()))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= sys.stdlib_module_names | {"cookiecutter", "jinja2"}
    assert not imported & {"random", "secrets", "socket", "subprocess", "time", "urllib", "uuid"}


def _refusal(template: Path, folder: Path, *answers: str | Path) -> str:
    """The one line with which cookiecutter ends, and all that it prints. Nothing is left behind."""
    done = run(tool("cookiecutter"), template, "--no-input", *answers, cwd=folder)
    assert done.returncode != 0
    assert not list(folder.iterdir())
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line


def _config(folder: Path, answers: str) -> Path:
    config = folder / "config.yaml"
    config.write_text(f"default_context:\n{answers}")
    return config
