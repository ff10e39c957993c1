"""What an application's requests share: configuration, engines, the cookie's signer, a clock."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from tornado.escape import utf8
from tornado.web import Application

from .config import SessionConfig
from .cookie import CookieSigner
from .engines import Engine
from .engines.base import Locks
from .errors import StoreUnavailable

_ATTRIBUTE: Final = "_store_of_sessions"

log = logging.getLogger(__package__)


class Store:
    """The session store of one application, made from its `settings`.

    `Store.of(application)` returns the one that handlers use. A job or script without an
    application makes its own: `Store({"pycket": {...}, "cookie_secret": ...})`. Raises
    `ConfigurationError`, listing every fault. Nothing is connected before the first trip.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.config = config = SessionConfig.from_settings(settings)
        timeout_s = config.storage_timeout
        self.sessions: Engine = config.engine.open(config.storage, "sessions", timeout_s)
        """Where sessions, the lists of users' sessions and login throttles are kept."""
        self.notifications: Engine = config.engine.open(config.storage, "notifications", timeout_s)
        self.address = self.sessions.address
        """Where the store is, for people. Never a password."""
        self.clock: Callable[[], float] = time.time
        """Seconds since the epoch. Tests put their own here."""
        secret, version = settings["cookie_secret"], settings.get("key_version")
        self.signer = CookieSigner(config.cookie.name, secret, version)
        key = utf8(secret[version] if isinstance(secret, Mapping) else secret)
        self._alias_key = hmac.digest(key, b"names of sessions in logs", "sha256")
        self._logged: dict[str, float] = {}
        self.lock = Locks(self.address)
        """Spares `modify` most of its tries; that nothing is lost is the engine's doing."""

    @staticmethod
    def of(application: Application) -> Store:
        """Return the application's store, opened on the first call.

        Call it when the application is made, so that faults of the settings stop the start.
        """
        store: Store | None = getattr(application, _ATTRIBUTE, None)
        if store is None:
            store = Store(application.settings)
            store.use_in(application)
        return store

    def use_in(self, application: Application) -> None:
        """Make this the store of `application`, where it was made before the application."""
        setattr(application, _ATTRIBUTE, self)

    def key(self, kind: str, name: str) -> str:
        """Return the store's key for `name` among records of that kind."""
        return f"{self.config.key_prefix}:{kind}:{name}"

    def alias(self, session_id: str) -> str:
        """Return what log lines call a session: it leads back neither to the id nor to the key."""
        return hmac.digest(self._alias_key, session_id.encode(), "sha256").hex()[:12]

    def log_outage(self, error: StoreUnavailable) -> None:
        """Log an outage, at most once a second for each cause."""
        now = self.clock()
        if abs(now - self._logged.get(error.cause, 0)) >= 1:
            if len(self._logged) > 100:
                self._logged.clear()
            self._logged[error.cause] = now
            log.error("%s%s", error, f" ({error.cure})" if error.cure else "")

    async def ping(self, within_s: float | None = None) -> list[StoreUnavailable]:
        """Do what pages do: write, read and end records, in both engines and on each server.

        Returns what is wrong with servers that at most half of the visitors need. Raises
        `StoreUnavailable` if it is more. Both have the cause and, where it is known, the cure.
        """
        prefix, limit_s = self.key("ping", "try"), within_s or self.config.storage_timeout
        engines = (self.sessions, self.notifications)
        found = await asyncio.gather(*(engine.ping(prefix, limit_s) for engine in engines))
        return list({error.args: error for errors in found for error in errors}.values())

    async def close(self) -> None:
        """Close the connections, at the end of the application or of an event loop."""
        await asyncio.gather(self.sessions.close(), self.notifications.close())
