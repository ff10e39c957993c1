"""What every page shares: headers, error pages, the session, the user, flash messages.

Extend `BaseHandler` for pages, `PlainHandler` for answers that need no session.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tornado.httputil import HTTPServerRequest
from tornado.web import HTTPError, RequestHandler, StaticFileHandler

from .. import logs
from ..accounts import Accounts
from ..load import Client, client
from ..mail import Mailer
from ..sessions import Message, NotificationMixin, Owner, SessionMixin
from ..throttle import Attempt, Limit, TooManyFailures, network

if TYPE_CHECKING:
    from ..application import App

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
    421: ("This is another site's address", "It leads here by mistake. Look at the address again."),
    429: ("Please slow down", "There were too many attempts. Wait {wait}, then try again."),
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


# What was typed stands on these, to be copied or sent again.
KEEPS_WHAT_WAS_TYPED = (409, 503)
max_typed_characters = 20_000


@dataclass(frozen=True)
class CurrentUser:
    """Who is logged in, as the session knows it."""

    id: str
    username: str
    role: str = ""
    email: str | None = None
    confirmed: bool = False
    """Whether the user has shown that mail to the address arrives."""


KNOWN = ("username", "role", "email", "confirmed")
"""What a session knows of its user: names in the session, and columns or properties of `User`."""


class _Common(RequestHandler):
    """Security headers, request ids and error pages, for every answer: pages, files and errors
    alike.
    """

    application: App
    request_id = "-"
    logs_requests = True
    """Whether requests are in the log. Those of machines that ask every second need not be."""

    def __init__(self, application: App, request: HTTPServerRequest, **kwargs: Any) -> None:
        # Set here and not in prepare, which is too late for a request that is refused before it.
        # Without a proxy, the header is the visitor's own words.
        behind_proxy = application.settings["behind_proxy"]
        given = request.headers.get("X-Request-ID") if behind_proxy else None
        self.request_id = logs.new_request_id(given)
        logs.request_id.set(self.request_id)
        self.client = Client()
        client.set(self.client)
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

    def on_connection_close(self) -> None:
        super().on_connection_close()
        self.client.gone = True

    def on_finish(self) -> None:
        super().on_finish()
        self.application.in_flight.discard(self)

    def get_template_namespace(self) -> dict[str, Any]:
        return {
            **super().get_template_namespace(),
            "app_title": self.settings["app_title"],
            "messages": [],
            "can_mail": self.application.services.mail.can_send,
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
            "error.html",
            status=status_code,
            title=title,
            words=words,
            request_id=self.request_id,
            typed=self.typed() if status_code in KEEPS_WHAT_WAS_TYPED else {},
        )

    def typed(self) -> dict[str, str]:
        """What somebody has written into the form that was sent, by field; never a password."""
        fields = {
            name: values[-1].decode(errors="replace")
            for name, values in self.request.body_arguments.items()
            if "password" not in name
        }
        return fields if sum(map(len, fields.values())) <= max_typed_characters else {}

    def _allowed_methods(self) -> list[str]:
        # Tornado's own get, post, ... are those that answer 405.
        methods = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
        allowed = [
            method
            for method in methods
            if getattr(type(self), method.lower()) is not getattr(RequestHandler, method.lower())
        ]
        return ["GET", "HEAD", *allowed[1:]] if "GET" in allowed else allowed


class _Page(_Common):
    def head(self, *args: str, **kwargs: str) -> Awaitable[None] | None:
        """Answer as to a GET; Tornado leaves the body out."""
        return self.get(*args, **kwargs)


class PlainHandler(_Page):
    """Base of answers without a session."""


class StaticHandler(_Common, StaticFileHandler):
    """Files of static/, with the security headers."""


class NotFoundHandler(PlainHandler):
    """Every address that no route matches."""

    def prepare(self) -> None:
        raise HTTPError(404)


class UnknownHostHandler(PlainHandler):
    """Every address of a host that is not ours."""

    def prepare(self) -> None:
        host = self.request.host_name[:100]
        raise HTTPError(421, "host %r is neither in BASE_URL nor in ALLOWED_HOSTS", host)


class BaseHandler(SessionMixin, NotificationMixin, _Page):
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
        if user_id is None:
            return None
        known = {name: self.session[name] for name in KNOWN if name in self.session}
        return CurrentUser(user_id, **known)

    @property
    def user(self) -> CurrentUser | None:
        """`self.current_user`, with its type."""
        user: CurrentUser | None = self.current_user
        return user

    @property
    def accounts(self) -> Accounts:
        return self.application.services.accounts

    @property
    def mail(self) -> Mailer:
        return self.application.services.mail

    @property
    def own_sessions(self) -> Owner:
        """The sessions of the user, on pages that are @authenticated."""
        return Owner(self.application.services.store, self.member.id)

    @property
    def member(self) -> CurrentUser:
        """The user, on pages that are @authenticated."""
        if self.user is None:
            raise HTTPError(403)
        return self.user

    @cached_property
    def kept(self) -> dict[str, str]:
        """What was typed into a form of this page that was sent when the session was over, by
        field: see `authenticated` of rights.py.
        """
        kept = self.session.get("kept")
        if kept is None or kept["page"] != self.request.uri or self.request.method != "GET":
            return {}
        del self.session["kept"]
        return dict(kept["fields"])

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
        is_shown = self.request.method != "HEAD"
        messages = await (self.notifications.take() if is_shown else self.notifications.peek())
        if notice is not None:
            messages = [*messages, notice]
        self.render(template, messages=messages, **values)

    @property
    def network(self) -> str:
        """Where the request comes from, for limits that count addresses."""
        return network(self.request.remote_ip or "")

    @asynccontextmanager
    async def attempt(self, names: dict[Limit, str]) -> AsyncIterator[Attempt]:
        """Try something that may be tried so often: see throttle.py. Raises TooManyFailures, Busy."""
        try:
            async with self.application.services.throttle.attempt(names) as attempt:
                yield attempt
        except TooManyFailures as refused:
            self.log_event(f"throttled, too many failures for one {refused.limit.kind}")
            self.application.count("throttled")
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

    def url(self, path: str) -> str:
        """A link for a mail. Never made of the Host header, which its sender chooses: a mail would
        lead to any site.
        """
        return str(self.settings["base_url"]) + path

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
