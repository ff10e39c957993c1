"""Register, log in, log out."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from ..accounts import EmailTaken, User, UsernameTaken, email_required
from ..mail import EmailRefused, check_email
from ..passwords import PasswordRefused, check_password
from ..sessions import Message, SessionLost
from ..texts import _
from ..throttle import (
    TooManyFailures,
    account_limit,
    address_limit,
    mail_limit,
    registration_limit,
)
from ..tokens import Purpose
from ..usernames import UsernameRefused, check_username, username_key
from .base import KNOWN, BaseHandler
from .emails import send_confirmation
from .paths import own_path

second_try = timedelta(minutes=10)
"""How long after a registration the same form logs in: it may be sent twice, or its answer lost."""


class AuthHandler(BaseHandler):
    """Base of pages that log somebody in, or make an account."""

    async def prepare(self) -> None:
        await super().prepare()
        # No cache keeps the form: the back button would bring it with the password in it.
        self.set_header("Cache-Control", "no-store")

    async def log_in(self, user: User, *, remember: bool = False) -> bool:
        """Make this session the user's, with a new id. Returns False where the account was changed
        in the meantime.
        """
        if self.user is not None and self.user.id != user.id:
            self.session.destroy()  # somebody else was logged in here: nothing of theirs goes on
        # First on the list of the user's sessions, then a look at the account: a password change
        # that this look cannot see finds the session there, and ends it. Then alone is somebody
        # logged in.
        try:
            await self._list_under(user, remember)
        except SessionLost:
            # The form was sent twice, and the other request has changed the session's id. Log the
            # user in with a new, empty session; the data stays in the other one.
            await self._list_under(user, remember)
        if not await self.accounts.note_login(user):
            self.session.destroy()
            return False
        self.session["user_id"] = user.id
        self.application.count("login")
        return True

    async def _list_under(self, user: User, remember: bool) -> None:
        # A new id: one that an attacker planted in this browser before the login is worth nothing
        # after it (fixation).
        self.session.regenerate()
        self.session.pop("user_id", None)  # until the account was looked at
        days = self.application.services.settings.remember_days
        self.session.remember(days if remember else None)
        self.session.owner = user.id
        self.session.update({name: getattr(user, name) for name in KNOWN})
        await self.session.save()

    async def authenticate(self, name: str, password: str) -> User | None:
        """Return the user; None counts as a failure."""
        # An account is one, whether it is called by its name or by its address.
        user = await self.accounts.find_login(name)
        account = user.id if user is not None else username_key(name)
        async with self.attempt({address_limit: self.network, account_limit: account}) as attempt:
            if await self.accounts.has_password(user, password):
                return user
            attempt.count()
            return None


class RegisterHandler(AuthHandler):
    async def get(self) -> None:
        next_ = own_path(self.get_query_argument("next", "/"))
        if self.user is not None:
            self.redirect(next_)
            return
        await self._show(next_)

    async def post(self) -> None:
        next_ = own_path(self.field("next"))
        username, email, password = map(self.field, ("username", "email", "password"))
        faults = _faults(username, email, password)
        user = None if faults else await self._register(username, email, password, faults)
        if user is None or not await self.log_in(user):
            self.set_status(422)
            notice = Message(_("No account was made yet: see below."), "error")
            await self._show(next_, username, email, notice=notice, faults=faults)
            return
        self.flash(_("Welcome, {name}! Your account is ready.", name=user.username), "success")
        self.see_other(next_)

    async def _register(
        self, username: str, email: str, password: str, faults: dict[str, str]
    ) -> User | None:
        # The store is asked here, before the database: if it does not answer, no account is made
        # that nobody learns of.
        async with self.attempt({registration_limit: self.network}) as attempt:
            try:
                user = await self.accounts.register(username, password, email=email or None)
            except UsernameTaken as error:
                # A second click, or a second try after an answer that was lost: it is theirs. An
                # older account is another person's, and who wants its name guesses no password.
                user_or_none = await self.accounts.find_by(username=username)
                if user_or_none and datetime.now(UTC) - user_or_none.created_at < second_try:
                    user_or_none = await self.authenticate(username, password)
                else:
                    user_or_none = None
                if user_or_none is None:
                    faults["username"] = str(error)
                    attempt.count()
                return user_or_none
            except EmailTaken as error:
                faults["email"] = str(error)
                attempt.count()
                return None
            attempt.count()
        if user.email is not None:
            # An address that has been sent enough gets no more: the page of the account offers to
            # send the link again.
            with contextlib.suppress(TooManyFailures):
                async with self.attempt({mail_limit: user.email}) as attempt:
                    attempt.count()
                    await send_confirmation(self, user, Purpose.CONFIRM, user.email)
        return user

    async def _show(self, next_: str, username: str = "", email: str = "", **values: Any) -> None:
        values.setdefault("faults", {})
        await self.render_page(
            "register.html",
            username=username,
            email=email,
            email_required=email_required,
            next_path=next_,
            query=_next_query,
            **values,
        )


def _faults(username: str, email: str, password: str) -> dict[str, str]:
    """What is wrong with a registration, by field: all of it at once."""
    faults = {}
    try:
        check_username(username)
    except UsernameRefused as error:
        faults["username"] = str(error)
    try:
        if email or email_required:
            check_email(email)
    except EmailRefused as error:
        faults["email"] = str(error)
    try:
        check_password(password, username, email)
    except PasswordRefused as error:
        faults["password"] = str(error)
    return faults


class LoginHandler(AuthHandler):
    async def get(self) -> None:
        next_ = own_path(self.get_query_argument("next", "/"))
        if self.user is not None:
            self.redirect(next_)
            return
        is_sent_here = next_ != "/" and "kept" not in self.session
        notice = Message(_("Log in to see that page."), "info") if is_sent_here else None
        await self._show(next_, notice=notice)

    async def post(self) -> None:
        username, next_, remember = (
            self.field("username"),
            own_path(self.field("next")),
            bool(self.field("remember")),
        )
        user = await self._log_in(username, self.field("password"), remember)
        if user is None:
            # The same words and status for a wrong name and a wrong password: nobody learns here
            # who has an account. Nor does the log get the name: people type their password into the
            # wrong box.
            self.log_event("login failed")
            self.application.count("login failed")
            self.set_status(403)
            fault = _("Username or password is wrong.")
            await self._show(
                next_,
                username=username,
                remember=remember,
                notice=Message(fault, "error"),
                faults={"password": fault},
            )
            return
        self.flash(_("Welcome back, {name}.", name=user.username), "success")
        self.see_other(next_)

    async def _log_in(self, username: str, password: str, remember: bool) -> User | None:
        for _try in range(2):
            user = await self.authenticate(username, password)
            if user is None or await self.log_in(user, remember=remember):
                return user
            # The account has changed meanwhile: its role, its address, or its password, also where
            # another login has renewed its hash. Look once more.
        return None

    async def _show(self, next_: str, **values: Any) -> None:
        values = {**{"username": "", "remember": False, "faults": {}}, **values}
        await self.render_page(
            "login.html",
            next_path=next_,
            query=_next_query,
            remember_days=self.application.services.settings.remember_days,
            **values,
        )


def _next_query(path: str) -> str:
    """What brings `path` along from one of the forms to the other."""
    return "?" + urlencode({"next": path}) if path != "/" else ""


class LogoutHandler(BaseHandler):
    async def get(self) -> None:
        """Offer to log out, or say that it is done. A GET never logs out: an image tag on any site
        could send one.
        """
        notice = Message(_("You are logged out."), "success") if self.user is None else None
        await self.render_page("logout.html", notice=notice)

    async def post(self) -> None:
        was_logged_in = self.user is not None
        self.session.destroy()
        # An id from before another tab's login must not clear the cookie of that login.
        if was_logged_in and self.settings["secure"]:
            # Browsers differ in whether a cookie set by this very response survives it, so the
            # answer sets none: a flash message would be lost, and the page we go to says it by
            # itself. It clears your whole registered domain; leave "cookies" out if other sites on
            # it have logins of their own.
            # https://w3c.github.io/webappsec-clear-site-data/#fetch-integration
            self.set_header("Clear-Site-Data", '"cookies", "storage"')
        self.see_other("/logout")


ROUTES = [
    (r"/register", RegisterHandler),
    (r"/login", LoginHandler),
    (r"/logout", LogoutHandler),
]
