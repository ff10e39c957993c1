"""The template rendered once as the package `promised`, with both engines kept.

Importing this module renders it and puts it on `sys.path`; `conftest.py` does so before any test
is collected. Processes of the app find it by `ENVIRONMENT`.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

from cookiecutter.main import cookiecutter  # type: ignore[import-untyped]  # it has no types

TEMPLATE: Final = Path(__file__).parents[2]
COOKIE_SECRET: Final = "only-for-tests-" + "0123456789abcdef" * 2


def _render() -> Path:
    home = Path(tempfile.mkdtemp(prefix="promises-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    config = home / "cookiecutter.yaml"
    config.write_text(
        json.dumps({"replay_dir": str(home / "replay"), "cookiecutters_dir": str(home / "none")})
    )
    # Without the hooks the files and lines of both engines stay: one package serves all tests.
    # What tools leave behind in a working copy is not part of the template.
    template = home / "template"
    shutil.copytree(
        TEMPLATE / "{{cookiecutter.project_slug}}",
        template / "{{cookiecutter.project_slug}}",
        ignore=shutil.ignore_patterns("__pycache__", "*_cache", ".venv", "*.db"),
    )
    for name in (
        "cookiecutter.json",
        "files_by_answer.json",
        *map(str, TEMPLATE.glob("needs_*.py")),
    ):
        shutil.copy(TEMPLATE / name, template)
    project = cookiecutter(
        str(template),
        no_input=True,
        accept_hooks=False,
        config_file=str(config),
        output_dir=str(home),
        extra_context={"project_slug": "promised"},
    )
    _finish(Path(project))
    return Path(project)


def _finish(project: Path) -> None:
    """Drop the lines by which a project without hooks says that it is unfinished."""
    table = json.loads((TEMPLATE / "files_by_answer.json").read_text())
    for path in table["files_with_marked_lines"]:
        file = project / path.replace("{{cookiecutter.project_slug}}", project.name)
        lines = file.read_text().splitlines(keepends=True)
        file.write_text("".join(line for line in lines if "# without hooks" not in line))


PROJECT: Final = _render()
ENVIRONMENT: Final = {
    **{name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"},
    "PYTHONPATH": str(PROJECT),
    "COOKIE_SECRET": COOKIE_SECRET,
}


@cache
def empty_database() -> Path:
    """An SQLite file with the app's tables and no rows, to be copied."""
    file = PROJECT / "empty.db"
    subprocess.run(
        [sys.executable, "-m", "promised", "migrate"],
        env={**ENVIRONMENT, "DATABASE_URL": f"sqlite+aiosqlite:///{file}"},
        cwd=PROJECT,
        capture_output=True,
        check=True,
    )
    return file


# At the end: the project has a package `tests` too, which must not stand before ours.
sys.path.append(str(PROJECT))
