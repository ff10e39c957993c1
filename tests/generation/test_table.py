"""files_by_answer.json says which files of the template belong to which answer."""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
from pathlib import Path

import pytest

from ..conftest import ENGINES, TEMPLATE, Bake, run, tool, tree

FOLDER = "{{cookiecutter.project_slug}}"
TABLE = json.loads((TEMPLATE / "files_by_answer.json").read_text())
QUESTIONS = json.loads((TEMPLATE / "cookiecutter.json").read_text())
FILES = tree(TEMPLATE / FOLDER)

MARK = re.compile(rb"# (?:(\w+): (\w+)|without hooks)\s*$", re.MULTILINE)


def _paths(question: str) -> list[str]:
    return [path for paths in TABLE["files"][question].values() for path in paths]


def test_each_question_of_the_table_is_asked_and_has_a_row_for_its_answers() -> None:
    for question, paths_by_answer in TABLE["files"].items():
        assert set(paths_by_answer) <= set(QUESTIONS[question])


def test_the_template_has_each_file_of_the_table() -> None:
    listed = {path for question in TABLE["files"] for path in _paths(question)}
    listed |= set(TABLE["files_with_marked_lines"])
    assert listed <= set(FILES)


@pytest.mark.parametrize("engine", ENGINES)
def test_each_file_with_an_engine_in_its_name_is_in_the_table(engine: str) -> None:
    named = {path for path in FILES if engine in path.removeprefix(FOLDER)}
    assert named == set(TABLE["files"]["engine"][engine])


def test_each_file_with_marks_is_in_the_table_and_shows_when_it_is_new() -> None:
    """A file with a mark needs a line `# without hooks`: see hooks/post_gen_project.py."""
    marks = {
        path: {mark[0].rstrip() for mark in MARK.finditer(content)}
        for path, content in FILES.items()
    }
    with_marks = {
        path
        for path, found in marks.items()
        if any(
            b"without" in mark or mark[2:].split(b":")[0].decode() in TABLE["files"]
            for mark in found
        )
    }
    assert with_marks == set(TABLE["files_with_marked_lines"])
    for path in with_marks:
        assert b"# without hooks" in marks[path], path


def test_each_mark_names_an_answer() -> None:
    for path in TABLE["files_with_marked_lines"]:
        for question, answer in MARK.findall(FILES[path]):
            if question.decode() in TABLE["files"]:
                assert answer.decode() in QUESTIONS[question.decode()], path


def test_no_folder_is_copied_as_a_whole() -> None:
    """Cookiecutter replaces such a folder, with all that its owner has in it."""
    folders = {parent for path in FILES for parent in _parents(path)}
    for pattern in QUESTIONS["_copy_without_render"]:
        assert not fnmatch.filter(folders, pattern)


@pytest.mark.parametrize(
    ("question", "answer"),
    [(question, answer) for question in TABLE["files"] for answer in QUESTIONS[question]],
)
def test_a_project_has_all_files_but_those_of_other_answers(
    bake: Bake, question: str, answer: str
) -> None:
    answers = {name: QUESTIONS[name][0] for name in TABLE["files"]} | {question: answer}
    project = bake(project_slug="unlike_any_name", **answers)
    kept = {path for name in answers for path in TABLE["files"][name].get(answers[name], [])}
    others = {path for name in answers for path in _paths(name)} - kept
    license_file = next(path for path in FILES if path.startswith("{%"))
    expected = set(FILES) - others - {license_file} | {"LICENSE"}
    assert {path.replace("unlike_any_name", FOLDER) for path in tree(project)} == expected


def test_a_folder_that_only_another_answer_needs_goes_and_the_owners_files_in_it_stay(
    template: Path, tmp_path: Path
) -> None:
    extended = tmp_path / "extended"
    shutil.copytree(template, extended)
    table = TABLE | {"files": {"license": {"MIT": ["legal/mit/a.txt", "legal/mit/b.txt"]}}}
    (extended / "files_by_answer.json").write_text(json.dumps(table))
    for path in table["files"]["license"]["MIT"]:
        (extended / FOLDER / path).parent.mkdir(parents=True, exist_ok=True)
        (extended / FOLDER / path).touch()
    bake = [tool("cookiecutter"), extended, "--no-input", "-f"]
    assert run(*bake, "license=MIT", cwd=tmp_path).returncode == 0
    legal = tmp_path / "my_tornado_app/legal"
    assert (legal / "mit/b.txt").exists()

    shutil.rmtree(legal)
    assert run(*bake, "license=none", cwd=tmp_path).returncode == 0
    assert not legal.exists()

    legal.mkdir()
    (legal / "own").touch()
    assert run(*bake, "license=none", cwd=tmp_path).returncode == 0
    assert [path.name for path in legal.iterdir()] == ["own"]


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:n]) for n in range(1, len(parts))]
