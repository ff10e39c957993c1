"""Server-side sessions and read-once notifications for Tornado.

Self-contained: nothing here knows the application, so that the folder can be copied into any
Tornado app. `SessionMixin` and `NotificationMixin` come before the handler class in the bases:

    class Handler(SessionMixin, NotificationMixin, tornado.web.RequestHandler):
        def get(self):
            self.session["visits"] = self.session.get("visits", 0) + 1

`settings["pycket"]` of the application says where sessions are kept; see `SessionConfig`.

The way of a value, and of a message, from the browser to the store and back:

    Cookie: sid=...  -> CookieSigner.tokens -> token -> id_of -> id      cookie.py
    prepare()        -> SessionManager.load -> Engine.load(session:<id>) one trip
    session["x"]     -> Dictionary._values                               in memory
    notifications    -> Session.outgoing; read: Engine.write(notice:<id>) removes
    finish()         -> commit           -> Engine.write(notice:<id>), then
                                         Engine.write(session:<id>)      only what changed
    flush()          -> SessionManager.set_headers -> Set-Cookie         manager.py

Words: *token*, 256 random bits in the cookie. *id*, its SHA-256, by which the store knows the
session. *key*, the id with a prefix. *alias*, what log lines call a session. *handle*, its name on
its owner's list. *record*, named byte fields with one time to live. *notice*, a notification or a
message; its *label* lies in the session's record. *trip*, a question to the store and its answer.
*commit*, writing what has changed. *tombstone*, what says for a minute that an id ended or moved.
"""

from .config import SessionConfig
from .errors import (
    ConfigurationError,
    SessionError,
    SessionLost,
    SessionTooLarge,
    StoreUnavailable,
)
from .manager import SessionManager
from .mixins import NotificationMixin, SessionMixin
from .notification import Message, NotificationManager
from .owner import OwnedSession, Owner
from .store import Store

__version__ = "2.0"

__all__ = [
    "ConfigurationError",
    "Message",
    "NotificationManager",
    "NotificationMixin",
    "OwnedSession",
    "Owner",
    "SessionConfig",
    "SessionError",
    "SessionLost",
    "SessionManager",
    "SessionMixin",
    "SessionTooLarge",
    "Store",
    "StoreUnavailable",
]
