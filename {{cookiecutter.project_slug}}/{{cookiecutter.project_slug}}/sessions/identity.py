"""The session's id: minted, carried by a signed cookie, turned into the store's key.

The cookie is Tornado's signed value, version 2, of `token` or `token.lifetime`. The token is 256
random bits. The store sees only its SHA-256, so that a dump of the store opens no session.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from tornado.escape import utf8
from tornado.web import create_signed_value

TOKEN_BYTES: Final = 32

_REMEMBERED: Final = 4096
"""How many Cookie headers each process remembers; with the next limit, 8 MB at the very most."""
_LONGEST_REMEMBERED: Final = 1024

_SIGNED: Final = (
    r"(2\|\d{1,2}:(?P<version>\d{1,9})\|10:(?P<time>\d{10})\|\d{1,3}:%(name)s\|"
    r"\d{2,3}:(?P<value>[A-Za-z0-9+/]{56,80}={0,2})\|)(?P<signature>[0-9a-f]{64})"
)
_VALUE: Final = re.compile(r"(?P<token>[A-Za-z0-9_-]{43})(?:\.(?P<lifetime>\d{1,10}))?", re.ASCII)


class Cookie(NamedTuple):
    """A session cookie whose signature holds. Whether a record exists is another question."""

    token: str
    id: str
    """What the store knows the token by."""
    signed_at: int
    """Seconds since the epoch, by the clock of the server that signed."""
    lifetime_s: int | None
    """How long the visitor asked to be remembered; None where nothing was asked."""


class CookieSigner:
    """Signs and verifies the cookie called `name` with an application's `cookie_secret`.

    Signing is Tornado's. Verifying accepts exactly what Tornado would, but is stricter on form,
    several times faster, and silent: Tornado logs a refused cookie whole, and with it an id that
    may still be good.
    """

    def __init__(
        self, name: str, secret: str | bytes | Mapping[int, str | bytes], key_version: int | None
    ) -> None:
        versions = secret if isinstance(secret, Mapping) else {0: secret}
        self._name = name
        escaped = re.escape(name)
        self._sent = re.compile(
            rf'(?:^|;)\s*{escaped}="?{_SIGNED % {"name": escaped}}"?\s*(?:;|$)', re.ASCII
        )
        self._keys = {version: utf8(key) for version, key in versions.items()}
        self._key_version = key_version or 0
        # What a visitor sends is the same from request to request. Remembering what came of it
        # saves a signature and a hash, a third of what a session costs a reading request here.
        self._remembered = lru_cache(_REMEMBERED)(self._verified)

    def sign(self, token: str, lifetime_s: int | None, now: float) -> str:
        """Return the cookie's value. `now` is in seconds since the epoch."""
        value = token if lifetime_s is None else f"{token}.{lifetime_s}"
        signed = create_signed_value(
            self._keys, self._name, value, clock=lambda: now, key_version=self._key_version
        )
        return signed.decode()

    def read(self, header: str | None) -> Cookie | None:
        """Return what our cookie in a Cookie header carries; None if none of ours is there.

        Its age is not judged. Costs no trip: a guessed or mangled cookie never reaches the store.
        """
        if header is None:
            return None
        if len(header) > _LONGEST_REMEMBERED:
            return self._verified(header)
        return self._remembered(header)

    def _verified(self, header: str) -> Cookie | None:
        # Parsing all cookies of a request with http.cookies would cost more than all the rest here.
        parts = self._sent.search(header)
        if parts is None:
            return None
        signed, version, time, encoded, signature = parts.groups()
        key = self._keys.get(int(version))
        if key is None:
            return None
        expected = hmac.digest(key, signed.encode(), "sha256").hex()
        if not hmac.compare_digest(signature, expected):
            return None
        content = _VALUE.fullmatch(base64.b64decode(encoded).decode(errors="replace"))
        if content is None:
            return None
        token, lifetime_s = content.groups()
        return Cookie(
            token, hashed(token), int(time), None if lifetime_s is None else int(lifetime_s)
        )


def mint() -> str:
    """Return a new token: 256 bits from the operating system, as 43 characters."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def hashed(token: str) -> str:
    """Return what the store knows a token by."""
    return hashlib.sha256(token.encode()).hexdigest()
