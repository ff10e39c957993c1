"""Who may open a page: decorators for the methods of handlers, in place of @authenticated.

    class Orders(BaseHandler):
        @require("admin")
        async def get(self) -> None: ...

They go by what the session knows, without a query: `Accounts` tells the user's sessions at once when
a role is taken away.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, TypeVar

import tornado.web
from tornado.web import HTTPError

from ..texts import _
from .base import BaseHandler
from .forms import is_form

Method = TypeVar("Method", bound=Callable[..., Awaitable[None] | None])


def authenticated(method: Method) -> Method:
    """Only for who is logged in. Others go to the login and come back.

    So do those whose session was over when they sent a form. What they had typed, but no password,
    is on the page with the form when they are back: see `BaseHandler.kept`.
    """
    known = tornado.web.authenticated(method)

    @wraps(method)
    def checked(self: BaseHandler, *args: Any, **kwargs: Any) -> Awaitable[None] | None:
        if self.user is None and is_form(self.request):
            self.log_in_first()
            return None
        return known(self, *args, **kwargs)

    return checked  # type: ignore[return-value]


def require(*roles: str) -> Callable[[Method], Method]:
    """Only for who is logged in and has one of these roles; others get a 403."""

    def decorate(method: Method) -> Method:
        @wraps(method)
        def checked(self: BaseHandler, *args: Any, **kwargs: Any) -> Awaitable[None] | None:
            if self.member.role not in roles:
                raise HTTPError(403, "the role is missing")
            return method(self, *args, **kwargs)

        return authenticated(checked)  # type: ignore[return-value]

    return decorate


def confirmed(method: Method) -> Method:
    """Only for who is logged in and has confirmed an address; others are sent to do so."""

    @wraps(method)
    def checked(self: BaseHandler, *args: Any, **kwargs: Any) -> Awaitable[None] | None:
        if self.member.confirmed:
            return method(self, *args, **kwargs)
        if self.request.method not in ("GET", "HEAD"):
            raise HTTPError(403, "the address is not confirmed")
        self.flash(_("Confirm your e-mail address first."))
        self.redirect("/account")
        return None

    return authenticated(checked)  # type: ignore[return-value]
