"""The session: a dictionary that belongs to one visitor and lives in the store.

`SessionMixin` gives a handler `self.session`. `SessionManager` is the same without the mixin:

    async with SessionManager(self) as session:
        session["theme"] = "dark"
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from typing import Any, Final

from tornado.web import RequestHandler

from .codec import decode, encode
from .errors import StoreUnavailable
from .lifecycle import LifecycleMixin
from .manager import Manager
from .visit import Visit

_TRIES: Final = 100
_DAY_S: Final = 24 * 60 * 60


class SessionManager(Manager, MutableMapping[str, Any]):
    """A visitor's session.

    Reading and assigning happen in memory. What has changed, inside of values too, is saved when
    the response is finished, before it leaves; only changed names travel. Two requests that change
    different names of one session never undo each other. A session exists, and its cookie is set,
    once something is stored in it.
    """

    def __init__(self, handler: RequestHandler) -> None:
        super().__init__(handler)
        self._record = self._visit.record

    @property
    def key(self) -> str:
        """What the store will know this session by after the commit. Not for the visitor's eyes."""
        return self._visit.store.key("session", self._visit.next_id())

    @property
    def alias(self) -> str:
        """What log lines call this session: it leads back neither to the id nor to the key. "-" where
        there is none.
        """
        visit = self._visit
        return "-" if visit.id is None else visit.store.alias(visit.id)

    def __getitem__(self, name: str) -> Any:
        if name not in self:
            raise KeyError(name)
        return self._record.get(name)

    def __setitem__(self, name: str, value: object) -> None:
        """Set `name`. Raises `TypeError` for a value that could not be given back as it is."""
        self._record.check(name)
        self._visit.check_can_begin()
        self._record.set(name, value)

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        self._record.remove(name)

    def __contains__(self, name: object) -> bool:
        return name in self._record

    def __iter__(self) -> Iterator[str]:
        return iter(self._record.names())

    def __len__(self) -> int:
        return len(self._record.names())

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of `name`, or `default` where there is none. None and 0 are values."""
        return self._record.get(name, default)

    def set(self, name: str, value: object) -> None:
        """Set `name`, as `session[name] = value` does."""
        self[name] = value

    def delete(self, *names: str) -> None:
        """Remove the names. Those that are not there are passed over."""
        for name in names:
            self.pop(name, None)

    async def modify(
        self, name: str, function: Callable[[Any], object], default: object = None
    ) -> Any:
        """Set `name` to `function(its value)`, and lose no other request's change of it.

        `function` gets the stored value, or `default`, and is called again if another request was
        faster, so it should do nothing else. What was changed before in this request is saved
        first. Returns the new value, which is visible to others at once. If the session was ended
        meanwhile, nothing is written.
        """
        visit, record = self._visit, self._record
        record.check(name)
        await visit.save()
        if visit.id is None:
            self[name] = function(decode(encode(default)))
            await visit.save()
            return record.get(name)
        key = self.key
        lock = visit.store.lock(key)
        late = lock.locked()
        async with lock:
            for attempt in range(_TRIES):
                if late or attempt:
                    await visit.reload()
                old = record.stored(name)
                new = encode(function(decode(encode(default) if old is None else old)))
                if visit.id is None:
                    return decode(new)
                if await visit.swap(name, old, new):
                    return record.get(name)
        raise StoreUnavailable(visit.store.address, "others kept changing the session")

    def regenerate(self) -> None:
        """Change the session's id at the commit; its data and pending notifications stay.

        Call it when rights change, at login above all: an id that somebody planted or saw before
        is then worth nothing. The limits of its life go on counting.
        """
        self._visit.regenerate()

    def destroy(self) -> None:
        """End the session at the commit: record gone, cookie expired.

        It is empty at once; what is set afterwards begins a new one. Pending notifications reach
        the visitor's next page.
        """
        self._visit.destroy()

    def remember(self, days: float | None) -> None:
        """Let the session outlive the browser, for `days` without use; None takes that back.

        It never outlives `absolute_timeout`. Survives `regenerate`.
        """
        self._visit.remember(None if days is None else round(days * _DAY_S))

    async def save(self) -> None:
        """Commit now: for streams, long polling and WebSockets.

        Raises `RuntimeError` where a cookie would be needed and the headers are sent, and
        `StoreUnavailable` where nothing is known to be saved.
        """
        await self._visit.save()

    async def reload(self) -> None:
        """Read again what other requests have stored; what was changed and not saved is lost."""
        await self._visit.reload()


class SessionMixin(LifecycleMixin):
    """Gives a handler `self.session`. Write it before the handler class in the bases."""

    _session: SessionManager | None = None

    @property
    def session(self) -> SessionManager:
        """This visitor's session, as a dictionary."""
        if self._session is None:
            visit = Visit.of(self)
            if not visit.loaded:
                raise RuntimeError(
                    "self.session is read before it is loaded: "
                    "your prepare() must `await super().prepare()`"
                )
            self._session = SessionManager(self)
            self._vary_by_cookie()
        return self._session
