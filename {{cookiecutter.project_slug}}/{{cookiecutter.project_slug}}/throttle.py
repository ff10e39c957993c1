"""Slows down guessing: failed logins are counted per address and per account, in the session store.

handlers/auth.py and handlers/account.py ask `Throttle.attempt` before they check a password. All
processes count together, as the marks are a record in the store; it works on every engine, through
the engine contract alone.

An attempt is marked *before* the password is checked. Counting first and marking after would let
any number of concurrent guesses through: all of them would see the same low count.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import math
import secrets
from dataclasses import dataclass

from tornado.web import HTTPError

from .sessions import Store


@dataclass(frozen=True)
class Limit:
    """At most `failures` in any `window_s` seconds."""

    kind: str
    failures: int
    window_s: float


address_limit = Limit("address", failures=10, window_s=60)
account_limit = Limit("account", failures=5, window_s=300)


class TooManyFailures(HTTPError):
    """There were too many failed attempts; the next one can be made in `retry_after_s` seconds.
    Left alone it becomes a 429.
    """

    def __init__(self, limit: Limit, retry_after_s: int) -> None:
        self.limit = limit
        self.retry_after_s = retry_after_s
        super().__init__(429, "too many failed attempts for one %s", limit.kind)


class Throttle:
    """Counts failed attempts in `store`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def attempt(self, address: str, username_key: str) -> Attempt:
        """Mark an attempt from `address` on the account `username_key`, which counts as failed
        until it is forgiven.

        Raises TooManyFailures, and leaves no mark, where one of the two has failed too often;
        StoreUnavailable.
        """
        marks = [
            _Mark(self._store, address_limit, _network(address)),
            _Mark(self._store, account_limit, username_key),
        ]
        await asyncio.gather(*(mark.make() for mark in marks))
        waits = await asyncio.gather(*(mark.wait_s() for mark in marks))
        attempt = Attempt(marks)
        if any(waits):
            # A refused attempt checks no password, so it is no failure. It also must not grow the
            # record.
            await attempt.forgive()
            limit, wait_s = max(
                zip((mark.limit for mark in marks), waits, strict=True), key=lambda pair: pair[1]
            )
            raise TooManyFailures(limit, wait_s)
        return attempt


class Attempt:
    """One attempt that was let through, and counts as failed."""

    def __init__(self, marks: list[_Mark]) -> None:
        self._marks = marks

    async def forgive(self) -> None:
        """Take this attempt's own marks back: the password was right. Failures of others go on
        counting.
        """
        await asyncio.gather(*(mark.remove() for mark in self._marks))


class _Mark:
    """A field `<time>-<random>` in the record of one address or account."""

    def __init__(self, store: Store, limit: Limit, name: str) -> None:
        self.limit = limit
        self._engine = store.sessions
        self._now = store.clock()
        # Hashed: what somebody typed, perhaps a password in the wrong box, is no business of the
        # store.
        digest = hashlib.sha256(name.encode()).hexdigest()
        self._key = store.key("throttle", f"{limit.kind}:{digest}")
        self._field = f"{self._now:.6f}-{secrets.token_hex(8)}"

    async def make(self) -> None:
        await self._engine.write(self._key, {self._field: b""}, self.limit.window_s, create=True)

    async def wait_s(self) -> int:
        """Seconds until there is room for this mark; 0 when there is.

        Every mark in the window counts, those made after this one too: of several at once, each
        sees the others, so that too many may be refused for a moment but never too many let
        through.
        """
        snapshot = await self._engine.load(self._key)
        fields = snapshot.fields if snapshot is not None else {}
        times = {field: float(field.partition("-")[0]) for field in fields if field != self._field}
        oldest = self._now - self.limit.window_s
        if gone := {field: None for field, at in times.items() if at <= oldest}:
            # The record's TTL starts again with every mark, so under constant fire it is we who
            # remove the old ones.
            await self._engine.write(self._key, gone, self.limit.window_s, create=False)
        others = sorted(at for at in times.values() if at > oldest)
        surplus = len(others) - self.limit.failures
        if surplus < 0:
            return 0
        free_in_s = others[surplus] + self.limit.window_s - self._now
        return max(1, math.ceil(round(free_in_s, 3)))

    async def remove(self) -> None:
        await self._engine.write(self._key, {self._field: None}, self.limit.window_s, create=False)


def _network(address: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 that a single IPv6 customer is
    handed.
    """
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address  # a Unix socket's
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)
