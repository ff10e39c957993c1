"""What every page shares: headers, error pages, the session, the user, flash messages.

Extend `BaseHandler` for pages, `PlainHandler` for answers that need no session.
"""

from __future__ import annotations

import logging
import math
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tornado.httputil import HTTPServerRequest
from tornado.web import HTTPError, RequestHandler, StaticFileHandler

from .. import logs
from ..accounts import username_key
from ..sessions import Message, NotificationMixin, Owner, SessionMixin
from ..throttle import Attempt, TooManyFailures

if TYPE_CHECKING:
    from ..app import App

log = logging.getLogger(__name__)

# No 'unsafe-inline': should a page ever fail to escape what somebody wrote, the browser still runs
# none of it.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'; object-src 'none'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
# Two years. Add "; includeSubDomains; preload" once everything on your domain speaks HTTPS.
STRICT_TRANSPORT_SECURITY = "max-age=63072000"

ERROR_PAGES = {
    400: ("That request made no sense", "Something in it was malformed. Go back and try again."),
    403: (
        "You may not do that",
        "You are not logged in, or the request came from another site. Open the page again.",
    ),
    404: ("There is no such page", "The address may be mistyped, or the page is gone."),
    405: ("Not like that", "This address exists, but it cannot be used in this way."),
    409: (
        "This page is out of date",
        "You have logged in or out in another tab since. Nothing was saved; open the page again.",
    ),
    413: ("That was too much", "Send less at once."),
    429: ("Please slow down", "There were too many failed attempts. Wait {wait}, then try again."),
    500: (
        "Something went wrong",
        "It is not your fault, and it has been noted. Try again in a moment.",
    ),
    503: (
        "One moment, please",
        "A part of the site does not answer. If you sent something, look whether it has arrived "
        "before you send it again.",
    ),
}


@dataclass(frozen=True)
class CurrentUser:
    """Who is logged in, as the session knows it."""

    id: str
    username: str


