"""The examples of README.md and docs/, run as they stand: the pages are the only copy."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from types import ModuleType

from {{cookiecutter.project_slug}}.app import App

ROOT = Path(__file__).parents[2]
PACKAGE = "{{cookiecutter.project_slug}}"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def _examples() -> dict[str, str]:
    """Return every Python block, named by its page and the first name it defines."""
    found = {}
    for page in PAGES:
        for block in re.findall(
            r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
        ):
            names = re.findall(r"^(?:class|(?:async )?def) (\w+)", block, re.MULTILINE)
            # Else it is lines of a class, such as a column.
            name = names[0] if names else re.findall(r"\w+", block)[0]
            assert name not in found, f"two examples begin with {name}"
            found[name] = block
    return found


EXAMPLES = _examples()


def run(name: str) -> ModuleType:
    """Run an example as a module of handlers/."""
    module = ModuleType(f"{PACKAGE}.handlers.{name.lower()}")
    module.__package__ = f"{PACKAGE}.handlers"
    exec(compile(EXAMPLES[name], name, "exec"), vars(module))
    return module


def add(app: App, name: str) -> ModuleType:
    """Add the routes of an example to the app; returns its module."""
    module = run(name)
    app.add_handlers(".*", module.ROUTES)
    return module


def text_of(page: str, file: str) -> str:
    """Return the block behind the words that name `file` on a page: a template, a script."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    found = re.search(
        rf"{re.escape(file)}(?:(?!^```).)*^```\w+\n(.*?)^```$", text, re.DOTALL | re.MULTILINE
    )
    assert found is not None, f"{page} shows no {file}"
    return found[1]


def add_template(app: App, page: str, name: str, folder: Path) -> None:
    """Add a template of a page to those of the app, in a copy of them in `folder`."""
    shutil.copytree(ROOT / PACKAGE / "templates", folder, dirs_exist_ok=True)
    (folder / name).write_text(text_of(page, f"templates/{name}"), encoding="utf-8")
    app.settings["template_path"] = str(folder)
