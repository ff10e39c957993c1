"""The application: its pages, its services and its Tornado settings.

`__main__` and the tests call `make_app`, then await `App.start` before the first request and
`App.close` after the last.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tornado.routing import HostMatches

from . import logs, texts
from .application import App
from .csp import content_security_policy
from .handlers import ROUTES, dev, health
from .handlers.plain import NotFoundHandler, StaticHandler, TooLargeHandler, UnknownHostHandler
from .services import make_services
from .settings import Settings

__all__ = ["App", "make_app"]

here = Path(__file__).parent


def make_app(settings: Settings) -> App:
    """Return the application, not yet started. Raises ConfigurationError when the session settings
    or a translation cannot work.

    Work of your own that runs beside the requests starts here: `app.background(...)`.
    """
    texts.load()
    return App(_routes(settings), make_services(settings), _tornado_settings(settings))


def _routes(settings: Settings) -> list[Any]:
    if settings.debug:
        return [*ROUTES, *dev.ROUTES]
    # A request for another host is answered 421: whoever sent it wants our answers to be kept, or
    # believed, under a name that is not ours. The machines that watch the app ask by its IP address.
    known = "|".join(re.escape(host).replace(r"\*", ".*") for host in settings.hosts)
    return [
        *health.ROUTES,
        (HostMatches(f"(?:{known})"), [*ROUTES, (r".*", NotFoundHandler)]),
        (r".*", UnknownHostHandler),
    ]


def _tornado_settings(settings: Settings) -> dict[str, Any]:
    """Settings of tornado.web.Application, plus those the handlers read."""
    return {
        **settings.sessions,
        "app_title": "{{ cookiecutter.__project_name }}",
        # Refuses form posts from other sites by the headers every browser sends. It replaces
        # xsrf_cookies: forms need no token.
        "cross_origin_protection": True,
        "login_url": "/login",
        "template_path": str(here / "templates"),
        "static_path": str(here / "static"),
        "static_handler_class": StaticHandler,
        "default_handler_class": NotFoundHandler,
        "too_large_handler_class": TooLargeHandler,
        "max_body_bytes": settings.max_body_bytes,
        "content_security_policy": content_security_policy(settings.csp_sources),
        "log_function": logs.log_request,
        "behind_proxy": bool(settings.trusted_proxies),
        "secure": settings.secure,
        "base_url": settings.base_url,
        "serve_traceback": settings.debug,
        "autoreload": False,  # __main__ starts it, once per process
    }
