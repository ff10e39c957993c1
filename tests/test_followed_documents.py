"""Follow the examples in a project's documents word for word: its suite must still pass."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Bake, run
from .test_changed_settings import suite

pytestmark = pytest.mark.slow


def _block(project: Path, page: str, begin: str) -> str:
    """Return the first block of a page that has `begin` in it, or stands behind it."""
    text = (project / "docs" / page).read_text()
    blocks = re.findall(r"^```\w+\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    inside = [block for block in blocks if begin in block]
    behind = re.search(rf"{re.escape(begin)}.*?^```\w+\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return inside[0] if inside else behind[1] if behind else pytest.fail(f"no {begin} on {page}")


def _insert(project: Path, file: str, after: str, text: str) -> None:
    path = project / project.name / file
    before, found, rest = path.read_text().partition(after)
    assert found, after
    path.write_text(before + found + text + rest)


def _add_page(project: Path, name: str, code: str) -> None:
    (project / project.name / f"handlers/{name}.py").write_text(code)
    _insert(project, "handlers/__init__.py", "ROUTES = [\n", f"    *{name}.ROUTES,\n")
    path = project / project.name / "handlers/__init__.py"
    first, names = re.findall(r"^(from \. import )(.*)$", path.read_text(), re.MULTILINE)[0]
    ordered = ", ".join(sorted([*names.split(", "), name]))
    path.write_text(path.read_text().replace(first + names, first + ordered))


def _make_migration(project: Path, name: str) -> Path:
    env = {"COOKIE_SECRET": 40 * "0123", "PYTHONPATH": str(project)}
    for words in ([project.name, "migrate"], ["alembic", "revision", "--autogenerate", "-m", name]):
        done = run(sys.executable, "-m", *words, cwd=project, env=env)
        assert done.returncode == 0, done.stdout + done.stderr
    (project / "app.db").unlink()
    versions = project / project.name / "migrations/versions"
    return next(path for path in versions.glob("*.py") if not path.name.startswith("000"))


def a_cart(project: Path) -> None:
    _add_page(project, "cart", _block(project, "recipes.md", "class CartHandler"))


def a_table(project: Path) -> None:
    code = _block(project, "database.md", "class Note(")
    (project / project.name / "notes.py").write_text(code)
    after = "from dataclasses import dataclass\n"
    _insert(project, "services.py", after, "\nfrom . import notes  # noqa: F401\n")
    _make_migration(project, "Notes")


def a_column(project: Path) -> None:
    column = _block(project, "database.md", "    language: Mapped[str]")
    _insert(project, "accounts.py", '__tablename__ = "users"\n', column)
    migration = _make_migration(project, "Users have a language")
    head = migration.read_text().partition("def upgrade")[0]
    migration.write_text(head + _block(project, "database.md", "def upgrade"))


def languages(project: Path) -> None:
    _add_page(project, "language", _block(project, "recipes.md", "class LanguageHandler"))
    form = _block(project, "recipes.md", '<form method="post" action="/language">')
    _insert(project, "templates/base.html", "  </main>\n", form)


def languages_with_accounts(project: Path) -> None:
    languages(project)
    blocks = [
        ("accounts.py", '__tablename__ = "users"', "To keep it with the account"),
        ("handlers/language.py", "from .. import texts", "import in `language.py`"),
        *(
            (file, line, f"below `{line}`")
            for file, line in (
                ("handlers/language.py", 'self.session["language"] = language.code'),
                ("handlers/auth.py", 'self.session["user_id"] = user.id'),
            )
        ),
    ]
    for file, after, begin in blocks:
        _insert(project, file, f"{after}\n", _block(project, "recipes.md", begin))
    _make_migration(project, "Users have a language")


def login_with_google(project: Path) -> None:
    _add_page(project, "google", _block(project, "recipes.md", "class GoogleHandler"))
    blocks = [
        ("accounts.py", '__tablename__ = "users"\n', "    google_id: "),
        ("settings.py", "    debug: bool = False\n", "    google_client_id: "),
        ("settings.py", "OPTIONS = (\n", "and to `OPTIONS`"),
    ]
    for file, after, begin in blocks:
        _insert(project, file, after, _block(project, "recipes.md", begin))
    _make_migration(project, "Users from Google")


def addresses_of_everybody(project: Path) -> None:
    path = project / project.name / "accounts.py"
    path.write_text(path.read_text().replace("email_required = False", "email_required = True"))


FOLLOWED: list[tuple[list[Callable[[Path], None]], list[str]]] = [
    # what is done, and the modules of the suite that it could break
    (
        [a_cart, languages, addresses_of_everybody],
        ["account", "emails", "home", "languages", "login", "pages", "recipes", "services"],
    ),
    ([a_table, login_with_google], ["database", "migrations", "recipes", "settings"]),
    ([a_column], ["database", "migrations"]),
    ([languages_with_accounts], ["languages", "login", "migrations"]),
]


@pytest.mark.parametrize(
    ("follow", "names"),
    FOLLOWED,
    ids=[" ".join(each.__name__ for each in follow) for follow, _ in FOLLOWED],
)
def test_a_project_stays_green_that_follows_its_documents(
    bake: Bake, follow: list[Callable[[Path], None]], names: list[str]
) -> None:
    project = bake()
    for each in follow:
        each(project)
    assert "passed" in suite(project, names)
