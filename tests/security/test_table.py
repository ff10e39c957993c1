"""The tables of both READMEs are true: each statement has a test, where the link says."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from ..conftest import TEMPLATE

ROW = re.compile(r"^\| ([0-9, ]+) \| .* \| (\[.*\)) \|$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)#]+)\)")


def rows(readme: Path) -> list[tuple[list[str], list[Path]]]:
    """The numbers and the linked files of each row."""
    return [
        (
            numbers.split(", "),
            [readme.parent / unquote(link) for link in LINK.findall(links)],
        )
        for numbers, links in ROW.findall(readme.read_text())
    ]


def named(path: Path, number: str) -> list[str]:
    return re.findall(rf"^(?:async )?def (test_{number}_\w+)", path.read_text(), re.MULTILINE)


def check(readme: Path) -> list[str]:
    """Follow every link; returns the numbers."""
    for numbers, paths in rows(readme):
        for number in numbers:
            assert any(named(path, number) for path in paths), f"{number}: no such test"
        for path in paths:
            assert any(named(path, number) for number in numbers), f"{numbers}: not in {path}"
    return [number for numbers, _ in rows(readme) for number in numbers]


def test_all_34_statements_are_proved_where_the_readme_says() -> None:
    assert check(TEMPLATE / "README.md") == [f"{number:02}" for number in range(1, 35)]


def test_the_generated_table_is_true_of_a_bake(project: Path) -> None:
    numbers = check(project / "README.md")
    # Two statements take a real server's dump and 100,000 ids: the template's suite has them.
    assert sorted(numbers) == [f"{n:02}" for n in range(1, 35) if n not in (2, 27)]
