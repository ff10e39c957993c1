"""What an application's requests share: configuration, engines, the cookie's signer, a clock."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
import weakref
from collections.abc import Callable
from typing import Final

from tornado.web import Application

from .config import SessionConfig
from .engines import Engine, Fields
from .errors import StoreUnavailable
from .identity import CookieSigner
from .outbox import KINDS, Kind

ENDED_NOTED_S: Final = 60
"""How long it is noted that an id was ended on purpose. Requests under way with it must not clear
the cookie: it may be the new one, set by a login in the next tab."""

_ATTRIBUTE: Final = "_session_store"

log = logging.getLogger(__package__)


class Store:
    """The session store of one application. Get it with `Store.of(application)`."""

    config: SessionConfig
    sessions: Engine
    """Where sessions, the index of active sessions and login throttles are kept."""
    notifications: Engine
    clock: Callable[[], float]
    """Seconds since the epoch. Tests put their own here."""

    def __init__(self, application: Application) -> None:
        settings = application.settings
        self.config = SessionConfig.from_settings(settings)
        engine, storage = self.config.engine, self.config.storage
        self.sessions = engine.open(storage, "sessions", self.config.storage_timeout)
        self.notifications = engine.open(storage, "notifications", self.config.storage_timeout)
        self.clock = time.time
        self.signer = CookieSigner(
            self.config.cookie.name, settings["cookie_secret"], settings.get("key_version")
        )
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self._salt = self.signer.sign("log", None, 0)
        self._logged: dict[str, float] = {}

    @staticmethod
    def of(application: Application) -> Store:
        """Return the application's store, opened on the first call.

        Call it when the application is made: it raises `ConfigurationError`, listing every fault
        of the settings. Nothing is connected before the first trip.
        """
        store: Store | None = getattr(application, _ATTRIBUTE, None)
        if store is None:
            store = Store(application)
            setattr(application, _ATTRIBUTE, store)
        return store

    @property
    def address(self) -> str:
        """Where the store is, for people."""
        return self.sessions.address

    def key(self, kind: str, name: str) -> str:
        """Return the store's key for `name` among records of that kind."""
        return f"{self.config.key_prefix}:{kind}:{name}"

    def lock(self, key: str) -> asyncio.Lock:
        """Return this process's lock for `key`. It spares tries; correctness is the engine's."""
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = asyncio.Lock()
        return lock

    def alias(self, token_hash: str) -> str:
        """Return what logs call a session: it leads back neither to the id nor to the record."""
        return hmac.digest(self._salt.encode(), token_hash.encode(), "sha256").hex()[:12]

    def log_outage(self, error: StoreUnavailable) -> None:
        """Log an outage, at most once a second for each cause."""
        now = self.clock()
        if abs(now - self._logged.get(error.cause, 0)) >= 1:
            if len(self._logged) > 100:
                self._logged.clear()
            self._logged[error.cause] = now
            log.error("%s", error)

    async def end(self, session_id: str) -> tuple[Fields, dict[Kind, Fields]]:
        """Remove all records of a session and return what they held, the session's own first.

        `session_id` is the hash of its token. From here on the id is dead: requests under way with
        it find nothing, and what they write is dropped. Of several that end a session at once, one
        gets it all and the others nothing.
        """
        # The note first: a request that finds no record any more must find the note.
        _, record = await asyncio.gather(
            self.sessions.save(
                self.key("ended", session_id), {"ended": b""}, ENDED_NOTED_S, create=True
            ),
            self.sessions.take(self.key("session", session_id)),
        )
        if not record:
            return {}, {}
        pending = await asyncio.gather(
            *(self.notifications.take(self.key(kind, session_id)) for kind in KINDS)
        )
        return record, dict(zip(KINDS, pending, strict=True))

    async def ended(self, session_id: str) -> bool:
        """Whether the session was ended on purpose within the last minute."""
        return bool(await self.sessions.load(self.key("ended", session_id)))

    async def ping(self) -> None:
        """Return when both engines have answered; raises `StoreUnavailable` where one does not."""
        await asyncio.gather(self.sessions.ping(), self.notifications.ping())

    async def close(self) -> None:
        """Close the connections, at the end of the application."""
        await self.sessions.close()
        await self.notifications.close()
