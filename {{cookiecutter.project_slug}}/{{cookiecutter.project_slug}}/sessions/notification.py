"""Notifications: stored apart from the session, and read once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from tornado.web import RequestHandler

from .codec import check_text, decode, encode
from .dictionary import Dictionary
from .errors import BadRecord
from .manager import SessionManager
from .record import WAITING, Notice, State, new_field
from .store import log
from .trips import in_turn, put, put_back, refresh


class Message(NamedTuple):
    """A queued flash message."""

    value: Any
    category: str


class NotificationManager:
    """What the visitor of the request that `handler` serves is to be told once.

    Setting and adding are buffered and saved with the session, before the response leaves. Reading
    removes, atomically, in the store: of any number of concurrent readers in any number of
    processes one gets it. A response that fails, has no body (HEAD, 304), or whose client goes away
    before it, puts back what it took; in a handler without the mixins, a failed `async with` block
    does. It is lost if the process crashes, or the store fails, between taking and answering:
    delivery is at most once. Costs no trip if nothing waits.
    """

    def __init__(self, handler: RequestHandler) -> None:
        self._session = SessionManager(handler)

    async def __aenter__(self) -> Self:
        await self._session.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._session.__aexit__(*error)

    def set(self, name: str, value: object) -> None:
        """Store `value` as `name`, in place of one that was not read yet.

        Raises `TypeError` for a value that could not be given back as it is.
        """
        check_text("the name of a notification", name)
        self._add(value, name, "")

    __setitem__ = set

    async def get(self, name: str, default: Any = None) -> Any:
        """Return the notification `name` and remove it; `default` if there is none."""
        check_text("the name of a notification", name)
        taken = await self._take(name)
        return taken[-1].value if taken else default

    def delete(self, *names: str) -> None:
        """Remove notifications unread. Those that are not there are passed over."""
        self._session.check_open()
        for name in names:
            check_text("the name of a notification", name)
            for field, label in self._session.waiting().items():
                if label[0] == name:
                    self._session.outgoing.pop(field, None)
                    self._session.set_own(WAITING + field, None)

    def add(self, value: object, category: str = "info") -> None:
        """Queue a flash message. Two requests that add at once keep both.

        Raises `TypeError` for a value that could not be given back as it is.
        """
        check_text("the category of a message", category)
        self._add(value, None, category)

    async def take(self, category: str | None = None) -> list[Message]:
        """Return all queued messages, or those of one category, and remove them. Oldest first."""
        return await self._take(None, category)

    async def peek(self, category: str | None = None) -> list[Message]:
        """Return all queued messages, or those of one category, and leave them. Oldest first."""
        session = self._session
        async with session.saving:
            await self._refresh()
        labels = self._labels(None, category)
        values = {field: notice.value for field, notice in session.outgoing.items()}
        if session.id is not None and labels.keys() - values.keys():
            key = session.store.key("notice", session.id)
            snapshot = await session.store.notifications.load(key)
            values |= snapshot.fields if snapshot is not None else {}
        return _messages(labels, values)

    def _add(self, value: object, name: str | None, category: str) -> None:
        session = self._session
        raw = encode(value, "the message" if name is None else f"the notification {name!r}")
        session.check_writable()
        if name is not None:
            self.delete(name)
        label = encode([name, category])
        session.outgoing[new_field(session.store.clock())] = Notice(label, raw)

    def _labels(self, name: str | None, category: str | None) -> dict[str, list[Any]]:
        """Return the labels of what waits under `name` (None: messages) by field, oldest first."""
        return {
            field: label
            for field, label in self._session.waiting().items()
            if label[0] == name and category in (None, label[1])
        }

    async def _refresh(self) -> None:
        """See what has come since the response left."""
        session = self._session
        session.check_loaded()
        if session.state is State.ALIVE and not session.can_set_cookie():
            await refresh(session, Dictionary.merge)

    async def _take(self, name: str | None, category: str | None = None) -> list[Message]:
        """Remove notices, and return those that nobody else has taken."""
        session = self._session
        session.check_loaded()
        if session.can_set_cookie() and not self._labels(name, category):
            return []  # as on most pages
        taken: dict[str, Notice] = {}
        try:
            return await in_turn(session, self._remove(name, category, taken))
        except asyncio.CancelledError:  # the caller does not get them
            await put_back(session, [taken])
            raise

    async def _remove(
        self, name: str | None, category: str | None, taken: dict[str, Notice]
    ) -> list[Message]:
        """Remove notices and return them. Adds those that were in the store to `taken`."""
        await self._refresh()
        session, labels = self._session, self._labels(name, category)
        found = {f: session.outgoing.pop(f).value for f in labels if f in session.outgoing}
        old = {f: encode(label) for f, label in labels.items() if f not in found}
        if old and session.id is not None:
            # The labels go at the same time, to spare a trip. If one of the two fails, the response
            # does, and the labels are put back.
            taken |= {field: Notice(label, None) for field, label in old.items()}
            session.takes().append(taken)
            key, engine = session.store.key("notice", session.id), session.store.notifications
            held, unlabelled = await asyncio.gather(
                engine.write(key, dict.fromkeys(old), session.ttl_s(), create=False),
                put(session, session.id, {WAITING + field: None for field in old}),
                return_exceptions=True,
            )
            if isinstance(held, BaseException):
                raise held
            for field, label in old.items():
                del taken[field]
                if held and field in held:
                    taken[field] = Notice(label, held[field])
            if isinstance(unlabelled, BaseException):
                raise unlabelled
            found |= held or {}
        return _messages(labels, found)


def _messages(labels: Mapping[str, list[Any]], values: Mapping[str, bytes | None]) -> list[Message]:
    messages = []
    for field, label in labels.items():
        raw = values.get(field)
        if raw is not None:
            try:
                messages.append(Message(decode(raw), label[1]))
            except BadRecord as error:
                log.warning("dropped a notification: %s", error)
    return messages
