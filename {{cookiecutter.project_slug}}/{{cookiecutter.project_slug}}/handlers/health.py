"""For the machines that watch the app. Neither page touches a session.

/healthz: the process lives; restart it when this fails. /readyz: store and database can be used, and
the schema is what the code needs; send no visitors while this fails.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable

from ..database import DatabaseUnavailable, DatabaseUnusable
from ..sessions import StoreUnavailable
from .base import PlainHandler

patience_s = 1.0

log = logging.getLogger(__name__)


class HealthHandler(PlainHandler):
    logs_requests = False

    def get(self) -> None:
        self.set_header("Cache-Control", "no-store")
        self.write({"status": "ok"})


class ReadyHandler(PlainHandler):
    logs_requests = False

    async def get(self) -> None:
        self.set_header("Cache-Control", "no-store")
        store, database = await asyncio.gather(
            _answers("store", self.application.services.store.ping()),
            _answers("database", self.application.services.database.ping()),
        )
        if (store, database) != ("ok", "ok"):
            self.set_status(503)
            self.set_header("Retry-After", "1")
        # No addresses and no causes: anybody can ask. The log has them.
        self.write({"store": store, "database": database})


async def _answers(name: str, ping: Awaitable[None]) -> str:
    try:
        await asyncio.wait_for(ping, patience_s)
    except (StoreUnavailable, DatabaseUnavailable, DatabaseUnusable, TimeoutError) as error:
        log.warning("not ready: %s: %s", name, str(error) or type(error).__name__)
        return getattr(error, "state", "unavailable")
    return "ok"


ROUTES = [
    (r"/healthz", HealthHandler),
    (r"/readyz", ReadyHandler),
]
