"""The tables of statements are true: each has a test where the link says, and no test lacks a row."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from ..conftest import TEMPLATE

ROW = re.compile(r"^\| ([0-9, ]+) \| .* \| (\[.*\)) \|$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)#]+)\)")
TEST = re.compile(r"^(?:async )?def test_(\d\d)_\w+", re.MULTILINE)

GENERATED = TEMPLATE / "{{cookiecutter.project_slug}}" / "tests"


def rows(page: Path) -> list[tuple[list[str], list[Path]]]:
    """Return the numbers and the linked files of each row."""
    return [
        (numbers.split(", "), [page.parent / unquote(link) for link in LINK.findall(links)])
        for numbers, links in ROW.findall(page.read_text())
    ]


def numbers_in(path: Path) -> set[str]:
    """Return the numbers of the statements that a file has tests for."""
    return set(TEST.findall(path.read_text()))


def numbers_below(*folders: Path) -> list[str]:
    """Return the numbers of all tests below `folders`, in order."""
    files = [path for folder in folders for path in folder.rglob("test_*.py")]
    return sorted(set().union(*map(numbers_in, files)))


def check(page: Path) -> list[str]:
    """Follow every link, and return the numbers in the order of the page."""
    for numbers, paths in rows(page):
        for number in numbers:
            assert any(number in numbers_in(path) for path in paths), f"{number}: no such test"
        for path in paths:
            assert numbers_in(path) & set(numbers), f"{numbers}: none of them in {path}"
    return [number for numbers, _ in rows(page) for number in numbers]


def test_the_table_lists_the_statements_that_have_a_test_and_no_other() -> None:
    numbers = check(TEMPLATE / "docs" / "security.md")
    assert numbers == numbers_below(
        *(TEMPLATE / "tests" / folder for folder in ("security", "promises", "production")),
        GENERATED,
    )
    assert numbers[:34] == [f"{number:02}" for number in range(1, 35)]


def test_the_generated_table_lists_the_statements_that_the_project_tests(project: Path) -> None:
    assert sorted(check(project / "README.md")) == numbers_below(project / "tests")
