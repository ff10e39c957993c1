"""The members' page: change the password, see where one is logged in and end that, delete the
account.
"""

from __future__ import annotations

from datetime import UTC, datetime

from tornado.web import authenticated

from ..accounts import PasswordRefused, WrongPassword
from ..sessions import Message
from .base import BaseHandler


class _MemberHandler(BaseHandler):
    """What the account forms have in common."""

    async def show_account(
        self, *, notice: Message | None = None, faults: dict[str, str] | None = None
    ) -> None:
        """Answer with the page; `faults` are messages by form field."""
        await self.render_page(
            "account.html",
            notice=notice,
            faults=faults or {},
            sessions=await self.own_sessions.sessions(current=self.session),
            ago=_ago,
            device=device,
        )

    async def refuse(self, words: str, faults: dict[str, str], status: int = 422) -> None:
        self.set_status(status)
        await self.show_account(notice=Message(words, "error"), faults=faults)


class AccountHandler(_MemberHandler):
    @authenticated
    async def get(self) -> None:
        await self.show_account()

    @authenticated
    async def post(self) -> None:
        """Change the password: it takes the current one, and ends all other sessions."""
        # Counted as at login: who sits at a stolen session may not guess either.
        attempt = await self.attempt(self.member.username)
        try:
            await self.application.accounts.change_password(
                self.member.id, self.field("password"), self.field("new_password")
            )
        except WrongPassword as error:
            self.log_event("password change refused, wrong current password")
            await self.refuse(
                "Your password was not changed.", {"password": str(error)}, status=403
            )
            return
        except PasswordRefused as error:
            await attempt.forgive()
            await self.refuse("Your password was not changed.", {"new_password": str(error)})
            return
        await attempt.forgive()
        self.session.regenerate()
        ended = await self.own_sessions.end_all(but=self.session)
        self.flash("Your password is changed." + (f" {_ended(ended)}" if ended else ""), "success")
        self.see_other("/account")


class EndSessionHandler(_MemberHandler):
    @authenticated
    async def post(self) -> None:
        """End one session, by the handle on the page."""
        if await self.own_sessions.end(self.field("handle")):
            self.flash("That session is ended.", "success")
        else:
            self.flash("That session had ended already.", "error")
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
        attempt = await self.attempt(self.member.username)
        try:
            await self.application.accounts.delete(self.member.id, self.field("password"))
        except WrongPassword as error:
            self.log_event("account deletion refused, wrong password")
            await self.refuse(
                "Your account was not deleted.", {"delete_password": str(error)}, status=403
            )
            return
        await attempt.forgive()
        await self.own_sessions.end_all(but=self.session)
        self.session.destroy()
        self.flash("Your account is deleted.", "success")
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
    browser = next((name for mark, name in _BROWSERS.items() if mark in agent), "Unknown browser")
    system = next((name for mark, name in _SYSTEMS.items() if mark in agent), "unknown system")
    return f"{browser} on {system}"


def _ended(count: int) -> str:
    """How many other sessions were ended, in words.

    >>> _ended(0), _ended(1), _ended(3)
    ('There was no other session.', 'One other session is ended.', '3 other sessions are ended.')
    """
    match count:
        case 0:
            return "There was no other session."
        case 1:
            return "One other session is ended."
        case _:
            return f"{count} other sessions are ended."


def _ago(moment: datetime, now: datetime | None = None) -> str:
    """How long ago that was, roughly, as people say it."""
    seconds = ((now or datetime.now(UTC)) - moment).total_seconds()
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


ROUTES = [
    (r"/account", AccountHandler),
    (r"/account/sessions/end", EndSessionHandler),
    (r"/account/sessions/end-others", EndOtherSessionsHandler),
    (r"/account/delete", DeleteAccountHandler),
]
