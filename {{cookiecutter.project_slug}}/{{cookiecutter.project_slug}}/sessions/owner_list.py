"""A user's list of sessions: one record, with an entry for each session by its id."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
from typing import Final, NamedTuple

import msgspec

from .codec import decode, encode
from .engines import Changes, Snapshot
from .errors import BadRecord, SessionTooLarge
from .record import ENDED, NOTED_EVERY_S
from .store import Store

MOST_LISTED: Final = 500
"""Sessions that one user may have; a longer list might not fit into a store that limits its items."""


class Entry(NamedTuple):
    """A session on its owner's list. Times are in seconds since the epoch."""

    handle: str
    agent: str
    address: str
    since: float
    listed: float
    ends: float = math.inf
    """When it is over, unless it was used since: its use is noted every `NOTED_EVERY_S`."""


def owner_key(store: Store, user_id: str | int) -> str:
    """Return the key of the record that lists a user's sessions."""
    return store.key("owner", hashlib.sha256(str(user_id).encode()).hexdigest())


def entries_of(snapshot: Snapshot | None) -> dict[str, Entry]:
    """Return a list's entries, by session id. What is malformed is left out."""
    found = {}
    for session_id, raw in snapshot.fields.items() if snapshot is not None else ():
        with contextlib.suppress(BadRecord, msgspec.ValidationError):
            found[session_id] = msgspec.convert(decode(raw), Entry)
    return found


async def enlist(
    store: Store, user_id: str | int, session_id: str, entry: Entry, *, prune: bool
) -> None:
    """Put a session on its owner's list. `prune`: what is over goes, and the oldest of too many
    ends, so that nobody's list outgrows the store.
    """
    changes: dict[str, bytes | None] = {}
    most = MOST_LISTED
    while True:
        if prune:
            listed = entries_of(await store.sessions.load(owner_key(store, user_id)))
            listed = {i: each for i, each in listed.items() if each.handle != entry.handle}
            over = [i for i, each in listed.items() if each.ends + NOTED_EVERY_S < entry.listed]
            by_age = sorted(listed.keys() - over, key=lambda each: listed[each].listed)
            surplus = by_age[: max(0, len(by_age) + 1 - most)]
            ends = (store.sessions.end(store.key("session", i), ENDED) for i in surplus)
            await asyncio.gather(*ends)
            changes = dict.fromkeys([*surplus, *over])
        try:
            return await write_list(store, user_id, {**changes, session_id: encode([*entry])})
        except SessionTooLarge:
            if most < 2:
                raise
            prune, most = True, most // 2


async def write_list(store: Store, user_id: str | int, changes: Changes) -> None:
    """Change the list of a user's sessions: entries by session id, None for those that go."""
    if changes:
        create = any(entry is not None for entry in changes.values())
        life_s = store.config.absolute_timeout
        await store.sessions.write(owner_key(store, user_id), changes, life_s, create=create)
