"""What every page shares: the session, the user, flash messages.

Extend `BaseHandler` for pages. Headers and error pages are in plain.py, whose `PlainHandler` is for
answers that need no session.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

from tornado.locale import Locale
from tornado.web import HTTPError

from .. import texts
from ..accounts import Accounts
from ..mail import Mailer
from ..sessions import Message, NotificationMixin, Owner, SessionMixin
from ..texts import _
from ..throttle import Attempt, Limit, TooManyFailures, network
from . import forms
from .plain import PlainHandler

log = logging.getLogger(__name__)


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


class BaseHandler(SessionMixin, NotificationMixin, PlainHandler):
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
        if sum(map(len, [*typed, *typed.values()])) > forms.max_kept_characters:
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
