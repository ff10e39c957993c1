"""What handlers share, and what lives as long as the application: `self.application.services`.

It knows nothing of handlers, so that jobs and scripts can use it without them. To add a service of
your own, add a field to `Services` and make it in `make_services`; end it in `close` if it holds
something. Modules with tables are imported here, directly or by another: migrations find them so.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from .accounts import Accounts
from .database import Database
from .mail import Mailer
from .sessions import Store
from .settings import Settings
from .throttle import Throttle

log = logging.getLogger(__name__)


@dataclass
class Services:
    """Made by `make_services`. Await `start` before the first use, and `close` after the last."""

    store: Store
    database: Database
    accounts: Accounts
    throttle: Throttle
    mail: Mailer

    async def start(self) -> None:
        """See that store and database can be used. Raises StoreUnavailable, DatabaseUnavailable,
        DatabaseUnusable. A store that can serve most visitors is enough, and a line in the log.
        """
        for error in await self.store.ping():
            log.warning("some visitors cannot be served: %s", error)
        await self.database.start()

    async def close(self) -> None:
        """Send what is on its way, then let go of connections and threads."""
        await self.mail.close()
        await self.throttle.close()
        await self.accounts.close()
        await self.store.close()
        await self.database.close()


def make_services(settings: Settings) -> Services:
    """Return the services; nothing is connected yet. Raises ConfigurationError when the settings of
    the sessions cannot work.
    """
    store = Store(settings.sessions)
    database = Database(settings.database_url, settings.database_pool_size)
    return Services(
        store=store,
        database=database,
        accounts=Accounts(database, store, settings.password_cost, settings.hashing_threads),
        throttle=Throttle(store),
        mail=Mailer(settings.mail_url, settings.sender),
    )
