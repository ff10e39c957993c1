"""What handlers share, and what lives as long as the application: `self.application.services`.

It knows nothing of handlers, so that jobs and scripts can use it without them. To add a service of
your own, add a field to `Services` and make it in `make_services`; end it in `close` if it holds
something. Modules with tables are imported here, directly or by another: migrations find them so.
"""

from __future__ import annotations

from dataclasses import dataclass

from .accounts import Accounts
from .database import Database
from .mail import Mailer
from .sessions import Store
from .settings import Settings
from .throttle import Throttle


@dataclass
class Services:
    """Made by `make_services`. Await `start` before the first use, and `close` after the last."""

    settings: Settings
    store: Store
    database: Database
    accounts: Accounts
    throttle: Throttle
    mail: Mailer

    async def start(self) -> None:
        """See that store and database can be used. Raises StoreUnavailable, DatabaseUnavailable,
        DatabaseUnusable.
        """
        await self.store.ping()
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
    database = Database(settings.database_url)
    return Services(
        settings=settings,
        store=store,
        database=database,
        accounts=Accounts(database, store, settings.password_cost),
        throttle=Throttle(store),
        mail=Mailer(settings.mail_url, settings.sender),
    )
