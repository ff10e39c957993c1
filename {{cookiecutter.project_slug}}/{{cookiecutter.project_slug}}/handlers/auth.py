"""Register, log in, log out."""

from __future__ import annotations

import unicodedata
from urllib.parse import unquote

from ..accounts import (
    PasswordRefused,
    User,
    UsernameRefused,
    check_password,
    check_username,
)
from ..sessions import Message
from .base import BaseHandler

remember_days = 30
max_next_characters = 2000


def own_path(path: str) -> str:
    """Return `path` if it is a page of this app, else "/".

    It comes from the address bar, so anybody can choose it: after a login that people trust, it
    must not lead them to another site. Browsers take //host, /\\host and "/<tab>/host" for another
    host, and proxies decode %2f, so all spellings are refused.
    """
    if len(path) > max_next_characters:
        return "/"
    plain = path.partition("?")[0].partition("#")[0]
    for _ in range(3):  # encoded twice is still seen
        plain = unquote(plain)
    elsewhere = not path.startswith("/") or "//" in plain or "\\" in path + plain
    # Browsers leave out tabs and line ends wherever they are.
    tricky = any(unicodedata.category(c)[0] in "CZ" for c in path + plain.replace(" ", ""))
    return "/" if elsewhere or tricky else path


class _AuthHandler(BaseHandler):
    """What register and login have in common."""

    async def log_in(self, user: User, *, remember: bool = False) -> bool:
        """Make this session the user's, with a new id. Returns False where the account was changed
        in the meantime.
        """
        if self.user is not None:
            self.session.destroy()  # somebody else was logged in here: nothing of theirs goes on
        # A new id: one that an attacker planted in this browser before the login is worth nothing
        # after it (fixation).
        self.session.regenerate()
        self.session.remember(remember_days if remember else None)
        self.session["user_id"] = user.id
        self.session["username"] = user.username
        self.session.owner = user.id
        await self.session.save()
        # A password change ends all sessions that are listed. One that came between our look at the
        # password and the line above could not see this one: so look again.
        if await self.application.accounts.is_current(user):
            return True
        self.session.destroy()
        return False


class RegisterHandler(_AuthHandler):
    async def get(self) -> None:
        if self.user is not None:
            self.redirect("/")
            return
        await self.render_page(
            "register.html",
            username="",
            next=own_path(self.get_query_argument("next", "/")),
            faults={},
        )

    async def post(self) -> None:
        username, password, next_ = (
            self.field("username"),
            self.field("password"),
            own_path(self.field("next")),
        )
        faults: dict[str, str] = {}
        try:
            check_username(username)
        except UsernameRefused as error:
            faults["username"] = str(error)
        try:
            check_password(password, username)
        except PasswordRefused as error:
            faults["password"] = str(error)
        if not faults:
            try:
                user = await self.application.accounts.register(username, password)
            except UsernameRefused as error:
                faults["username"] = str(error)
        if faults:
            self.set_status(422)
            notice = Message("No account was made yet: see below.", "error")
            await self.render_page(
                "register.html", notice=notice, username=username, next=next_, faults=faults
            )
            return
        await self.log_in(user)
        self.flash(f"Welcome, {user.username}! Your account is ready.", "success")
        self.see_other(next_)


class LoginHandler(_AuthHandler):
    async def get(self) -> None:
        next_ = own_path(self.get_query_argument("next", "/"))
        if self.user is not None:
            self.redirect(next_)
            return
        notice = Message("Log in to see that page.", "info") if next_ != "/" else None
        await self.render_page(
            "login.html", notice=notice, username="", next=next_, remember=False, faults={}
        )

    async def post(self) -> None:
        username, next_, remember = (
            self.field("username"),
            own_path(self.field("next")),
            bool(self.field("remember")),
        )
        attempt = await self.attempt(username)
        user = await self.application.accounts.authenticate(username, self.field("password"))
        if user is None or not await self.log_in(user, remember=remember):
            # The same words and status for a wrong name and a wrong password: nobody learns here
            # who has an account. Nor does the log get the name: people type their password into the
            # wrong box.
            self.log_event("login failed")
            self.set_status(403)
            fault = "Username or password is wrong."
            await self.render_page(
                "login.html",
                notice=Message(fault, "error"),
                username=username,
                next=next_,
                remember=remember,
                faults={"password": fault},
            )
            return
        await attempt.forgive()
        self.flash(f"Welcome back, {user.username}.", "success")
        self.see_other(next_)


class LogoutHandler(BaseHandler):
    async def get(self) -> None:
        """Offer to log out, or say that it is done. A GET never logs out: an image tag on any site
        could send one.
        """
        notice = Message("You are logged out.", "success") if self.user is None else None
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
