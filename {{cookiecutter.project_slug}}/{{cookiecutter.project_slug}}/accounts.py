"""Who has an account: names, addresses, password hashes and roles, in a database.

Handlers reach `Accounts` as `self.application.services.accounts`. To keep more about users, add a
column to `User`, then run `make migration m="what changes"`: see docs/database.md.

What must not be left behind is done first: sessions that have to end are ended before the change
commits, while its row is locked. A login that looks at the row at that moment (`note_login`) waits
for the commit, and is refused. If the store fails, the change is rolled back.
"""

from __future__ import annotations

import asyncio
import secrets
from datetime import UTC, datetime
from typing import Any

import argon2
from sqlalchemy import CursorResult, String, delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from . import tokens
from .database import Base, Database, UtcDateTime, is_taken
from .mail import EmailRefused, check_email
from .passwords import PASSWORD_COST, Hasher, check_password
from .sessions import Owner, SessionManager, Store
from .texts import _
from .tokens import Purpose, Token
from .usernames import UsernameRefused, check_username, max_username_characters, username_key

email_required = False
"""Whether everybody must give an e-mail address. Without one, nobody can replace a forgotten
password."""

max_email_characters = 254
max_role_characters = 20


class UsernameTaken(UsernameRefused):
    """Somebody has this username already, perhaps in another spelling."""


class EmailTaken(EmailRefused):
    """Another account has this address already."""


class WrongPassword(ValueError):
    """The current password is another one."""


class RoleRefused(ValueError):
    """This cannot be a role; the text says why."""


