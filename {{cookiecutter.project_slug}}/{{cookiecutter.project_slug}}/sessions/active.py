"""Where a user is logged in, and how to end it there: an index record for each user.

Login handlers call `add`, account pages `list` and the `end` methods. The index costs nothing per
request but a note of the last use, once a minute.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from tornado.web import RequestHandler

from .codec import decode, encode
from .engines import Fields
from .errors import BadRecord
from .record import ACTIVE
from .store import ENDED_NOTED_S
from .visit import Visit

_SEEN_EVERY_S: Final = 60

_SEEN: Final = ".seen"
"""Ends the index's field with the last use, so that noting it rewrites nothing else."""

# The first that occurs in the User-Agent counts: Edge says Chrome too, and Chrome says Safari.
_BROWSERS: Final = {
    "Edg": "Edge",
    "OPR": "Opera",
    "Firefox": "Firefox",
    "FxiOS": "Firefox",
    "Chrome": "Chrome",
    "CriOS": "Chrome",
    "Safari": "Safari",
    "curl": "curl",
}
_SYSTEMS: Final = {
    "Android": "Android",
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Windows": "Windows",
    "Mac OS": "macOS",
    "CrOS": "ChromeOS",
    "Linux": "Linux",
}


class ActiveSession(NamedTuple):
    """One place where a user is logged in."""

    handle: str
    """Names it on pages and in forms. It opens nothing: it is neither id nor key."""
    browser: str
    system: str
    address: str
    first_seen: datetime
    last_seen: datetime
    current: bool
    """Whether it is the session of this request."""


class _Entry(NamedTuple):
    ids: list[str]
    """Hashed ids. More than one while an id changes, so that no crash leaves a session unlisted."""
    browser: str
    system: str
    address: str
    first_seen: float


class ActiveSessions:
    """The active sessions of users, from within a request."""

    def __init__(self, handler: RequestHandler) -> None:
        self._handler = handler
        self._visit = Visit.of(handler)
        self._store = self._visit.store

    async def add(self, user_id: str) -> None:
        """List this session as `user_id`'s. Call it at login, after `session.regenerate()`."""
        agent = self._handler.request.headers.get("User-Agent", "")
        now = self._store.clock()
        handle = secrets.token_urlsafe(9)
        entry = _Entry(
            [self._visit.next_id()],
            _first_in(agent, _BROWSERS, "Unknown browser"),
            _first_in(agent, _SYSTEMS, "unknown system"),
            self._handler.request.remote_ip or "",
            now,
        )
        await self._save(user_id, {handle: encode(entry[:]), handle + _SEEN: encode(now)})
        self._visit.record.set(ACTIVE, [handle, now])

    async def renew(self, user_id: str) -> None:
        """Follow this session to its new id. Call it after `session.regenerate()`."""
        active = self._visit.record.own(ACTIVE)
        if active is None:
            await self.add(user_id)
            return
        entry = (await self._entries(user_id))[0].get(active[0])
        if entry is None:  # ended meanwhile: the commit will find it so
            return
        ids = [*entry.ids, self._visit.next_id()]
        await self._save(user_id, {active[0]: encode(entry._replace(ids=ids)[:])})

    async def seen(self, user_id: str) -> None:
        """Note that this session is in use; a trip at most once a minute."""
        active = self._visit.record.own(ACTIVE)
        now = self._store.clock()
        if active is None or now - active[1] < _SEEN_EVERY_S:
            return
        await self._save(user_id, {active[0] + _SEEN: encode(now)}, create=False)
        self._visit.record.set(ACTIVE, [active[0], now])

    async def list(self, user_id: str) -> list[ActiveSession]:
        """Return where the user is logged in, last used first. What has expired is left out."""
        entries, seen = await self._entries(user_id)
        ids = [session_id for entry in entries.values() for session_id in entry.ids]
        records = await asyncio.gather(
            *(self._store.sessions.load(self._store.key("session", each)) for each in ids)
        )
        alive = {each for each, record in zip(ids, records, strict=True) if record}
        # the session of a login whose response has not left yet has no record so far
        current = self._visit.next_id() if self._visit.record.own(ACTIVE) else self._visit.id
        if current is not None:
            alive.add(current)
        # A login lists its session just before it stores it: such an entry is left alone.
        now = self._store.clock()
        gone = [
            handle
            for handle, entry in entries.items()
            if not alive.intersection(entry.ids) and now - entry.first_seen > ENDED_NOTED_S
        ]
        if gone:
            await self._remove(user_id, gone)
        sessions = [
            ActiveSession(
                handle,
                entry.browser,
                entry.system,
                entry.address,
                datetime.fromtimestamp(entry.first_seen, UTC),
                datetime.fromtimestamp(seen.get(handle, entry.first_seen), UTC),
                current in entry.ids or self._visit.id in entry.ids,
            )
            for handle, entry in entries.items()
            if alive.intersection(entry.ids)
        ]
        return sorted(sessions, key=lambda session: session.last_seen, reverse=True)

    async def end(self, user_id: str, handle: str) -> bool:
        """End one session of the user; it is dead at once, also for requests under way.

        Returns False where the user has no such session.
        """
        entry = (await self._entries(user_id))[0].get(handle)
        if entry is None:
            return False
        await self._end(user_id, {handle: entry})
        return True

    async def end_others(self, user_id: str) -> int:
        """End all sessions of the user but this one, and return how many there were."""
        own = {self._visit.id, self._visit.next_id()}
        entries = (await self._entries(user_id))[0]
        return await self._end(
            user_id, {h: entry for h, entry in entries.items() if not own.intersection(entry.ids)}
        )

    async def end_all(self, user_id: str) -> int:
        """End all sessions of the user, this one too, and return how many there were."""
        return await self._end(user_id, (await self._entries(user_id))[0])

    async def _entries(self, user_id: str) -> tuple[dict[str, _Entry], dict[str, float]]:
        """The entries by handle, and the times of last use."""
        fields: Fields = await self._store.sessions.load(self._store.key("user", user_id))
        entries: dict[str, _Entry] = {}
        seen: dict[str, float] = {}
        for name, raw in fields.items():
            try:
                value: Any = decode(raw)
                if name.endswith(_SEEN):
                    seen[name.removesuffix(_SEEN)] = float(value)
                else:
                    entries[name] = _Entry(*value)
            except (BadRecord, TypeError, ValueError):
                continue
        return entries, seen

    async def _end(self, user_id: str, entries: dict[str, _Entry]) -> int:
        ids = [session_id for entry in entries.values() for session_id in entry.ids]
        # The sessions first: an entry without a session is cleared later, a session without an
        # entry could no longer be ended.
        ended = await asyncio.gather(*(self._store.end(session_id) for session_id in ids))
        for session_id, (record, _) in zip(ids, ended, strict=True):
            if record:
                self._visit.event("destroyed from another session", session_id)
        if entries:
            await self._remove(user_id, entries)
        return len(entries)

    async def _remove(self, user_id: str, handles: Iterable[str]) -> None:
        gone = {name: None for handle in handles for name in (handle, handle + _SEEN)}
        await self._save(user_id, gone, create=False)

    async def _save(self, user_id: str, changes: dict[str, Any], *, create: bool = True) -> None:
        ttl = self._store.config.absolute_timeout
        await self._store.sessions.save(
            self._store.key("user", user_id), changes, ttl, create=create
        )


def _first_in(agent: str, names: dict[str, str], default: str) -> str:
    return next((name for mark, name in names.items() if mark in agent), default)
