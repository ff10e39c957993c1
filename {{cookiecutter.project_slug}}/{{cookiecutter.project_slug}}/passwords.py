"""Passwords: which ones are taken, and their hashes.

accounts.py uses this. To ask for other passwords, change the constants or `check_password`.
"""

from __future__ import annotations

import asyncio
import secrets
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TypeVar

import argon2

from .load import Busy, Client, check_client, client
from .per_loop import PerLoop
from .texts import _

min_password_characters = 8
max_password_bytes = 1024
max_waiting = 100  # one more gets a 503: with a hash in 50 ms, it would wait for 2.5 s

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


class PasswordRefused(ValueError):
    """This cannot be a new password; the text says why, to its owner."""


def check_password(password: str, *others: str) -> None:
    """Raise PasswordRefused unless `password` can be a new one. `others` are the user's name and
    whatever else of the user's it must not be.
    """
    if _too_long(password):
        raise PasswordRefused(_("Use at most {count} bytes.", count=max_password_bytes))
    if len(_normal(password)) < min_password_characters:
        raise PasswordRefused(_("Use at least {count} characters.", count=min_password_characters))
    folded = _folded(password)
    if any(folded == _folded(each) for each in others if not _too_long(each)):
        raise PasswordRefused(_("Use something other than your name or address."))
    if folded in _common_passwords():
        raise PasswordRefused(
            _("This is one of the first passwords anybody would try. Use another.")
        )


class Hasher:
    """Argon2 in threads of its own, as it is meant to be slow: it holds up neither the event loop
    nor other work.

    What hashes raises Busy if too many wait already, ClientGone if the client hung up meanwhile.
    """

    def __init__(self, cost: argon2.Parameters = PASSWORD_COST, threads: int = 2) -> None:
        """Each of the `threads` works with the memory of `cost`; who comes next waits."""
        self._argon2 = argon2.PasswordHasher.from_parameters(cost)
        self._pool = PerLoop(lambda: ThreadPoolExecutor(threads, thread_name_prefix="argon2"))
        self._threads = PerLoop(lambda: asyncio.Semaphore(threads))
        self._waiting: list[Client] = []

    @property
    def waiting(self) -> int:
        """How many wait for a thread."""
        return len(self._waiting)

    def close(self) -> None:
        """Let go of the threads of this event loop, in which nothing works afterwards."""
        self._pool.get().shutdown(wait=False, cancel_futures=True)

    async def hash(self, password: str) -> str:
        return await self._in_pool(lambda: self._argon2.hash(_normal(password)))

    async def verify(self, hash_: str | None, password: str) -> bool:
        """Whether `hash_` is the password's. None is nobody's hash, and takes as long: the time
        must not tell whether a user exists.
        """
        if _too_long(password):
            return False  # before hashing: no password is that long, and hashing megabytes is work

        def verify() -> bool:
            try:
                return self._argon2.verify(hash_ or self._nobodys_hash, _normal(password))
            except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
                return False

        return await self._in_pool(verify) and hash_ is not None

    def is_outdated(self, hash_: str) -> bool:
        """Whether the cost has changed since the hash was made."""
        return self._argon2.check_needs_rehash(hash_)

    @cached_property
    def _nobodys_hash(self) -> str:
        return self._argon2.hash(secrets.token_urlsafe())

    async def _in_pool(self, function: Callable[[], T]) -> T:
        if sum(not each.gone for each in self._waiting) >= max_waiting:
            raise Busy("too many passwords wait to be checked")
        self._waiting.append(client.get())
        threads = self._threads.get()
        try:
            await threads.acquire()
        finally:
            self._waiting.remove(client.get())
        try:
            check_client()
            return await asyncio.get_running_loop().run_in_executor(self._pool.get(), function)
        finally:
            threads.release()


def _normal(password: str) -> str:
    # NIST SP 800-63B: the same password typed on two keyboards can arrive as different code points.
    return unicodedata.normalize("NFKC", password)


def _folded(text: str) -> str:
    return _normal(_normal(text).strip().casefold())  # folding can undo normalisation


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