class User(Base):
    __tablename__ = "users"

    id: Mapped[str] = mapped_column(String(22), primary_key=True)
    """Random: it says nothing, and a deleted user's is never given again."""
    username: Mapped[str] = mapped_column(String(max_username_characters))
    username_key: Mapped[str] = mapped_column(String(max_username_characters), unique=True)
    email: Mapped[str | None] = mapped_column(String(max_email_characters), unique=True)
    email_confirmed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    password_hash: Mapped[str | None] = mapped_column(String(255))
    """None: nobody logs in with a password, as the user comes from elsewhere."""
    role: Mapped[str] = mapped_column(String(max_role_characters), default="", server_default="")
    """What `@require` of the handlers asks for; "" for most."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    logged_in_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    @property
    def confirmed(self) -> bool:
        return self.email_confirmed_at is not None


class Accounts:
    """The users of one application. Every method but `close` raises DatabaseUnavailable when the
    database does not answer; those that take a password raise Busy and ClientGone; those that end
    sessions raise StoreUnavailable, and have changed nothing then.
    """

    def __init__(
        self,
        database: Database,
        store: Store,
        cost: argon2.Parameters = PASSWORD_COST,
        hashing_threads: int = 2,
    ) -> None:
        self._database = database
        self._store = store
        self._hasher = Hasher(cost, hashing_threads)

    async def close(self) -> None:
        """Let go of the threads. Nothing works afterwards."""
        self._hasher.close()

    @property
    def hashing_queue(self) -> int:
        """How many passwords wait to be hashed or checked."""
        return self._hasher.waiting

    # Find

    async def find(self, user_id: str) -> User | None:
        """Return the user with this id."""
        return await self._find(User.id == user_id)

    async def find_by(self, **columns: Any) -> User | None:
        """Return the user with these values, for example `find_by(email="ada@example.com")`. Names
        and addresses are found in any spelling.
        """
        if "username" in columns:
            columns["username_key"] = username_key(columns.pop("username"))
        if any("\x00" in str(each) for each in columns.values()):
            return None  # nothing has a NUL, and PostgreSQL fails when it is asked for one
        try:
            if columns.get("email") is not None:
                columns["email"] = check_email(columns["email"])
        except EmailRefused:
            return None
        return await self._find(*(getattr(User, name) == each for name, each in columns.items()))

    async def find_login(self, name: str) -> User | None:
        """Return the user that somebody means who logs in with a username or an address."""
        user = await self.find_by(username=name)
        return await self.find_by(email=name) if user is None and "@" in name else user

    # Come and go

    async def register(self, username: str, password: str | None = None, **columns: Any) -> User:
        """Make an account; `columns` are further columns of `User`, such as email=... or role=...

        Raises UsernameRefused, EmailRefused, PasswordRefused, RoleRefused; UsernameTaken and
        EmailTaken are of these.
        """
        username = check_username(username)
        check_role(columns.get("role", ""))
        if columns.get("email") is not None:
            columns["email"] = check_email(columns["email"])
        if password is not None:
            check_password(password, username)
        user = User(
            id=secrets.token_urlsafe(16),
            username=username,
            username_key=username_key(username),
            password_hash=None if password is None else await self._hasher.hash(password),
            created_at=datetime.now(UTC),
            **columns,
        )
        try:
            async with self._database.session() as db:
                db.add(user)
                await _commit(db)
        except EmailTaken:
            # Of a form that was sent twice both are taken, and the database names either.
            if await self.find_by(username=username) is None:
                raise
            raise _username_taken() from None
        return user

    async def authenticate(self, name: str, password: str) -> User | None:
        """Return the user with this name, or address, and password; None for a wrong name and a
        wrong password alike.
        """
        user = await self.find_login(name)
        return user if await self.has_password(user, password) else None

    async def has_password(self, user: User | None, password: str) -> bool:
        """Whether it is the user's password. It takes as long for None, who has none."""
        if not await self._hasher.verify(user.password_hash if user else None, password):
            return False
        if user is not None and self._hasher.is_outdated(user.password_hash or ""):
            await self._renew_hash(user, password)
        return True

    async def note_login(self, user: User) -> bool:
        """Note that the user logs in, in a session that is listed under the user already.

        Returns False, and the session must go, if the account has changed since `user` was loaded.
        """
        values = {"logged_in_at": datetime.now(UTC)}
        async with self._database.session() as db:
            noted = await _update(db, _unchanged(user), values)
            await db.commit()
        return noted

    async def confirm(self, user_id: str, password: str) -> User:
        """Return the user, if it is the user's password. Raises WrongPassword."""
        user = await self.find(user_id)
        if not await self.has_password(user, password) or user is None:
            raise WrongPassword(_("This is not your current password."))
        return user

    async def delete(self, user: User) -> None:
        """Delete the account for good, and end all its sessions."""
        async with self._database.session() as db:
            await db.execute(delete(User).where(User.id == user.id))
            await Owner(self._store, user.id).end_all()
            await db.commit()

    # Change

    async def set_password(
        self, user: User, password: str, *, but: SessionManager | None = None
    ) -> int:
        """Set the password, and end all sessions, or all others than `but`. Returns how many.

        Raises PasswordRefused; WrongPassword if the account has changed since `user` was loaded.
        """
        check_password(password, user.username)
        hash_ = await self._hasher.hash(password)
        async with self._database.session() as db:
            if not await _update(db, _unchanged(user), {"password_hash": hash_}):
                raise WrongPassword(_("The account was just changed elsewhere."))
            await tokens.end_all(db, user.id)
            ended = await Owner(self._store, user.id).end_all(but=but)
            await db.commit()
        return ended

    async def set_role(self, user_id: str, role: str) -> bool:
        """Give the user this role, or "" for none, in all sessions at once. Returns False if there
        is no such user. Raises RoleRefused.
        """
        check_role(role)
        owner = Owner(self._store, user_id)
        async with self._database.session() as db:
            if not await _update(db, User.id == user_id, {"role": role}):
                return False
            # A right goes before the commit and comes after it: whatever fails, nobody has more
            # than the database says.
            await owner.set("role", "")
            await db.commit()
            # The row is locked again, as somebody may be about to take the role away.
            has_it = (User.id == user_id) & (User.role == role)
            if role and await _update(db, has_it, {"role": role}):
                await owner.set("role", role)
                await db.commit()
        return True

    # Prove an address

    async def make_token(self, user: User, purpose: Purpose, email: str | None = None) -> str:
        """Return a token for a link in a mail to the user, or to `email`, which is to be the user's.

        Raises EmailRefused.
        """
        email = check_email(email or user.email or "")  # in the spelling it is compared in
        async with self._database.session() as db:
            token = await tokens.make(db, user.id, purpose, email)
            await db.commit()
        return token

    async def find_token(self, token: str, *purposes: Purpose) -> tuple[Token, User] | None:
        """Return what a link is for, and whose it is, and leave it usable. None: it is worth nothing,
        as it was used, has expired, or the address is not the user's any more.
        """
        async with self._database.session() as db:
            found = await tokens.find(db, token, *purposes)
            user = None if found is None else await db.get(User, found.user_id)
        if found is None or user is None or not _is_for(found, user):
            return None
        return found, user

    async def prove_email(self, token: str) -> tuple[User, str | None] | None:
        """Use up a link that confirms an address, or changes it. Returns the user and the former
        address; None if the link is worth nothing. Raises EmailTaken.

        Sessions learn of it by `tell_sessions`: tell the former address first, whatever the store does.
        """
        async with self._database.session() as db:
            found = await tokens.take(db, token, Purpose.CONFIRM, Purpose.CHANGE)
            user = (
                None if found is None else await db.get(User, found.user_id, with_for_update=True)
            )
            if found is None or user is None or not _is_for(found, user):
                return None
            former, user.email = user.email, found.email
            user.email_confirmed_at = datetime.now(UTC)
            await _commit(db)
        return user, former

    async def tell_sessions(self, user: User) -> None:
        """Let all sessions of the user know the address, and that it is confirmed."""
        owner = Owner(self._store, user.id)
        await asyncio.gather(owner.set("email", user.email), owner.set("confirmed", user.confirmed))

    async def reset_password(self, token: str, password: str) -> User | None:
        """Use up a link, and set the password: all sessions end. It proves the address, too. Returns
        None if the link is worth nothing. Raises PasswordRefused, which leaves it usable.
        """
        found = await self.find_token(token, Purpose.RESET)
        if found is None:
            return None
        user = found[1]
        check_password(password, user.username)
        hash_ = await self._hasher.hash(password)
        now = datetime.now(UTC)
        values = {"password_hash": hash_, "email_confirmed_at": user.email_confirmed_at or now}
        async with self._database.session() as db:
            if await tokens.take(db, token, Purpose.RESET) is None:
                return None
            if not await _update(db, _unchanged(user), values):
                return None
            await tokens.end_all(db, user.id)
            await Owner(self._store, user.id).end_all()
            await db.commit()
        return user

    async def _find(self, *conditions: Any) -> User | None:
        async with self._database.session() as db:
            return (await db.execute(select(User).where(*conditions))).scalars().first()

    async def _renew_hash(self, user: User, password: str) -> None:
        hash_ = await self._hasher.hash(password)
        async with self._database.session() as db:
            renewed = await _update(db, _unchanged(user), {"password_hash": hash_})
            await db.commit()
        if renewed:
            user.password_hash = hash_


