"""The cookie that carries a session's token, signed by Tornado's `create_signed_value`.

The token is 256 random bits and says nothing. The store sees only its SHA-256, the session's id,
so that a dump of the store opens no session.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from tornado.web import create_signed_value, decode_signed_value

Secret = str | bytes | Mapping[int, str | bytes]

_TOKEN: Final = re.compile(rb"[A-Za-z0-9_-]{43}")

_MOST_TOKENS: Final = 4
"""Sessions that one request may be tried against, a trip each. A browser sends several cookies of
one name if they differ in path or domain."""
_MOST_COOKIES: Final = 20
"""Cookies of our name that one request may have verified."""
_MOST_REMEMBERED: Final = 1024
"""Cookies whose signatures and ids are remembered: a browser sends the same one with each request,
and to verify it takes half as long as to load the session."""

_NO_LIMIT_DAYS: Final = 10_000
"""The record knows when the session ends; the cookie's signature does not have to."""


def new_token() -> str:
    """Return 256 bits from the operating system as 43 characters."""
    return secrets.token_urlsafe(32)


@lru_cache(_MOST_REMEMBERED)
def id_of(token: str) -> str:
    """Return the session's id: what the store knows the token by."""
    return hashlib.sha256(token.encode()).hexdigest()


class CookieSigner:
    """Signs and verifies cookies called `name` with an application's `cookie_secret`.

    `key_version` says which key of a dictionary of secrets signs; all of them verify.
    """

    def __init__(self, name: str, secret: Secret, key_version: int | None = None) -> None:
        self._name = name
        self._secret: Any = dict(secret) if isinstance(secret, Mapping) else secret
        self._key_version = key_version
        self._token = lru_cache(_MOST_REMEMBERED)(self._verify)

    def sign(self, token: str) -> str:
        """Return the cookie's value for `token`."""
        signed = create_signed_value(self._secret, self._name, token, key_version=self._key_version)
        return signed.decode()

    def tokens(self, header: str | None) -> list[str]:
        """Return the tokens in a Cookie header whose signatures hold, in the order sent.

        Costs no trip: a guessed or mangled cookie never reaches the store. Refused cookies are not
        logged, since they may carry a token that is still good.
        """
        if not header or self._name not in header:
            return []
        values: list[str] = []
        for part in header.split(";"):
            name, _, value = part.partition("=")
            if name.strip() == self._name and len(values) < _MOST_COOKIES:
                value = value.strip().strip('"')
                if value not in values:
                    values.append(value)
        tokens = [token for value in values if (token := self._token(value)) is not None]
        return tokens[:_MOST_TOKENS]

    def _verify(self, value: str) -> str | None:
        # min_version: version 1 of Tornado's signatures is SHA-1, and logs what it refuses.
        token = decode_signed_value(
            self._secret, self._name, value, max_age_days=_NO_LIMIT_DAYS, min_version=2
        )
        return token.decode() if token and _TOKEN.fullmatch(token) else None
