"""Where a user is logged in: list that, end it, and reach the user, with or without a request.

    self.session.owner = user.id                                      # at login
    await Owner(store, user.id).end_all(but=self.session)             # at a password change
    await Owner(Store.of(application), user_id).notify("It is done")  # in a job

The list is one record for each user. A session is on it before it is stored, so that every session
can be ended; if the store evicts the list, sessions put themselves back on it when their use is
noted, within a minute of use. A new session takes off what is over, and ends the oldest where there
are `MOST_LISTED`, or more than the store takes.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Final, NamedTuple

from .codec import check_text, decode_fields, encode
from .dictionary import Dictionary
from .errors import BadRecord
from .owner_list import Entry, entries_of, owner_key, write_list
from .record import ENDED, USED, Notice, check_owner, deliver, follow, is_owned, life_s, new_field
from .session import Session
from .store import Store, log

_UNSTORED_S: Final = 60
"""A session is listed just before it is stored: an entry this young is left alone."""


class OwnedSession(NamedTuple):
    """One place where a user is logged in."""

    handle: str
    """Names it on pages and in forms. It opens nothing: it is neither id nor key."""
    agent: str
    """What the browser calls itself in its User-Agent header, at most 300 characters."""
    address: str
    since: datetime
    last_used: datetime
    current: bool
    """Whether it is the session that was given as `current`."""


class Owner:
    """The sessions of one user. Every method raises `StoreUnavailable`."""

    def __init__(self, store: Store, user_id: str | int) -> None:
        """`user_id` is what `session.owner` was set to. Raises `TypeError` if it cannot be one."""
        check_owner("the user of Owner()", user_id)
        self._store = store
        self._user_id = user_id

    async def sessions(self, current: Session | None = None) -> list[OwnedSession]:
        """Return where the user is logged in, last used first. What has expired is left out."""
        listed = await self._entries()
        now = self._store.clock()
        used = dict(zip(listed, await asyncio.gather(*map(self._used, listed)), strict=True))
        ours = {i for i, entry in listed.items() if _is(current, i, entry.handle)}
        used |= dict.fromkeys(ours, now)  # even if it is not stored yet
        gone = [i for i, e in listed.items() if used[i] is None and now - e.listed > _UNSTORED_S]
        await write_list(self._store, self._user_id, dict.fromkeys(gone))
        found = {}
        for session_id, (handle, agent, address, since, *_) in listed.items():
            if (last := used[session_id]) is not None:
                moments = datetime.fromtimestamp(since, UTC), datetime.fromtimestamp(last, UTC)
                found[handle] = OwnedSession(handle, agent, address, *moments, session_id in ours)
        return sorted(found.values(), key=lambda session: session.last_used, reverse=True)

    async def end(self, handle: str) -> bool:
        """End one session; it is dead at once, also for requests under way.

        Returns False if the user has no such session.
        """
        listed = await self._entries()
        return await self._end([i for i, entry in listed.items() if entry.handle == handle]) > 0

    async def end_all(self, *, but: Session | None = None) -> int:
        """End all sessions, or all others than `but`. Returns how many there were.

        To end that of the request as well: `end_all(but=self.session)`, then
        `self.session.destroy()`, after which it can still be changed.
        """
        listed = await self._entries()
        return await self._end([i for i, entry in listed.items() if not _is(but, i, entry.handle)])

    async def notify(self, value: object, category: str = "info") -> int:
        """Queue a flash message in each of the user's sessions; each shows it once.

        Returns how many there are. Raises `SessionTooLarge` if one of them has too many unread.
        """
        check_text("the category of a message", category)
        notice = Notice(encode([None, category]), encode(value, "the message"))
        return await self._each({new_field(self._store.clock()): notice}, {})

    async def set(self, name: str, value: object) -> int:
        """Set `name` in each of the user's sessions, from the next request on.

        Returns how many there are. Raises `TypeError` for a value that cannot be kept, and
        `SessionTooLarge` if it does not fit into one of them; the others have it.
        """
        Dictionary.check_name(name)
        return await self._each({}, {name: encode(value, f"session[{name!r}]")})

    async def _each(self, notices: dict[str, Notice], changes: dict[str, bytes]) -> int:
        listed = await self._entries()
        deliveries = (deliver(self._store, i, notices, changes, self._user_id) for i in listed)
        results = await asyncio.gather(*deliveries, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result  # the others have it
        return sum(map(bool, results))

    async def _entries(self) -> dict[str, Entry]:
        key = owner_key(self._store, self._user_id)
        return entries_of(await self._store.sessions.load(key))

    async def _used(self, session_id: str) -> float | None:
        """Return when a session was last used; None if it is gone, or somebody else's."""
        snapshot = await self._store.sessions.load(self._store.key("session", session_id))
        try:
            values = decode_fields(snapshot.fields) if snapshot is not None else {}
            is_over = life_s(values, self._store.config, self._store.clock()) <= 0
        except BadRecord:
            return None
        return values[USED] if not is_over and is_owned(values, self._user_id) else None

    async def _end(self, session_ids: list[str]) -> int:
        # The sessions first: an entry without a session goes later, a session without an entry
        # could no longer be ended.
        ended = await asyncio.gather(*map(self._end_one, session_ids))
        await write_list(self._store, self._user_id, dict.fromkeys(session_ids))
        return sum(ended)

    async def _end_one(self, session_id: str) -> bool:
        store = self._store
        while not await store.sessions.end(store.key("session", session_id), ENDED):
            if (moved := await follow(store, session_id)) is None:
                return False
            session_id, _ = moved  # after we had read the list
        log.info("session %s: destroyed from elsewhere", store.alias(session_id))
        return True


def _is(session: Session | None, session_id: str, handle: str) -> bool:
    """Return whether an entry is that of `session`, which may have a new id or handle by now."""
    return session is not None and (session.id == session_id or session.handle == handle)
