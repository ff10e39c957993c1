"""Refuse answers that cannot work, before anything is created, with one line for each.

cookiecutter.json loads this module as an extension of Jinja and runs `refuse` as soon as the last
question is answered; hooks/ use the other filters. Tools that are too old do not find it, and
report its name: "No module named 'needs_cookiecutter_2_1_or_cruft_2_16'".
https://cookiecutter.readthedocs.io/en/stable/advanced/local_extensions.html

`cruft update` imports this module once, from the old version of the template, and uses it for the
new one as well: do not rename or add filters here (a new module may), and keep lists of files in
files_by_answer.json, which is read each time.
"""

from __future__ import annotations

import json
import keyword
import os
import re
import sys
import unicodedata
from pathlib import Path
from typing import Any

from cookiecutter.exceptions import FailedHookException
from jinja2 import Environment
from jinja2.ext import Extension

PACKAGE = "{{cookiecutter.project_slug}}"

OLDEST_PYTHON = (3, 11)

# Questions that take any text; the others have choices.
TEXTS = ("project_name", "project_slug", "description", "author", "email")

# With a longer one, the formatter would break lines that import something. test_names.py tries it.
MAX_SLUG_LENGTH = 50

# Packages that the project or its tools install: a package of the same name would hide them.
# tests/generation/test_names.py compares this with what is installed.
DEPENDENCIES = {
    "aiosmtplib",
    "aiosqlite",
    "alembic",
    "argon2",
    "ast_serialize",
    "asyncpg",
    "cffi",
    "colorama",
    "dns",
    "dotenv",
    "email_validator",
    "execnet",
    "flit_core",
    "greenlet",
    "hiredis",
    "hypothesis",
    "idna",
    "iniconfig",
    "librt",
    "mako",
    "markupsafe",
    "memcache",
    "mirakuru",
    "msgspec",
    "mypy",
    "mypy_extensions",
    "mypyc",
    "packaging",
    "pathspec",
    "pip",
    "pkg_resources",
    "playwright",
    "pluggy",
    "prometheus_client",
    "psutil",
    "py",
    "pycparser",
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
    "uv",
    "uvloop",
    "xdist",
}

# Modules of the standard library that only some of the supported Pythons have. The last ones are
# examples in C, but ruff sorts an import of such a name among the standard library's.
# fmt: off
NOT_IN_EVERY_PYTHON = {
    "aifc", "annotationlib", "asynchat", "asyncore", "audioop", "cgi", "cgitb", "chunk",
    "compression", "crypt", "distutils", "imghdr", "imp", "lib2to3", "mailcap", "msilib", "nis",
    "nntplib", "ossaudiodev", "pipes", "smtpd", "sndhdr", "spwd", "sunau", "telnetlib", "uu",
    "xdrlib", "xx", "xxlimited", "xxlimited_35", "xxsubtype",
}
# fmt: on

# Files and folders that the project has, or that its tools make, beside the package. In lower
# case: a disk that ignores case takes Makefile and makefile for one.
OWN_NAMES = {
    "build",
    "deploy",
    "dist",
    "dockerfile",
    "docs",
    "htmlcov",
    "license",
    "makefile",
    "migrations",
    "run",
    "test",
    "tests",
    "venv",
}

# Names that Windows keeps for devices: such a folder cannot be checked out there.
DEVICES = {"aux", "con", "nul", "prn"} | {
    f"{port}{n}" for port in ("com", "lpt") for n in range(10)
}

# Line ends, and the marks that make source code read differently from what runs
# (https://trojansource.codes). A line end would break every comment and string it lands in.
LINE_ENDS = {"Zl", "Zp"}
DIRECTION_MARKS = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

JINJA = ("{{", "{%", "{#")


