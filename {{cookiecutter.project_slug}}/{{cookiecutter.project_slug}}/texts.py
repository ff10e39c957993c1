"""What people read, in their language.

    raise PasswordRefused(_("Use at least {count} characters.", count=8))
    self.flash(_("Your note is saved."), "success")

English is the language of the code. To have others, write translations/<language>.csv: see
docs/recipes.md. Without such a file `_` costs nothing but its two characters; they are what a
translator's tools look for.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from string import Formatter

import tornado.locale
from tornado.locale import Locale

from .sessions import ConfigurationError

encoding = "utf-8-sig"  # UTF-8, also with the mark that some programs put in front
folder = Path(__file__).parent / "translations"

_spoken: ContextVar[Locale | None] = ContextVar("locale", default=None)


def load() -> None:
    """Load the languages that there are. The app calls it at its start. Raises ConfigurationError
    for a file that would fail, or be passed over, when a page is shown.
    """
    tornado.locale.set_default_locale("en")
    if folder.is_dir():
        if faults := [fault for file in sorted(folder.glob("*.csv")) for fault in _faults(file)]:
            raise ConfigurationError(faults)
        tornado.locale.load_translations(str(folder), encoding)


def speak(locale: Locale) -> None:
    """Answer in this language from here on. handlers/plain.py calls it for each request."""
    _spoken.set(locale)


def find(code: str | None) -> Locale | None:
    """Return the language with this code; None if it is not one of ours."""
    if code is None or code not in tornado.locale.get_supported_locales():
        return None
    return tornado.locale.get(code)


def _(text: str, plural: str | None = None, count: int | None = None, **values: object) -> str:
    """Return `text` in the language of who is served, with `values` in the place of {names}.

    `plural` is taken where `count` is not one.
    """
    locale = _spoken.get() or tornado.locale.get()
    found = locale.translate(text, plural, count) if plural else locale.translate(text)
    return found.format(count=count, **values) if values or count is not None else found


def N_(text: str) -> str:
    """Mark a text that is not shown yet: `_` translates it when it is."""
    return text


def _faults(file: Path) -> Iterator[str]:
    """What is wrong with a file of translations, one line for each fault."""
    name = f"{folder.name}/{file.name}"
    if not re.fullmatch("[a-z]+(_[A-Z]+)?", file.stem):
        yield f"{name} is not named after a language: write for example de.csv or pt_BR.csv"
        return
    data = file.read_bytes()
    try:
        rows = csv.reader(io.StringIO(data.decode(encoding), newline=""))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        yield f"{name}, line {line} is not UTF-8: save the file in that encoding"
        return
    for row in rows:
        where = f"{name}, line {rows.line_num}"
        if len(row) == 1:
            yield f'{where} has no translation: write for example "Log in","Anmelden"'
        if len(row) > 2 and row[2].strip() not in ("", "singular", "plural", "unknown"):
            yield f"{where} ends with {row[2]!r}: write singular, plural or nothing there"
        if len(row) > 1 and (wrong := _wrong_placeholder(*row[:2])):
            yield f"{where} has {wrong}, and the English text has not: write what stands there"


def _wrong_placeholder(text: str, translation: str) -> str | None:
    # It would be a KeyError, after what the page is about was done.
    try:
        allowed = {"count", *_placeholders(text)}
    except ValueError:  # a text that is shown as it stands
        return None
    try:
        wrong = set(_placeholders(translation)) - allowed
    except ValueError:
        return "a brace without its other half"
    return "{" + min(wrong) + "}" if wrong else None


def _placeholders(text: str) -> list[str]:
    """The names in braces, with the format if there is one."""
    parts = Formatter().parse(text)
    return [f"{name}:{form}" if form else name for _, name, form, _ in parts if name is not None]
