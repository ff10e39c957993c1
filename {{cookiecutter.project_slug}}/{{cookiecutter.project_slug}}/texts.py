"""What people read, in their language.

    raise PasswordRefused(_("Use at least {count} characters.", count=8))
    self.flash(_("Your note is saved."), "success")

English is the language of the code. To have others, write translations/<language>.csv: see
docs/recipes.md. Without such a file `_` costs nothing but its two characters; they are what a
translator's tools look for.
"""

from __future__ import annotations

from contextvars import ContextVar
from pathlib import Path

import tornado.locale
from tornado.locale import Locale

folder = Path(__file__).parent / "translations"

_spoken: ContextVar[Locale | None] = ContextVar("locale", default=None)


def load() -> None:
    """Load the languages that there are. The app calls it at its start."""
    tornado.locale.set_default_locale("en")
    if folder.is_dir():
        tornado.locale.load_translations(str(folder))


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