class Answers(Extension):
    """Adds the filters. All but the first are applied to all answers: `{{ cookiecutter | refuse }}`."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        environment.filters["escape_quotes"] = escape_quotes
        environment.filters["refuse"] = refuse
        environment.filters["refuse_in_hook"] = refuse_in_hook
        environment.filters["files_by_answer"] = files_by_answer


def escape_quotes(answer: object) -> str:
    """The answer as it may stand between double quotes in Python and TOML."""
    # What is not text is refused as soon as all questions are answered.
    text = answer if isinstance(answer, str) else ""
    return text.replace("\\", "\\u005c").replace('"', "\\u0022")


def refuse(answers: dict[str, Any]) -> str:
    """End cookiecutter or cruft with one line for each fault; return "" if there is none."""
    # A replay has its answers already, and renders only what is new: the hook sees all of them.
    if any(question in answers for question in TEXTS) and (faults := _faults(answers)):
        raise SystemExit(_refusal(faults))
    return ""


def refuse_in_hook(answers: dict[str, Any]) -> str:
    """The same once the folder exists: cookiecutter has to remove it, and logs a traceback before
    it prints the lines. Adds what only the folder shows, and what an edited replay file has wrong.
    """
    faults = (
        _faults(answers)
        or _faults_of_cruft(answers)
        or [*_faults_of_replay(answers), *_faults_of_folder(answers)]
    )
    if faults:
        raise FailedHookException(_refusal(faults))
    return ""


def files_by_answer(answers: dict[str, Any]) -> dict[str, Any]:
    """files_by_answer.json with the name of the package filled in, and, as "caches", what tools
    have left in the template, for cookiecutter to copy. Hooks alone can ask: while cookiecutter
    renders one, it works in the folder of the template.
    """
    caches = [
        path.relative_to(PACKAGE).as_posix()
        for pattern in ("__pycache__", ".*_cache")
        for cache in Path(PACKAGE).rglob(pattern)
        for path in (cache, *cache.rglob("*"))
    ]
    table = json.loads(Path("files_by_answer.json").read_text(encoding="utf-8")) | {
        "caches": sorted(caches, reverse=True)  # what is in a folder comes before the folder
    }
    named: dict[str, Any] = json.loads(json.dumps(table).replace(PACKAGE, answers["project_slug"]))
    return named


def _refusal(faults: list[str]) -> str:
    return "\n".join(f"Cannot create the project: {fault}" for fault in faults)


def _faults(answers: dict[str, Any]) -> list[str]:
    if sys.version_info < OLDEST_PYTHON:
        found, needed = (".".join(map(str, v[:2])) for v in (sys.version_info, OLDEST_PYTHON))
        return [
            f"this is Python {found}, and the project needs {needed} or newer; "
            + f"write for example pipx run --python python{needed} cookiecutter."
        ]
    if "{{" in answers["__license_expression"]:
        return ["this cookiecutter is older than 2.1; write for example pipx run cookiecutter."]
    faults = []
    for question in TEXTS:
        # cookiecutter adds an answer that is a mapping only after all others.
        found = json.dumps(answers[question]) if question in answers else "a mapping"
        if not isinstance(answers.get(question), str):
            faults.append(f"{question} is {found}, which is no text; write it in quotes.")
    return faults or [*_faults_of_text(answers), *_faults_of_slug(answers["project_slug"])]


def _faults_of_text(answers: dict[str, Any]) -> list[str]:
    """One line for each answer that is blank or has characters that no file can carry."""
    faults = []
    for question in TEXTS:
        answer = answers[question]
        if question == "project_slug":
            continue
        if not answer.strip():
            faults.append(f"{question} is empty, and the files need one; write any text.")
        elif found := _forbidden(answer):
            faults.append(f"{question} {json.dumps(answer)} contains {found}; write it without.")
    return faults


def _forbidden(answer: str) -> str | None:
    for mark in JINJA:
        if mark in answer:
            return f'"{mark}", which cruft would run as a template at each update'
    for character in answer:
        category = unicodedata.category(character)
        if category == "Cs":  # how Python reads a byte that it cannot decode
            encoding = sys.getfilesystemencoding().upper()
            byte = ord(character) & 0xFF
            return f"the byte 0x{byte:02X}, which is not {encoding}, the encoding of this terminal"
        if category == "Cc" or category in LINE_ENDS or character in DIRECTION_MARKS:
            return f"the invisible character U+{ord(character):04X}, which would break source files"
    return None


def _faults_of_slug(slug: str) -> list[str]:
    """At most one line: why `slug` cannot be the name of the package, and what could be."""
    why = why_not(slug)
    if why is None:
        return []
    return [f"project_slug {json.dumps(slug)} {why}; write for example {_suggestion(slug)}."]


def why_not(slug: str) -> str | None:
    """Why `slug` cannot be the name of the package and of the folder; None: it can."""
    if not re.fullmatch(r"[a-z]([a-z0-9_]*[a-z0-9])?", slug):
        return (
            "is no package name; it takes lower-case letters a-z, digits and underscores, "
            "with a letter first and no underscore last"
        )
    if len(slug) > MAX_SLUG_LENGTH:
        return f"has {len(slug)} characters; {MAX_SLUG_LENGTH} are the most"
    if keyword.iskeyword(slug):
        return "is a keyword of Python and cannot be imported"
    if slug in sys.stdlib_module_names or slug in NOT_IN_EVERY_PYTHON:
        return "is a module of Python's standard library, which the package would hide"
    if slug in DEPENDENCIES:
        return "is a package that the project depends on, which it would hide"
    if slug in OWN_NAMES:
        return "is the name of a file or folder with another meaning in the project"
    if slug in DEVICES:
        return "is the name of a device on Windows, where no folder can have it"
    return None


def _suggestion(slug: str) -> str:
    ascii_only = unicodedata.normalize("NFKD", slug).encode("ascii", "ignore").decode()
    words = re.sub(r"[^a-z0-9]+", "_", ascii_only.lower()).strip("_")[:40].strip("_")
    if not words:
        return "my_app"
    if not words[0].isalpha():
        words = f"app_{words}"
    return words if why_not(words) is None else f"{words}_app"


def _faults_of_cruft(answers: dict[str, Any]) -> list[str]:
    # Cookiecutter sets the one, and a cruft that can update the project later the other.
    if "_output_dir" in answers or "_commit" in answers:
        return []
    return ["this cruft is older than 2.16; write for example pipx run cruft."]


def _faults_of_replay(answers: dict[str, Any]) -> list[str]:
    """A replay file has choices and derived answers as they were, whatever was edited beside."""
    questions = json.loads(Path("cookiecutter.json").read_text(encoding="utf-8"))
    faults = [
        f"{question} {json.dumps(answers[question])} is no choice; write one of "
        f"{', '.join(choices)}."
        for question, choices in questions.items()
        if isinstance(choices, list) and not question.startswith("_")
        if answers[question] not in choices
    ]
    derived = {
        name: escape_quotes(answers[name.removeprefix("__")])
        for name in ("__project_name", "__description", "__author", "__email")
    }
    derived["__license_expression"] = (
        "LicenseRef-Proprietary" if answers["license"] == "none" else answers["license"]
    )
    faults += [
        f"{name} is {json.dumps(answers[name])}, which does not follow from the other answers; "
        f"write {json.dumps(answer)} in the replay file."
        for name, answer in derived.items()
        if answers[name] != answer
    ]
    return faults


def _faults_of_folder(answers: dict[str, Any]) -> list[str]:
    """With --overwrite-if-exists: files of an answer that was not chosen would be overwritten and
    then removed. A project of these answers has none, so somebody else wrote them.
    """
    if "_output_dir" not in answers:  # cruft: the folder is a new one
        return []
    project = Path(answers["_output_dir"], answers["project_slug"])
    return [
        f"{path} is there already, and belongs to {question}={answer}; move it away, "
        f"or answer {question}={answer}."
        for question, answer, path in _other_files(answers)
        if os.path.lexists(project / path)
    ]


def _other_files(answers: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(question, answer, path) of each file that belongs to answers that were not chosen alone."""
    return [
        (question, answer, path)
        for question, paths_by_answer in files_by_answer(answers)["files"].items()
        for answer, paths in paths_by_answer.items()
        if answer != answers[question]
        for path in paths
        if path not in paths_by_answer.get(answers[question], [])
    ]
