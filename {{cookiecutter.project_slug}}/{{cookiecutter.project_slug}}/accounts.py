"""Who has an account: usernames and password hashes, in a database.

The handlers call `Accounts`; it belongs to the application. Add what your users have more of (an
e-mail address, say) as columns of `User`, and bring in Alembic once there is data to keep: `start`
creates tables, it does not change them.
"""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
import unicodedata
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeVar

import argon2
from sqlalchemy import DateTime, String, delete, event, exc, select, text, update
from sqlalchemy.engine import CursorResult, Dialect, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator
from tornado.web import HTTPError

from . import postgresql

max_username_characters = 64
min_password_characters = 8
max_password_bytes = 1024
database_timeout_s = 5
hashing_threads = 2  # each works with the memory of PASSWORD_COST; the others wait their turn

# Argon2id, as the OWASP Password Storage Cheat Sheet recommends it: 19 MiB, two passes. When this
# changes, each user's hash is renewed at the next login.
PASSWORD_COST = argon2.Parameters(
    type=argon2.Type.ID,
    version=19,
    salt_len=16,
    hash_len=32,
    time_cost=2,
    memory_cost=19 * 1024,  # KiB
    parallelism=1,
)

T = TypeVar("T")


class UsernameRefused(ValueError):
    """This cannot be a username; the text says why, to its owner."""


class UsernameTaken(UsernameRefused):
    """Somebody has this username already, perhaps in another spelling."""


class PasswordRefused(ValueError):
    """This cannot be a new password; the text says why, to its owner."""


class WrongPassword(ValueError):
    """The current password is another one."""


class DatabaseUnavailable(HTTPError):
    """The database did not answer, or not in time. Left alone it becomes a 503."""

    retry_after_s = 1

    def __init__(self, address: str, cause: BaseException) -> None:
        self.address = address
        self.cause = str(cause).partition("\n")[0] or type(cause).__name__
        super().__init__(503, "%s", f"database {address}: {self.cause}")

    def __str__(self) -> str:
        return f"database {self.address}: {self.cause}"


def username_key(username: str) -> str:
    """What makes two usernames the same: compatible forms and case do not count, nor do spaces
    around it.
    """
    if len(username) > 4 * max_username_characters:
        # Nobody's. Normalising takes a time that grows with the square of a row of accents: a form
        # full of them would hold up the event loop for minutes.
        return username
    folded = unicodedata.normalize("NFKC", username).strip().casefold()
    return unicodedata.normalize("NFKC", folded)  # folding can undo normalisation


def check_username(username: str) -> str:
    """Return the username as it is kept and shown. Raises UsernameRefused."""
    if len(username) > 4 * max_username_characters:
        raise UsernameRefused(f"Use at most {max_username_characters} characters.")
    username = unicodedata.normalize("NFKC", username).strip()
    if not username:
        raise UsernameRefused("Choose a username.")
    if max(len(username), len(username_key(username))) > max_username_characters:
        raise UsernameRefused(f"Use at most {max_username_characters} characters.")
    if any(unicodedata.category(c)[0] == "C" or c in _INVISIBLE for c in username):
        raise UsernameRefused("Use letters, digits and signs that can be seen.")
    if any(unicodedata.category(c)[0] == "Z" and c != " " for c in username) or "  " in username:
        raise UsernameRefused("Use single spaces between words, and no other blanks.")
    return username


def check_password(password: str, username: str) -> None:
    """Raise PasswordRefused unless `password` can be a new one for the user of that name."""
    if _too_long(password):
        raise PasswordRefused(f"Use at most {max_password_bytes} bytes.")
    if len(_normal(password)) < min_password_characters:
        raise PasswordRefused(f"Use at least {min_password_characters} characters.")
    key = username_key(password)
    if key == username_key(username):
        raise PasswordRefused("Use something other than your username.")
    if key in _common_passwords():
        raise PasswordRefused("This is one of the first passwords anybody would try. Use another.")


class _UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC on every database: SQLite alone would forget the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class Table(DeclarativeBase):
    """Base of the app's tables: subclass it, and `Accounts.start` creates yours too."""


