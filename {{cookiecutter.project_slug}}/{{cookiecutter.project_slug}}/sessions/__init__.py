"""Server-side sessions and read-once notifications for Tornado.

Self-contained: nothing here knows the application. `SessionMixin` and `NotificationMixin` come
before the handler class in the bases:

    class Handler(SessionMixin, NotificationMixin, tornado.web.RequestHandler):
        def get(self):
            self.session["visits"] = self.session.get("visits", 0) + 1

`settings["pycket"]` of the application says where sessions are kept; see `SessionConfig`.
"""

from .active import ActiveSession, ActiveSessions
from .config import SessionConfig
from .errors import ConfigurationError, SessionError, SessionTooLarge, StoreUnavailable
from .notification import Message, NotificationManager, NotificationMixin
from .session import SessionManager, SessionMixin
from .store import Store

__all__ = [
    "ActiveSession",
    "ActiveSessions",
    "ConfigurationError",
    "Message",
    "NotificationManager",
    "NotificationMixin",
    "SessionConfig",
    "SessionError",
    "SessionManager",
    "SessionMixin",
    "SessionTooLarge",
    "Store",
    "StoreUnavailable",
]
