"""For the machines that watch the app. Neither page touches a session.

/healthz: the process lives; restart it when this fails. /readyz: store and database answer; send no
visitors while this fails.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable

from ..accounts import DatabaseUnavailable
from ..sessions import StoreUnavailable
from .base import PlainHandler

patience_s = 1.0

log = logging.getLogger(__name__)


class HealthHandler(PlainHandler):
    def get(self) -> None:
        self.set_header("Cache-Control", "no-store")
        self.write({"status": "ok"})

    def head(self) -> None:
        self.get()


class ReadyHandler(PlainHandler):
    async def get(self) -> None:
        self.set_header("Cache-Control", "no-store")
        store, database = await asyncio.gather(
            _answers("store", self.application.store.ping()),
            _answers("database", self.application.accounts.ping()),
        )
        if not (store and database):
            self.set_status(503)
            self.set_header("Retry-After", "1")
        # No addresses and no causes: anybody can ask. The log has them.
        self.write(
            {
                "store": "ok" if store else "unavailable",
                "database": "ok" if database else "unavailable",
            }
        )

    async def head(self) -> None:
        await self.get()


async def _answers(name: str, ping: Awaitable[None]) -> bool:
    try:
        await asyncio.wait_for(ping, patience_s)
    except (StoreUnavailable, DatabaseUnavailable, TimeoutError) as error:
        log.warning("not ready: %s: %s", name, str(error) or type(error).__name__)
        return False
    return True


ROUTES = [
    (r"/healthz", HealthHandler),
    (r"/readyz", ReadyHandler),
]
