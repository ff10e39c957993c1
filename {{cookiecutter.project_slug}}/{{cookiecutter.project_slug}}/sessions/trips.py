"""Trips to the store for a session's record: find it, read it again, write what has changed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from .codec import encode
from .engines import Changes
from .errors import BadRecord
from .record import USED, State

if TYPE_CHECKING:
    from .session import Session

log = logging.getLogger(__package__)


async def find(session: Session, session_id: str) -> State | None:
    """Load the record: ALIVE; LOST if it has ended or moved within a minute; None: none."""
    store, key = session.store, session.store.key("session", session_id)
    snapshot = await store.sessions.load(key)
    if snapshot is None:
        log_event(session, "unknown id", session_id, logging.WARNING)
        return None
    if snapshot.ended is not None:
        log_event(
            session, f"came with an id that has {snapshot.ended.partition(' ')[0]}", session_id
        )
        return State.LOST
    try:
        session.replace(snapshot.fields)
        if session.life_s() > 0:
            session.id, session.version = session_id, snapshot.version
            return State.ALIVE
    except (BadRecord, LookupError, TypeError) as error:
        log.warning("dropped the record of session %s: %r", store.alias(session_id), error)
    session.forget()
    log_event(session, "expired", session_id)
    await store.sessions.write(key, dict.fromkeys(snapshot.fields), 1, create=False)
    return None


async def refresh(session: Session) -> bool:
    """Take over what others have stored since; what was changed here stays. False: it has ended."""
    assert session.id is not None
    stored = session.stored
    snapshot = await session.store.sessions.load(session.store.key("session", session.id))
    if snapshot is None or snapshot.ended is not None:
        session.state = State.LOST
        session.forget()
        return False
    if session.stored is stored:  # it may have been destroyed meanwhile
        news = {**dict.fromkeys(stored), **snapshot.fields}
        # What was handed out stays as it is, and is compared with what it was.
        session.written({name: news[name] for name in news.keys() - session.touched})
        session.version = snapshot.version
    return True


async def put(
    session: Session,
    session_id: str,
    changes: Changes,
    *,
    create: bool = False,
    expect: Changes | None = None,
    stored: dict[str, bytes] | None = None,
    notes_use: bool = False,
) -> bool:
    """Write to the record, and renew its life. False: it was not there, or not as expected.

    `stored` is `session.stored` from before earlier trips: a session that was destroyed meanwhile
    has another, and learns nothing of what is written.
    """
    store, seen, session.version = session.store, session.version, None
    stored = session.stored if stored is None else stored
    if create or (notes_use and session.use_is_due()):
        changes = {**changes, USED: encode(store.clock())}
    key, ttl = store.key("session", session_id), session.ttl_s()
    removed = await store.sessions.write(key, changes, ttl, create=create, expect=expect, seen=seen)
    if removed is not None and session.stored is stored:
        session.written(changes)
    return removed is not None


def log_event(session: Session, what: str, session_id: str, level: int = logging.INFO) -> None:
    """Log what security staff want to see, without the id."""
    name, request_id = session.store.alias(session_id), session.request_id
    log.log(level, "session %s: %s request=%s address=%s", name, what, request_id, session.address)
