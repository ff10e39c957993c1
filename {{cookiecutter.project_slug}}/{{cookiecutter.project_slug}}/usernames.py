"""Usernames: which ones are taken, and which two are the same.

accounts.py uses this. To allow other names, change `check_username`.
"""

from __future__ import annotations

import unicodedata

from .texts import _

max_username_characters = 64


class UsernameRefused(ValueError):
    """This cannot be a username; the text says why, to its owner."""


def username_key(username: str) -> str:
    """What makes two usernames the same: compatible forms and case do not count, nor do spaces
    around it.
    """
    if len(username) > 4 * max_username_characters:
        # Nobody's. Normalising takes a time that grows with the square of a row of accents: a form
        # full of them would hold up the event loop for minutes.
        return username
    folded = unicodedata.normalize("NFKC", username).strip().casefold()
    return unicodedata.normalize("NFKC", folded)  # folding can undo normalisation


def check_username(username: str) -> str:
    """Return the username as it is kept and shown. Raises UsernameRefused."""
    if len(username) > 4 * max_username_characters:
        raise UsernameRefused(_("Use at most {count} characters.", count=max_username_characters))
    username = unicodedata.normalize("NFKC", username).strip()
    if not username:
        raise UsernameRefused(_("Choose a username."))
    if max(len(username), len(username_key(username))) > max_username_characters:
        raise UsernameRefused(_("Use at most {count} characters.", count=max_username_characters))
    if "@" in username:
        raise UsernameRefused(_("Use a name without @: it is for addresses, which log in too."))
    categories = [unicodedata.category(c)[0] for c in username]
    if "C" in categories or {*categories} <= {"M", "Z"} or not _INVISIBLE.isdisjoint(username):
        raise UsernameRefused(_("Use letters, digits and signs that can be seen."))
    if any(unicodedata.category(c)[0] == "Z" and c != " " for c in username) or "  " in username:
        raise UsernameRefused(_("Use single spaces between words, and no other blanks."))
    return username


# Code points that show nothing although they are no control or format characters: fillers and
# variation selectors.
_INVISIBLE = frozenset(
    map(
        chr,
        (
            0x034F,
            0x115F,
            0x1160,
            0x17B4,
            0x17B5,
            0x180B,
            0x180C,
            0x180D,
            0x180F,
            0x2800,
            0x3164,
            0xFFA0,
        ),
    )
) | frozenset(map(chr, [*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)]))