def check_role(role: str) -> None:
    """Raise RoleRefused unless the database can keep it."""
    if len(role) > max_role_characters or not role.isprintable():
        raise RoleRefused(
            _("Use a role of at most {count} letters and digits.", count=max_role_characters)
        )


def _unchanged(user: User) -> Any:
    """The user's row, as long as it has what sessions and passwords depend on."""
    return (
        (User.id == user.id)
        & (User.password_hash.is_not_distinct_from(user.password_hash))
        & (User.role == user.role)
        & (User.email.is_not_distinct_from(user.email))
        & (User.email_confirmed_at.is_(None) == (user.email_confirmed_at is None))
    )


def _is_for(token: Token, user: User) -> bool:
    """Whether what the token proves still matters: the address may have changed since."""
    return token.purpose == Purpose.CHANGE or token.email == user.email


async def _update(db: AsyncSession, which: Any, values: dict[str, Any]) -> bool:
    """Change one row, and lock it until the commit. Returns whether it was there."""
    result = await db.execute(update(User).where(which).values(values))
    assert isinstance(result, CursorResult)
    return result.rowcount == 1


async def _commit(db: AsyncSession) -> None:
    try:
        await db.commit()
    except IntegrityError as error:
        # The database decides: of two people who ask at the same time, it lets one in. Looking first
        # would let in both.
        if is_taken(error, User.username_key):
            raise _username_taken() from None
        if is_taken(error, User.email):
            raise EmailTaken(_("Another account has this address.")) from None
        raise


def _username_taken() -> UsernameTaken:
    return UsernameTaken(_("This username is taken. Choose another."))
