"""The members' page: change the password, see where one is logged in and end that, delete the
account.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tornado.web import HTTPError

from ..accounts import User, WrongPassword
from ..mail import EmailRefused, check_email
from ..passwords import PasswordRefused, check_password
from ..sessions import Message
from ..texts import _
from ..throttle import form_limit, mail_limit, mailing_limit
from ..tokens import Purpose
from .base import BaseHandler
from .emails import send_confirmation
from .rights import authenticated


class _MemberHandler(BaseHandler):
    """What the account forms have in common."""

    async def show_account(self, **values: Any) -> None:
        """Answer with the page; `faults` are messages by form field."""
        await self.render_page(
            "account.html",
            **{"faults": {}, "email": ""} | values,
            sessions=await self.own_sessions.sessions(current=self.session),
            ago=_ago,
            device=device,
        )

    async def refuse(
        self, words: str, faults: dict[str, str], *, status: int = 422, email: str = ""
    ) -> None:
        self.set_status(status)
        await self.show_account(notice=Message(words, "error"), faults=faults, email=email)

    async def password_of_the_member(self, what: str) -> User:
        """Return the user, whose password is in the form. Raises WrongPassword, which is counted as
        at login: who sits at a stolen session may not guess either.
        """
        async with self.attempt({form_limit: self.session.handle}) as attempt:
            try:
                return await self.accounts.confirm(self.member.id, self.field("password"))
            except WrongPassword:
                attempt.count()
                self.log_event(f"{what} refused, wrong current password")
                raise


class AccountHandler(_MemberHandler):
    @authenticated
    async def get(self) -> None:
        await self.show_account()

    @authenticated
    async def post(self) -> None:
        """Change the password: it takes the current one, and ends all other sessions."""
        words, new = _("Your password was not changed."), self.field("new_password")
        try:
            check_password(new, self.member.username)
            user = await self.password_of_the_member("password change")
            # First a new id, so that a copy of this session's cookie is worth nothing either.
            self.session.regenerate()
            await self.session.save()
            ended = await self.accounts.set_password(user, new, but=self.session)
        except WrongPassword as error:
            await self.refuse(words, {"password": str(error)}, status=403)
            return
        except PasswordRefused as error:
            await self.refuse(words, {"new_password": str(error)})
            return
        self.flash(
            " ".join([_("Your password is changed."), *([_ended(ended)] if ended else [])]),
            "success",
        )
        self.see_other("/account")


class EmailHandler(_MemberHandler):
    async def prepare(self) -> None:
        await super().prepare()
        if not self.mail.can_send:
            raise HTTPError(404)

    @authenticated
    async def post(self) -> None:
        """Send a link to an address, which is the user's once it was opened."""
        words, typed = _("Your address was not changed."), self.field("email")
        try:
            email = check_email(typed)
            user = await self.password_of_the_member("change of address")
        except EmailRefused as error:
            await self.refuse(words, {"email": str(error)}, email=typed)
            return
        except WrongPassword as error:
            await self.refuse(words, {"email_password": str(error)}, status=403, email=typed)
            return
        await self._send(user, Purpose.CONFIRM if email == user.email else Purpose.CHANGE, email)

    async def _send(self, user: User, purpose: Purpose, email: str) -> None:
        async with self.attempt({mailing_limit: self.network, mail_limit: email}) as attempt:
            attempt.count()
            await send_confirmation(self, user, purpose, email)
        self.flash(
            _("We have sent a link to {email}. Open it to confirm the address.", email=email)
        )
        self.see_other("/account")


class SendAgainHandler(EmailHandler):
    @authenticated
    async def post(self) -> None:
        """Send the link again that confirms the user's address."""
        user = await self.accounts.find(self.member.id)
        if user is None or user.email is None or user.confirmed:
            if user is not None:  # the store was away when the link was used
                await self.accounts.tell_sessions(user)
            self.see_other("/account")
            return
        await self._send(user, Purpose.CONFIRM, user.email)


class EndSessionHandler(_MemberHandler):
    @authenticated
    async def post(self) -> None:
        """End one session, by the handle on the page."""
        if await self.own_sessions.end(self.field("handle")):
            self.flash(_("That session is ended."), "success")
        else:
            self.flash(_("That session had ended already."), "error")
        self.see_other("/account")


class EndOtherSessionsHandler(_MemberHandler):
    @authenticated
    async def post(self) -> None:
        """End every session but this one."""
        self.flash(_ended(await self.own_sessions.end_all(but=self.session)), "success")
        self.see_other("/account")


class DeleteAccountHandler(_MemberHandler):
    @authenticated
    async def post(self) -> None:
        """Delete the account: it takes the password, and ends all sessions."""
        try:
            user = await self.password_of_the_member("account deletion")
        except WrongPassword as error:
            words = _("Your account was not deleted.")
            await self.refuse(words, {"delete_password": str(error)}, status=403)
            return
        await self.accounts.delete(user)
        self.session.destroy()
        self.flash(_("Your account is deleted."), "success")
        self.see_other("/")


# The first that occurs in the User-Agent counts: Edge says Chrome too, and Chrome says Safari.
_BROWSERS = {
    "Edg": "Edge",
    "OPR": "Opera",
    "Firefox": "Firefox",
    "FxiOS": "Firefox",
    "Chrome": "Chrome",
    "CriOS": "Chrome",
    "Safari": "Safari",
    "curl": "curl",
}
_SYSTEMS = {
    "Android": "Android",
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Windows": "Windows",
    "Mac OS": "macOS",
    "CrOS": "ChromeOS",
    "Linux": "Linux",
}


def device(agent: str) -> str:
    """What a User-Agent header says, as people say it.

    >>> device("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
    'Firefox on Linux'
    """
    browser = next(
        (name for mark, name in _BROWSERS.items() if mark in agent), _("Unknown browser")
    )
    system = next((name for mark, name in _SYSTEMS.items() if mark in agent), _("unknown system"))
    return _("{browser} on {system}", browser=browser, system=system)


def _ended(count: int) -> str:
    """How many other sessions were ended, in words.

    >>> _ended(0), _ended(1), _ended(3)
    ('There was no other session.', 'One other session is ended.', '3 other sessions are ended.')
    """
    if count == 0:
        return _("There was no other session.")
    return _("One other session is ended.", "{count} other sessions are ended.", count)


def _ago(moment: datetime, now: datetime | None = None) -> str:
    """How long ago that was, roughly, as people say it."""
    seconds = ((now or datetime.now(UTC)) - moment).total_seconds()
    if seconds >= 86400:
        return _("{count} day ago", "{count} days ago", int(seconds // 86400))
    if seconds >= 3600:
        return _("{count} hour ago", "{count} hours ago", int(seconds // 3600))
    if seconds >= 60:
        return _("{count} minute ago", "{count} minutes ago", int(seconds // 60))
    return _("just now")


ROUTES = [
    (r"/account", AccountHandler),
    (r"/account/sessions/end", EndSessionHandler),
    (r"/account/sessions/end-others", EndOtherSessionsHandler),
    (r"/account/email", EmailHandler),
    (r"/account/email/send-again", SendAgainHandler),
    (r"/account/delete", DeleteAccountHandler),
]