class User(Table):
    __tablename__ = "users"

    id: Mapped[str] = mapped_column(String(22), primary_key=True)
    """Random: it says nothing, and a deleted user's is never given again."""
    username: Mapped[str] = mapped_column(String(max_username_characters))
    username_key: Mapped[str] = mapped_column(String(max_username_characters), unique=True)
    password_hash: Mapped[str] = mapped_column(String(255))
    created_at: Mapped[datetime] = mapped_column(_UtcDateTime)


class Accounts:
    """The users of one application. Every method but `close` raises DatabaseUnavailable when the
    database is gone.
    """

    def __init__(self, database_url: str, cost: argon2.Parameters = PASSWORD_COST) -> None:
        url = make_url(database_url)
        self.address = url.render_as_string(hide_password=True)
        self._file = url.database if url.get_backend_name() == "sqlite" else None
        self._engine = _engine(database_url)
        self._hasher = argon2.PasswordHasher.from_parameters(cost)
        # Argon2 is meant to be slow: it has threads of its own, so that it holds up neither the
        # event loop nor other work.
        self._pool = ThreadPoolExecutor(hashing_threads, thread_name_prefix="argon2")

    async def start(self) -> None:
        """Create the tables that are not there yet."""
        if (file := self._file) is not None:
            # aiosqlite leaves a thread behind when it cannot open a file; it may fail later, with a
            # traceback, on an event loop that is closed. So see first whether it can be opened.
            try:
                await self._in_pool(lambda: sqlite3.connect(file).close())
            except sqlite3.Error as error:
                raise DatabaseUnavailable(self.address, error) from error
        try:
            async with self._reaching_the_database(), self._engine.begin() as connection:
                await connection.run_sync(Table.metadata.create_all)
        except exc.DBAPIError as error:  # a wrong password, no such database, no right to create
            raise DatabaseUnavailable(self.address, error.orig or error) from error

    async def close(self) -> None:
        """Let go of the connections and threads. Nothing works afterwards."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        await self._engine.dispose()

    async def ping(self) -> None:
        """Ask the database something that costs nothing."""
        async with self._session() as session:
            await session.execute(text("SELECT 1"))

    async def register(self, username: str, password: str) -> User:
        """Make an account. Raises UsernameRefused, UsernameTaken or PasswordRefused."""
        username = check_username(username)
        check_password(password, username)
        user = User(
            id=secrets.token_urlsafe(16),
            username=username,
            username_key=username_key(username),
            password_hash=await self._in_pool(lambda: self._hasher.hash(_normal(password))),
            created_at=datetime.now(UTC),
        )
        try:
            async with self._session() as session:
                session.add(user)
                await session.commit()
        except exc.IntegrityError:
            # The database decides: of two people who ask at the same time, it lets one in. Looking
            # first would let in both.
            raise UsernameTaken("This username is taken. Choose another.") from None
        return user

    async def authenticate(self, username: str, password: str) -> User | None:
        """Return the user with this name and password; None for a wrong name and a wrong password
        alike.
        """
        key = username_key(username)
        # No name has a NUL, and PostgreSQL fails when it is asked for one.
        user = await self._find(User.username_key == key) if "\x00" not in key else None
        if not await self._verify(user, password) or user is None:
            return None
        if self._hasher.check_needs_rehash(user.password_hash):
            await self._replace_hash(user, password)
        return user

    async def is_current(self, user: User) -> bool:
        """Whether the account is still there, with the password that `user` was loaded with."""
        now = await self._find(User.id == user.id)
        return now is not None and now.password_hash == user.password_hash

    async def change_password(self, user_id: str, current: str, new: str) -> None:
        """Replace the password. Raises WrongPassword, PasswordRefused."""
        user = await self._confirm(user_id, current)
        check_password(new, user.username)
        if not await self._replace_hash(user, new):
            raise WrongPassword("The password was just changed elsewhere.")

    async def delete(self, user_id: str, password: str) -> None:
        """Delete the account for good. Raises WrongPassword."""
        user = await self._confirm(user_id, password)
        async with self._session() as session:
            await session.execute(delete(User).where(User.id == user.id))
            await session.commit()

    async def _confirm(self, user_id: str, password: str) -> User:
        user = await self._find(User.id == user_id)
        if not await self._verify(user, password) or user is None:
            raise WrongPassword("This is not your current password.")
        return user

    async def _find(self, condition: Any) -> User | None:
        async with self._session() as session:
            return (await session.execute(select(User).where(condition))).scalar_one_or_none()

    async def _verify(self, user: User | None, password: str) -> bool:
        if _too_long(password):
            return False  # before hashing: no password is that long, and hashing megabytes is work

        def verify() -> bool:
            # Without a user, a hash of nobody's password is checked: the time must not tell whether
            # a name exists.
            hash_ = user.password_hash if user is not None else self._nobodys_hash
            try:
                return self._hasher.verify(hash_, _normal(password))
            except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
                return False

        return await self._in_pool(verify) and user is not None

    @cached_property
    def _nobodys_hash(self) -> str:
        return self._hasher.hash(secrets.token_urlsafe())

    async def _replace_hash(self, user: User, password: str) -> bool:
        """Set the password, unless somebody else has set it since `user` was loaded: then False."""
        new = await self._in_pool(lambda: self._hasher.hash(_normal(password)))
        unchanged = (User.id == user.id) & (User.password_hash == user.password_hash)
        async with self._session() as session:
            result = await session.execute(update(User).where(unchanged).values(password_hash=new))
            await session.commit()
        assert isinstance(result, CursorResult)
        if result.rowcount != 1:
            return False
        user.password_hash = new
        return True

    async def _in_pool(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function)

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[AsyncSession]:
        async with (
            self._reaching_the_database(),
            AsyncSession(self._engine, expire_on_commit=False) as session,
        ):
            yield session

    @asynccontextmanager
    async def _reaching_the_database(self) -> AsyncIterator[None]:
        try:
            yield
        except (exc.OperationalError, exc.InterfaceError, exc.TimeoutError, OSError) as error:
            raise DatabaseUnavailable(
                self.address, getattr(error, "orig", None) or error
            ) from error


def _engine(database_url: str) -> AsyncEngine:
    if make_url(database_url).get_backend_name() != "sqlite":
        timeouts = {"timeout": database_timeout_s, "command_timeout": database_timeout_s}
        url, arguments = postgresql.translate(make_url(database_url))
        return create_async_engine(
            url,
            pool_pre_ping=True,
            pool_timeout=database_timeout_s,
            connect_args=timeouts | arguments,
            hide_parameters=True,
        )

    # hide_parameters: no error in the log shows a name or a hash.
    engine = create_async_engine(
        database_url, connect_args={"timeout": database_timeout_s}, hide_parameters=True
    )

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, record: object) -> None:
        cursor = connection.cursor()
        # With a write-ahead log, readers and the one writer do not wait for each other, and NORMAL
        # is safe against a crash of the app. Writers wait for each other, instead of failing.
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.execute(f"PRAGMA busy_timeout={database_timeout_s * 1000}")
        cursor.close()

    return engine


def _normal(password: str) -> str:
    # NIST SP 800-63B: the same password typed on two keyboards can arrive as different code points.
    return unicodedata.normalize("NFKC", password)


def _too_long(password: str) -> bool:
    # As typed, and as hashed: normalising can make it longer.
    return (
        max(len(password.encode()), len(_normal(password[:max_password_bytes]).encode()))
        > max_password_bytes
    )


@lru_cache(maxsize=1)
def _common_passwords() -> frozenset[str]:
    return frozenset(
        (Path(__file__).parent / "common_passwords.txt").read_text(encoding="utf-8").split()
    )


# Code points that show nothing although they are no control or format characters: fillers and
# variation selectors.
_INVISIBLE = frozenset(
    map(
        chr,
        (
            0x034F,
            0x115F,
            0x1160,
            0x17B4,
            0x17B5,
            0x180B,
            0x180C,
            0x180D,
            0x180F,
            0x2800,
            0x3164,
            0xFFA0,
        ),
    )
) | frozenset(map(chr, [*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)]))
