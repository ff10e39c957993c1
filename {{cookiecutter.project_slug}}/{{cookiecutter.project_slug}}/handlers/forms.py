"""What people typed is not lost with their session, or with a page that failed.

rights.py and base.py use it: a form that arrives without a session is kept for after the login, and
one that fails stands on the error page.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlsplit

from tornado.httputil import HTTPServerRequest

from .paths import own_path

max_kept_characters = 20_000  # sessions are small; what is longer stands on an error page

# Fields that nobody typed, or that must not be kept anywhere. Add the names of yours.
_LEFT_OUT = re.compile(r"pass|pwd|secret|token|^(next|handle)$", re.IGNORECASE)
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


def is_form(request: HTTPServerRequest) -> bool:
    """Whether a browser has sent it for a person, rather than a script that wants a status."""
    return request.method == "POST" and request.headers.get("Content-Type", "").startswith(_FORMS)


def typed(request: HTTPServerRequest) -> dict[str, str]:
    """Return what somebody has written into the form that was sent, by field; never a password."""
    return {
        name: text
        for name, values in request.body_arguments.items()
        if not _LEFT_OUT.search(name) and (text := values[-1].decode(errors="replace"))
    }


def page_of(request: HTTPServerRequest, is_page: Callable[[str, HTTPServerRequest], bool]) -> str:
    """Return the address of the page whose form was sent; `is_page` is `App.has_page`.

    The browser says which; but some do not, and a form that came back with an error stands at an
    address that takes forms alone. Then it is the nearest page above.
    """
    try:
        said = urlsplit(request.headers.get("Referer", ""))
        query = f"?{said.query}" if said.query else ""
        page = own_path((said.path or request.path) + query)
    except ValueError:
        page = "/"
    while page != "/" and not is_page(page, request):
        page = page.partition("?")[0].rpartition("/")[0] or "/"
    return page
