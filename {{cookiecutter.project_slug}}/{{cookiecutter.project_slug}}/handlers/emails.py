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
from ..throttle import mail_limit, mailing_limit
from ..tokens import Purpose
from .base import BaseHandler

CONFIRM_SUBJECT = "Confirm your e-mail address"
CONFIRM_TEXT = """Hello {user.username},

to confirm that this address is yours, open

    {link}

If this means nothing to you, do nothing: somebody has mistyped their address.
"""
RESET_SUBJECT = "Choose a new password"
RESET_TEXT = """Hello {user.username},

to choose a new password, open this within an hour:

    {link}

If you did not ask for this, do nothing: your password stays as it is.
"""
CHANGED_SUBJECT = "Your e-mail address was changed"
CHANGED_TEXT = """Hello {user.username},

from now on we write to {user.email}, and no longer here. If that was not you, somebody knows your
password.
"""


async def send_confirmation(handler: BaseHandler, user: User, purpose: Purpose, email: str) -> None:
    """Send a link that proves that mail to `email` arrives."""
    if handler.mail.can_send:
        token = await handler.accounts.make_token(user, purpose, email)
        link = handler.url("/confirm?" + urlencode({"token": token}))
        handler.mail.send_soon(email, CONFIRM_SUBJECT, CONFIRM_TEXT.format(user=user, link=link))


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
        # After the answer: the time that it takes tells nothing either.
        self.application.background(self._send(email))
        await self.render_page("forgot_sent.html", email=email)

    async def _send(self, email: str) -> None:
        user = await self.accounts.find_by(email=email)
        if user is not None:
            token = await self.accounts.make_token(user, Purpose.RESET, email)
            link = self.url("/reset?" + urlencode({"token": token}))
            self.mail.send_soon(email, RESET_SUBJECT, RESET_TEXT.format(user=user, link=link))


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
        self.flash("Your password is changed. Log in with it.", "success")
        self.see_other("/login")

    async def _show(self, faults: dict[str, str]) -> None:
        found = await self.accounts.find_token(self.token, Purpose.RESET)
        if found is None:
            await self.refuse_link()
            return
        _, user = found
        await self.render_page(
            "reset.html", token=self.token, username=user.username, faults=faults
        )


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
            proved = None
        if proved is None:
            await self.refuse_link()
            return
        user, former = proved
        if former is not None and former != user.email:
            self.mail.send_soon(former, CHANGED_SUBJECT, CHANGED_TEXT.format(user=user))
        await self.accounts.tell_sessions(user)
        self.flash(f"{user.email} is confirmed.", "success")
        self.see_other("/account" if self.user is not None else "/login")


ROUTES = [
    (r"/forgot", ForgotHandler),
    (r"/reset", ResetHandler),
    (r"/confirm", ConfirmHandler),
]
