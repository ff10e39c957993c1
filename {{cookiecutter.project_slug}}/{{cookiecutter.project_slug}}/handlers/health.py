"""For the machines that watch the app. Neither page touches a session.

/healthz: the process lives; restart it when this fails. /readyz: store and database can be used, the
schema is what the code needs, and the app is not about to stop; send no visitors while this fails.
It does what pages do: it writes, reads and ends records. Where a store has several servers, it fails
when more than half of the visitors cannot be served: all instances share the store, and would all be
taken away at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable

from ..database import DatabaseUnavailable, DatabaseUnusable
from ..sessions import StoreUnavailable
from .plain import PlainHandler

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
        if self.application.draining:
            self.set_status(503)
            self.write({"app": "stopping"})
            return
        services = self.application.services
        # A server that is silent is given up a little earlier than the whole.
        store, database = await asyncio.gather(
            self._state_of("store", services.store.ping(0.8 * patience_s)),
            self._state_of("database", services.database.ping()),
        )
        if store not in ("ok", "degraded") or database != "ok":
            self.set_status(503)
            self.set_header("Retry-After", "1")
        # No addresses and no causes: anybody can ask. The log has them.
        self.write({"store": store, "database": database})

    async def _state_of(self, part: str, ping: Awaitable[list[StoreUnavailable] | None]) -> str:
        try:
            found = await asyncio.wait_for(ping, patience_s)
        except (StoreUnavailable, DatabaseUnavailable, DatabaseUnusable, TimeoutError) as error:
            self._note(part, "not ready", [str(error) or f"no answer within {patience_s:g} s"])
            return getattr(error, "state", "unavailable")
        self._note(part, "some visitors cannot be served", [str(error) for error in found or ()])
        return "degraded" if found else "ok"

    def _note(self, part: str, state: str, causes: list[str]) -> None:
        """Log each cause once, until the part is well again: somebody asks each second."""
        known = self.application.not_ready.setdefault(part, set())
        if not causes and known:
            log.info("ready again: %s", part)
            known.clear()
        for cause in causes:
            if (line := f"{state}: {part}: {cause}") not in known and len(known) < 100:
                known.add(line)
                log.warning("%s", line)


ROUTES = [
    (r"/healthz", HealthHandler),
    (r"/readyz", ReadyHandler),
]
