"""Refuse answers that cannot work, before a file is written.

Cookiecutter renders this file with the answers and runs it in the new, empty folder. When it fails,
cookiecutter removes the folder again.
"""

import json
import keyword
import re
import sys
import unicodedata

# The answers as JSON in pure ASCII: no value can end the raw string below, whatever quotes,
# backslashes or braces it has.
ANSWERS = dict(json.loads(r"""{{ cookiecutter.items() | list | tojson }}"""))

# A store key is "<slug>:<kind>:<64 hex digits>", and Memcached allows 250 bytes.
MAX_SLUG_LENGTH = 100

# Packages that the project imports or that its tools bring: a package of the same name hides them.
DEPENDENCIES = {
    "aiosqlite",
    "argon2",
    "asyncpg",
    "cffi",
    "flit_core",
    "greenlet",
    "hiredis",
    "hypothesis",
    "iniconfig",
    "memcache",
    "mirakuru",
    "msgspec",
    "mypy",
    "packaging",
    "pip",
    "pkg_resources",
    "playwright",
    "pluggy",
    "psutil",
    "pygments",
    "pytest",
    "pytest_tornado",
    "redis",
    "ruff",
    "setuptools",
    "sortedcontainers",
    "sqlalchemy",
    "tornado",
    "typing_extensions",
}

# Folders that the project itself has, or that its .gitignore names.
OWN_NAMES = {"build", "dist", "htmlcov", "test", "tests", "venv"}

# Line ends, and the marks that make source code read differently from what runs
# (https://trojansource.codes). A line end would break every comment and string it lands in.
LINE_ENDS = {"Zl", "Zp"}
DIRECTION_MARKS = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def main() -> int:
    faults = [*_faults_of_text(), *_faults_of_slug(ANSWERS["project_slug"])]
    for fault in faults:
        print(f"Cannot create the project: {fault}", file=sys.stderr)
    return 1 if faults else 0


def _faults_of_text() -> list[str]:
    """One line for each answer that is blank or has a character that no file can carry."""
    faults = []
    for question, answer in ANSWERS.items():
        if question.startswith("_") or question == "project_slug":
            continue
        if not answer.strip():
            faults.append(f"{question} is empty, and the files need one; write any text.")
        elif character := _forbidden(answer):
            faults.append(
                f"{question} {json.dumps(answer)} contains the invisible character "
                f"U+{ord(character):04X}, which would break source files; write it without."
            )
    return faults


def _forbidden(answer: str) -> str | None:
    for character in answer:
        category = unicodedata.category(character)
        if category == "Cc" or category in LINE_ENDS or character in DIRECTION_MARKS:
            return character
    return None


def _faults_of_slug(slug: str) -> list[str]:
    """At most one line: why `slug` cannot be the name of the package, and what could be."""
    why = None
    if not re.fullmatch(r"[a-z]([a-z0-9_]*[a-z0-9])?", slug):
        why = (
            "is no package name; it takes lower-case letters a-z, digits and underscores, "
            "with a letter first and no underscore last"
        )
    elif len(slug) > MAX_SLUG_LENGTH:
        why = f"has {len(slug)} characters; {MAX_SLUG_LENGTH} are the most"
    elif keyword.iskeyword(slug):
        why = "is a keyword of Python and cannot be imported"
    elif slug in sys.stdlib_module_names:
        why = "is a module of Python's standard library, which the package would hide"
    elif slug in DEPENDENCIES:
        why = "is a package that the project depends on, which it would hide"
    elif slug in OWN_NAMES:
        why = "is the name of a folder with another meaning in the project"
    if why is None:
        return []
    return [f"project_slug {json.dumps(slug)} {why}; write for example {_suggestion(slug)}."]


def _suggestion(slug: str) -> str:
    ascii_only = unicodedata.normalize("NFKD", slug).encode("ascii", "ignore").decode()
    words = re.sub(r"[^a-z0-9]+", "_", ascii_only.lower()).strip("_")[:40].strip("_")
    if not words:
        return "my_app"
    if not words[0].isalpha():
        return f"app_{words}"
    return words if words != slug else f"{words}_app"


if __name__ == "__main__":
    sys.exit(main())
