"""The Python of the documents: blocks between ```python and ```. Those of ```py are pycket's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..conftest import TEMPLATE

FENCE = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def documents() -> list[Path]:
    """Return every page of the template, without those of the generated project."""
    return sorted([*TEMPLATE.glob("*.md"), *(TEMPLATE / "docs").glob("*.md")])


def blocks(page: Path, language: str = "python") -> list[str]:
    """Return the blocks of a language, in order."""
    return [code for found, code in FENCE.findall(page.read_text()) if found == language]


def run(code: str, names: dict[str, Any], page: Path) -> dict[str, Any]:
    """Run a block with `names`, and return them with what it has defined."""
    exec(compile(code, str(page), "exec"), names)  # noqa: S102 - it is our own
    return names
