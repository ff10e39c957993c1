"""Which addresses may be gone on to."""

from __future__ import annotations

import unicodedata
from urllib.parse import unquote

max_next_characters = 2000


def own_path(path: str) -> str:
    """Return `path` if it is a page of this app, else "/".

    It comes from the address bar, so anybody can choose it: after a login that people trust, it
    must not lead them to another site. Browsers take //host, /\\host and "/<tab>/host" for another
    host, and proxies decode %2f, so all spellings are refused.
    """
    if len(path) > max_next_characters:
        return "/"
    plain = path.partition("?")[0].partition("#")[0]
    for _ in range(3):  # encoded twice is still seen
        plain = unquote(plain)
    elsewhere = not path.startswith("/") or "//" in plain or "\\" in path + plain
    # Browsers leave out tabs and line ends wherever they are.
    tricky = any(unicodedata.category(c)[0] in "CZ" for c in path + plain.replace(" ", ""))
    return "/" if elsewhere or tricky else path
