"""What people typed is not lost with their session, or with a page that failed.

rights.py and base.py use it: a form that arrives without a session is kept for after the login, and
one that fails stands on the error page.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tornado.httputil import HTTPServerRequest

from .paths import own_path

if TYPE_CHECKING:
    from .base import BaseHandler

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


def page_of(handler: BaseHandler) -> str:
    """Return the address of the page whose form was sent to `handler`.

    The browser says which; but some do not, and a form that came back with an error stands at an
    address that takes forms alone. Then it is the nearest page above.
    """
    try:
        said = urlsplit(handler.request.headers.get("Referer", ""))
        page = own_path(
            (said.path or handler.request.path) + (f"?{said.query}" if said.query else "")
        )
    except ValueError:
        page = "/"
    while page != "/" and not handler.application.has_page(page, handler.request):
        page = page.partition("?")[0].rpartition("/")[0] or "/"
    return page
