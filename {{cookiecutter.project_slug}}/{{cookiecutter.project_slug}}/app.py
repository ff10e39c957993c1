"""The application: its routes, its Tornado settings, and what lives as long as it does.

`__main__` and the tests call `make_app`, then await `App.start` before the first request and
`App.close` after the last.
"""

from __future__ import annotations

import asyncio
import weakref
from pathlib import Path
from typing import Any

from tornado.web import Application, RequestHandler

from .accounts import Accounts
from .handlers import account, auth, health, home
from .handlers.base import NotFoundHandler, StaticHandler
from .sessions import Store
from .settings import Settings
from .throttle import Throttle

here = Path(__file__).parent

# Add a page: write handlers/<page>.py with its own ROUTES, and list it here.
ROUTES = [
    *home.ROUTES,
    *auth.ROUTES,
    *account.ROUTES,
    *health.ROUTES,
]


def make_app(settings: Settings) -> App:
    """Return the application, not yet started. Raises ConfigurationError when the session settings
    cannot work.
    """
    return App(settings)


class App(Application):
    """A Tornado application and its parts; handlers reach them as `self.application.accounts` and
    so on.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(ROUTES, **_tornado_settings(settings))
        self.store = Store.of(self)
        self.throttle = Throttle(self.store)
        self.accounts = Accounts(settings.database_url, settings.password_cost)
        self.in_flight: weakref.WeakSet[RequestHandler] = weakref.WeakSet()
        """The requests that are being answered; handlers/base.py keeps it."""
        self.draining = False
        """True from the moment of shutdown: connections are no longer kept alive."""

    async def start(self) -> None:
        """Get ready: the tables exist, store and database answer. Raises StoreUnavailable,
        DatabaseUnavailable.
        """
        await self.store.ping()
        await self.accounts.start()

    async def drain(self, timeout_s: float) -> None:
        """Wait until the requests in flight are answered, at most `timeout_s` seconds."""
        self.draining = True
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while self.in_flight and loop.time() < deadline:  # noqa: ASYNC110 - sets have no event
            await asyncio.sleep(0.02)

    async def close(self) -> None:
        """Let go of the store and the database. The last thing to call."""
        await self.store.close()
        await self.accounts.close()


def _tornado_settings(settings: Settings) -> dict[str, Any]:
    """Settings of tornado.web.Application, plus those the handlers read."""
    return {
        "app_title": "{{ cookiecutter.__project_name }}",
        "cookie_secret": settings.cookie_secret or None,
        "key_version": settings.key_version,
        "pycket": settings.pycket,
        # Refuses form posts from other sites by the headers every browser sends. It replaces
        # xsrf_cookies: forms need no token.
        "cross_origin_protection": True,
        "login_url": "/login",
        "template_path": str(here / "templates"),
        "static_path": str(here / "static"),
        "static_handler_class": StaticHandler,
        "default_handler_class": NotFoundHandler,
        "secure": settings.secure,
        "debug": settings.debug,
        "serve_traceback": settings.debug,
        "autoreload": False,  # __main__ starts it, once per process
    }
