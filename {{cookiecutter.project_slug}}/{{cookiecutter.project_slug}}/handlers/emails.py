"""Addresses: confirm one, change it, and replace a forgotten password with what was sent there.

A GET of a link that was mailed changes nothing: scanners of mail open links before people do. What a
link proves it proves once, by the button on its page. The texts of the mails are at the top.
"""

from __future__ import annotations

from urllib.parse import urlencode

from tornado.web import HTTPError

from ..accounts import EmailTaken, User
from ..mail import EmailRefused, check_email
from ..passwords import PasswordRefused
from ..texts import N_, _
from ..throttle import mail_limit, mailing_limit
from ..tokens import Purpose
from .base import BaseHandler

CONFIRM_SUBJECT = N_("Confirm your e-mail address")
CONFIRM_TEXT = N_("""Hello {name},

to confirm that this address is yours, open

    {link}

If this means nothing to you, do nothing: somebody has mistyped their address.
""")
RESET_SUBJECT = N_("Choose a new password")
RESET_TEXT = N_("""Hello {name},

to choose a new password, open this within an hour:

    {link}

If you did not ask for this, do nothing: your password stays as it is.
""")
CHANGED_SUBJECT = N_("Your e-mail address was changed")
CHANGED_TEXT = N_("""Hello {name},

from now on we write to {email}, and no longer here. If that was not you, somebody knows your
password.
""")


async def send_confirmation(handler: BaseHandler, user: User, purpose: Purpose, email: str) -> None:
    """Send a link that proves that mail to `email` arrives."""
    if handler.mail.can_send:
        token = await handler.accounts.make_token(user, purpose, email)
        link = handler.url("/confirm?" + urlencode({"token": token}))
        handler.mail.send_soon(
            email, _(CONFIRM_SUBJECT), _(CONFIRM_TEXT, name=user.username, link=link)
        )


class _MailHandler(BaseHandler):
    """Pages that there are only where mail can be sent."""

    async def prepare(self) -> None:
        # Before anything is logged: a token opens an account.
        self.token = self.get_query_argument("token", "") or self.field("token")
        self.request.uri = self.request.path
        await super().prepare()
        self.set_header("Cache-Control", "no-store")
        if not self.mail.can_send:
            raise HTTPError(404)

    async def refuse_link(self) -> None:
        self.set_status(410)
        await self.render_page("link_gone.html")


class ForgotHandler(_MailHandler):
    async def get(self) -> None:
        await self.render_page("forgot.html", email="", faults={})

    async def post(self) -> None:
        """Send a link. The answer is the same whether somebody has this address or not."""
        email = self.field("email")
        try:
            email = check_email(email)
        except EmailRefused as error:
            self.set_status(422)
            await self.render_page("forgot.html", email=email, faults={"email": str(error)})
            return
        async with self.attempt({mailing_limit: self.network, mail_limit: email}) as attempt:
            attempt.count()
            await self.accounts.find("")  # a database that is away is a 503, for everybody
        # After the answer: the time that it takes tells nothing either.
        self.application.background(self._send(email))
        await self.render_page("forgot_sent.html", email=email)

    async def _send(self, email: str) -> None:
        user = await self.accounts.find_by(email=email)
        if user is not None:
            token = await self.accounts.make_token(user, Purpose.RESET, email)
            link = self.url("/reset?" + urlencode({"token": token}))
            self.mail.send_soon(
                email, _(RESET_SUBJECT), _(RESET_TEXT, name=user.username, link=link)
            )


class ResetHandler(_MailHandler):
    async def get(self) -> None:
        await self._show({})

    async def post(self) -> None:
        """Set a new password. All sessions end."""
        try:
            user = await self.accounts.reset_password(self.token, self.field("new_password"))
        except PasswordRefused as error:
            self.set_status(422)
            await self._show({"new_password": str(error)})
            return
        if user is None:
            await self.refuse_link()
            return
        self.log_event("password replaced by mail")
        self.session.destroy()
        self.flash(_("Your password is changed. Log in with it."), "success")
        self.see_other("/login")

    async def _show(self, faults: dict[str, str]) -> None:
        found = await self.accounts.find_token(self.token, Purpose.RESET)
        if found is None:
            await self.refuse_link()
            return
        name = found[1].username
        await self.render_page("reset.html", token=self.token, username=name, faults=faults)


class ConfirmHandler(_MailHandler):
    async def get(self) -> None:
        found = await self.accounts.find_token(self.token, Purpose.CONFIRM, Purpose.CHANGE)
        if found is None:
            await self.refuse_link()
            return
        token, user = found
        await self.render_page(
            "confirm.html", token=self.token, username=user.username, email=token.email
        )

    async def post(self) -> None:
        try:
            proved = await self.accounts.prove_email(self.token)
        except EmailTaken:
            words = _(
                "Another account has this address. It is yours: ask for a new password with it."
            )
            self.flash(words, "error")
            self.see_other("/forgot")
            return
        if proved is None:
            await self.refuse_link()
            return
        user, former = proved
        if former is not None and former != user.email:
            text = _(CHANGED_TEXT, name=user.username, email=user.email)
            self.mail.send_soon(former, _(CHANGED_SUBJECT), text)
        await self.accounts.tell_sessions(user)
        self.flash(_("{email} is confirmed.", email=user.email), "success")
        self.see_other("/account" if self.user is not None else "/login")


ROUTES = [
    (r"/forgot", ForgotHandler),
    (r"/reset", ResetHandler),
    (r"/confirm", ConfirmHandler),
]
