"""What every page shares: headers, error pages, the session, the user, flash messages.

Extend `BaseHandler` for pages, `PlainHandler` for answers that need no session.
"""

from __future__ import annotations

import logging
import math
from asyncio import Future
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlencode

from tornado.httputil import HTTPServerRequest
from tornado.locale import Locale
from tornado.web import HTTPError, RequestHandler, StaticFileHandler, stream_request_body

from .. import logs, texts
from ..accounts import Accounts
from ..load import Client, client
from ..mail import Mailer
from ..sessions import Message, NotificationMixin, Owner, SessionMixin
from ..texts import N_, _
from ..throttle import Attempt, Limit, TooManyFailures, network
from . import forms

if TYPE_CHECKING:
    from ..application import App

log = logging.getLogger(__name__)

SECURITY_HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
# Two years. Add "; includeSubDomains; preload" once everything on your domain speaks HTTPS.
STRICT_TRANSPORT_SECURITY = "max-age=63072000"

ERROR_PAGES = {
    400: (
        N_("That request made no sense"),
        N_("Something in it was malformed. Go back and try again."),
    ),
    401: (N_("You are not logged in"), N_("Log in, then try again.")),
    403: (
        N_("You may not do that"),
        N_("You are not logged in, or the request came from another site. Open the page again."),
    ),
    404: (N_("There is no such page"), N_("The address may be mistyped, or the page is gone.")),
    405: (N_("Not like that"), N_("This address exists, but it cannot be used in this way.")),
    409: (
        N_("This page is out of date"),
        N_(
            "Your session has ended since, or you have logged in or out in another tab. Open the page "
            "again, and look whether what you sent has arrived before you send it again."
        ),
    ),
    413: (N_("That was too much"), N_("Send less at once.")),
    421: (
        N_("This is another site's address"),
        N_("It leads here by mistake. Look at the address again."),
    ),
    429: (N_("Please slow down"), N_("There were too many attempts. Wait {wait}, then try again.")),
    500: (
        N_("Something went wrong"),
        N_("It is not your fault, and it has been noted. Try again in a moment."),
    ),
    503: (
        N_("One moment, please"),
        N_(
            "A part of the site does not answer. If you sent something, look whether it has arrived "
            "before you send it again."
        ),
    ),
}


# What was typed stands on these, to be copied or sent again.
KEEPS_WHAT_WAS_TYPED = (409, 429, 500, 503)


class TooLarge(HTTPError):
    """A body is larger than its handler takes. Left alone it becomes a 413."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        super().__init__(413, "the body is larger than %d bytes", max_bytes)


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
    max_body_bytes: ClassVar[int | None] = None
    """The largest body that this handler takes, if that is not MAX_BODY_BYTES. See bodies.py."""
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
        self.set_header("Content-Security-Policy", self.settings["content_security_policy"])
        if self.settings["secure"]:
            self.set_header("Strict-Transport-Security", STRICT_TRANSPORT_SECURITY)
        self.set_header("X-Request-ID", self.request_id)
        self.clear_header("Server")

    def finish(self, chunk: str | bytes | dict[str, Any] | None = None) -> Future[None]:
        if self.application.draining and self.get_status() != 101:
            # The server says so to requests that come later; this one may have come before.
            self.set_header("Connection", "close")
        return super().finish(chunk)

    def on_connection_close(self) -> None:
        super().on_connection_close()
        self.client.gone = True

    def on_finish(self) -> None:
        super().on_finish()
        self.application.in_flight.discard(self)

    def get_user_locale(self) -> Locale | None:
        """The language that somebody has chosen, if this cookie says so. None: the browser's."""
        return texts.find(self.get_cookie("language"))

    def get_template_namespace(self) -> dict[str, Any]:
        texts.speak(self.locale)
        return {
            **super().get_template_namespace(),
            "_": _,
            "app_title": self.settings["app_title"],
            "messages": [],
            "can_mail": self.application.services.mail.can_send,
            "kept": self.kept,
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
        texts.speak(self.locale)
        title, words = ERROR_PAGES.get(status_code, (self._reason, N_("Go back and try again.")))
        size = ""
        if isinstance(error, TooLarge):
            words, size = N_("Send less at once: at most {size}."), _size_in_words(error.max_bytes)
        words = _(words, wait=_in_words(retry_after_s), size=size)
        self.show_error(status_code, _(title), words)

    def show_error(self, status: int, title: str, words: str) -> None:
        """Answer with an error page. To answer in another form, as JSON, override this."""
        # Otherwise the session is asked for them when the page is rendered.
        self.current_user, self.kept = None, {}
        self.render(
            "error.html",
            status=status,
            title=title,
            words=words,
            request_id=self.request_id,
            typed=forms.typed(self.request) if status in KEEPS_WHAT_WAS_TYPED else {},
        )

    @cached_property
    def kept(self) -> dict[str, str]:
        """What was typed into a form of this page whose session was over, by field. Templates take
        theirs out with `kept.pop("text", "")`; base.html shows what is left.
        """
        return {}

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


@stream_request_body
class TooLargeHandler(PlainHandler):
    """Every address, when it is sent more than it takes."""

    def initialize(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes

    def prepare(self) -> None:
        raise TooLarge(self.max_bytes)


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
        texts.speak(self.locale)
        if self.user is not None:
            # What a logged-in user sees is kept by no cache: after logout, the back button finds
            # nothing.
            self.set_header("Cache-Control", "no-store")

    def get_user_locale(self) -> Locale | None:
        """The language of the session; the cookie's where there is no session, or none that could be
        loaded.
        """
        return texts.find(self.session.get("language")) or super().get_user_locale()

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
        kept = self.session.get("kept")
        if kept is None or kept["page"] != self.request.uri or self.request.method != "GET":
            return {}
        del self.session["kept"]
        return dict(kept["fields"])

    def log_in_first(self) -> None:
        """Answer somebody who has sent a form, and whose session is over: with the login, and then
        the page that the form is on. What was typed is kept until then, in the session.
        """
        page = forms.page_of(self.request, self.application.has_page)
        typed = forms.typed(self.request)
        if sum(map(len, typed.values())) > forms.max_kept_characters:
            raise HTTPError(409, "the session is over, and what was typed is too long for another")
        self.session["kept"] = {"page": page, "fields": typed}
        if typed:
            self.flash(_("Your session is over. Log in to go on: what you typed is kept."))
        else:
            self.flash(_("Your session is over. Log in to go on."))
        self.see_other("/login?" + urlencode({"next": page}))

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
        return _("a moment")
    if seconds > 60:
        return _("{count} minutes", count=math.ceil(seconds / 60))
    return _("{count} second", "{count} seconds", seconds)


def _size_in_words(count: int) -> str:
    """A number of bytes as people say it.

    >>> _size_in_words(20 * 1024 * 1024), _size_in_words(1536), _size_in_words(1)
    ('20 MB', '1.5 kB', '1 byte')
    """
    for unit, size in (("MB", 1024 * 1024), ("kB", 1024)):
        if count >= size:
            return f"{round(count / size, 1):g} {unit}"
    return _("{count} byte", "{count} bytes", count)
