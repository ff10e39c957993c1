"""What every answer shares: security headers, request ids and error pages.

Extend `PlainHandler` for answers that need no session; pages extend `BaseHandler` of base.py.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Awaitable
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from tornado.httputil import HTTPServerRequest
from tornado.locale import Locale
from tornado.web import HTTPError, RequestHandler, StaticFileHandler, stream_request_body

from .. import logs, texts
from ..load import Client, client
from ..texts import N_, _
from . import forms
from .errors import ERROR_PAGES, KEEPS_WHAT_WAS_TYPED, TooLarge, size_in_words, time_in_words

if TYPE_CHECKING:
    from ..application import App

SECURITY_HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
# Two years. Add "; includeSubDomains; preload" once everything on your domain speaks HTTPS.
STRICT_TRANSPORT_SECURITY = "max-age=63072000"


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
        self.application.websockets.discard(self)

    def on_finish(self) -> None:
        super().on_finish()
        self.application.in_flight.discard(self)
        if self.get_status() == 101:  # Tornado finishes the request of a WebSocket as it opens
            self.application.websockets.add(self)

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
            words, size = N_("Send less at once: at most {size}."), size_in_words(error.max_bytes)
        words = _(words, wait=time_in_words(retry_after_s), size=size)
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


class PlainHandler(_Common):
    """Base of answers without a session."""

    def head(self, *args: str, **kwargs: str) -> Awaitable[None] | None:
        """Answer as to a GET; Tornado leaves the body out."""
        return self.get(*args, **kwargs)


class StaticHandler(_Common, StaticFileHandler):
    """Files of static/, with the security headers."""

    def prepare(self) -> None:
        if "\x00" in self.request.path or "%00" in self.request.path:
            raise HTTPError(404)  # no file has such a name, and asking for one fails

    def validate_absolute_path(self, root: str, absolute_path: str) -> str | None:
        try:
            return super().validate_absolute_path(root, absolute_path)
        except HTTPError as error:
            error.status_code = 404  # Tornado forbids folders, but no login would open them
            raise


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
