"""Notifications: stored apart from the session, and read once.

`NotificationMixin` gives a handler `self.notifications`; `NotificationManager` is the same without
the mixin.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tornado.web import RequestHandler

from .codec import decode, encode
from .engines import Fields
from .errors import BadRecord
from .lifecycle import LifecycleMixin
from .manager import Manager
from .visit import Visit, log


class Message(NamedTuple):
    """A queued flash message."""

    value: Any
    category: str


class NotificationManager(Manager):
    """What a visitor is to be told once.

    Setting and adding are buffered and saved with the session, before the response leaves. Reading
    removes, atomically, in the store: of any number of concurrent readers in any number of
    processes one gets it. A 5xx response puts back what it took. A crash between taking and
    answering loses it: delivery is at most once.
    """

    def __init__(self, handler: RequestHandler) -> None:
        super().__init__(handler)
        self._outbox = self._visit.outbox

    def set(self, name: str, value: object) -> None:
        """Store `value` as `name`, in place of one not yet read.

        Raises `TypeError` for a value that could not be given back as it is.
        """
        if type(name) is not str:
            raise TypeError(f"the name of a notification is a str, not {name!r}")
        raw = encode(value)
        self._visit.check_can_begin()
        self._outbox.put(name, raw)

    __setitem__ = set

    async def get(self, name: str, default: Any = None) -> Any:
        """Return the notification `name` and remove it; `default` where there is none."""
        if self._outbox.waiting(name):
            raw = self._outbox.withdraw(name)
        else:
            raw = (await self._take("notification", name)).get(name)
        return default if raw is None else _decoded(raw, default)

    def delete(self, *names: str) -> None:
        """Remove notifications unread. Those that are not there are passed over."""
        for name in names:
            self._outbox.put(name, None)

    def add(self, value: object, category: str = "info") -> None:
        """Queue a flash message. Two requests that add at once keep both."""
        if not isinstance(category, str):
            raise TypeError(f"the category of a message is a str, not {category!r}")
        raw = encode([value, category])
        self._visit.check_can_begin()
        self._outbox.queue(raw, self._visit.store.clock())

    async def take(self) -> list[Message]:
        """Return all queued messages, oldest first, and remove them."""
        taken = await self._take("message")
        return _messages({**taken, **self._outbox.unqueue()})

    async def peek(self) -> list[Message]:
        """Return all queued messages, oldest first, and leave them."""
        session_id = self._visit.id
        fields: Fields = {}
        if session_id is not None:
            key = self._visit.store.key("message", session_id)
            fields = await self._visit.store.notifications.load(key)
        return _messages({**fields, **self._outbox.queued()})

    async def _take(self, kind: Any, *names: str) -> Fields:
        session_id = self._visit.id
        if session_id is None:
            return {}
        key = self._visit.store.key(kind, session_id)
        fields = await self._visit.store.notifications.take(key, *names)
        self._outbox.took(kind, fields)
        return fields


class NotificationMixin(LifecycleMixin):
    """Gives a handler `self.notifications`. Write it before the handler class in the bases."""

    _notifications: NotificationManager | None = None

    @property
    def notifications(self) -> NotificationManager:
        """What this visitor is to be told once."""
        if self._notifications is None:
            visit = Visit.of(self)
            if not visit.loaded:
                raise RuntimeError(
                    "self.notifications is used before it is loaded: "
                    "your prepare() must `await super().prepare()`"
                )
            self._notifications = NotificationManager(self)
            self._vary_by_cookie()
        return self._notifications


def _messages(fields: Fields) -> list[Message]:
    messages = []
    for field in sorted(fields):
        match _decoded(fields[field], None):
            case [value, str(category)]:
                messages.append(Message(value, category))
            case None:
                pass  # _decoded has said so
            case other:
                log.warning("dropped a message: a %s in its place", type(other).__name__)
    return messages


def _decoded(raw: bytes, default: Any) -> Any:
    try:
        return decode(raw)
    except BadRecord as error:
        log.warning("dropped a notification: %s", error)
        return default