class _Common(RequestHandler):
    """Security headers, request ids and error pages, for every answer: pages, files and errors
    alike.
    """

    application: App
    request_id = "-"

    def __init__(self, application: App, request: HTTPServerRequest, **kwargs: Any) -> None:
        # Set here and not in prepare, which is too late for a request that is refused before it.
        self.request_id = secrets.token_hex(8)
        logs.request_id.set(self.request_id)
        application.in_flight.add(self)
        super().__init__(application, request, **kwargs)

    def set_default_headers(self) -> None:
        for name, value in SECURITY_HEADERS.items():
            self.set_header(name, value)
        if self.settings["secure"]:
            self.set_header("Strict-Transport-Security", STRICT_TRANSPORT_SECURITY)
        self.set_header("X-Request-ID", self.request_id)
        self.clear_header("Server")
        if self.application.draining:
            self.set_header("Connection", "close")

    def on_finish(self) -> None:
        super().on_finish()
        self.application.in_flight.discard(self)

    def get_template_namespace(self) -> dict[str, Any]:
        return {
            **super().get_template_namespace(),
            "app_title": self.settings["app_title"],
            "messages": [],
        }

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Say in words what happened. The session is left alone: it may be the very thing that
        failed.
        """
        if status_code == 500 and self.settings["serve_traceback"]:
            super().write_error(status_code, **kwargs)
            return
        error = kwargs.get("exc_info", (None, None, None))[1]
        retry_after_s = getattr(error, "retry_after_s", None)
        if retry_after_s is not None:
            self.set_header("Retry-After", str(retry_after_s))
        if status_code == 405:
            self.set_header("Allow", ", ".join(self._allowed_methods()))
        self.set_header("Cache-Control", "no-store")
        # Otherwise Tornado asks get_current_user when it renders, and that asks the session.
        self.current_user = None
        title, words = ERROR_PAGES.get(status_code, (self._reason, "Go back and try again."))
        words = words.format(wait=_in_words(retry_after_s))
        self.render(
            "error.html", status=status_code, title=title, words=words, request_id=self.request_id
        )

    def _allowed_methods(self) -> list[str]:
        # Tornado's own get, post, ... are those that answer 405.
        methods = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
        return [
            method
            for method in methods
            if getattr(type(self), method.lower()) is not getattr(RequestHandler, method.lower())
        ]


class PlainHandler(_Common):
    """Base of answers without a session."""


class StaticHandler(_Common, StaticFileHandler):
    """Files of static/, with the security headers."""


class NotFoundHandler(PlainHandler):
    """Every address that no route matches."""

    def prepare(self) -> None:
        raise HTTPError(404)


class BaseHandler(SessionMixin, NotificationMixin, _Common):
    """Base of the app's pages: a session, flash messages, and the user who is logged in.

    A page that has its own `prepare` begins it with `await super().prepare()`.
    """

    async def prepare(self) -> None:
        await super().prepare()
        if self.user is not None:
            # What a logged-in user sees is kept by no cache: after logout, the back button finds
            # nothing.
            self.set_header("Cache-Control", "no-store")

    def get_current_user(self) -> CurrentUser | None:
        """What `self.current_user`, @authenticated and the templates go by."""
        user_id = self.session.get("user_id")
        return CurrentUser(user_id, self.session["username"]) if user_id is not None else None

    @property
    def user(self) -> CurrentUser | None:
        """`self.current_user`, with its type."""
        user: CurrentUser | None = self.current_user
        return user

    @property
    def own_sessions(self) -> Owner:
        """The sessions of the user, on pages that are @authenticated."""
        return Owner(self.application.store, self.member.id)

    @property
    def member(self) -> CurrentUser:
        """The user, on pages that are @authenticated."""
        if self.user is None:
            raise HTTPError(403)
        return self.user

    def flash(self, text: str, category: str = "info") -> None:
        """Show `text` once, on the next page that is rendered. Categories with a colour: info,
        success, error.
        """
        self.notifications.add(text, category)

    async def render_page(
        self, template: str, *, notice: Message | None = None, **values: Any
    ) -> None:
        """Answer with a template. It gets `values`, the waiting flash messages, and `notice` as one
        more of them.
        """
        messages = await self.notifications.take()
        if notice is not None:
            messages = [*messages, notice]
        self.render(template, messages=messages, **values)

    async def attempt(self, username: str) -> Attempt:
        """Count an attempt at this account's password, as failed until it is forgiven. Raises
        TooManyFailures.
        """
        try:
            return await self.application.throttle.attempt(
                self.request.remote_ip or "", username_key(username)
            )
        except TooManyFailures as refused:
            self.log_event(f"throttled, too many failures for one {refused.limit.kind}")
            raise

    def log_event(self, what: str) -> None:
        """Log what matters to security, as the sessions log theirs. `what` is your own words: nothing
        from a form, as people type passwords into the wrong box.
        """
        log.warning(
            "session %s: %s request=%s address=%s",
            self.session.alias,
            what,
            self.request_id,
            self.request.remote_ip,
        )

    def see_other(self, path: str) -> None:
        """End a POST: the browser goes on with a GET, so that a reload does not send the form
        again.
        """
        self.redirect(path, status=303)

    def field(self, name: str) -> str:
        """A field of the form as it was typed, control characters and spaces included; "" where
        there is none.

        Tornado's get_body_argument strips, which would change passwords.
        """
        values = self.request.body_arguments.get(name)
        return self.decode_argument(values[-1], name=name) if values else ""


def _in_words(seconds: int | None) -> str:
    """A waiting time as people say it.

    >>> _in_words(42), _in_words(61), _in_words(1)
    ('42 seconds', '2 minutes', '1 second')
    """
    if seconds is None:
        return "a moment"
    if seconds > 60:
        return f"{math.ceil(seconds / 60)} minutes"
    return "1 second" if seconds == 1 else f"{seconds} seconds"
