"""Trips to the store for a session's record: find it, read it again, write what has changed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from .engines import Changes
from .errors import BadRecord, StoreUnavailable
from .record import Notice, State, deliver, renamed

if TYPE_CHECKING:
    from .manager import SessionManager

log = logging.getLogger(__package__)


async def find(session: SessionManager, session_id: str, *, keep: bool = False) -> State | None:
    """Load the record: ALIVE; LOST if it has ended or moved within a minute; None: none.

    `keep`: only what was not changed here is taken over.
    """
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
    if session.state is State.ENDED:  # destroyed meanwhile
        return State.ALIVE
    try:
        if keep:  # what was handed out stays as it is, and is compared with what it was
            news = {**dict.fromkeys(session.stored), **snapshot.fields}
            session.written({name: news[name] for name in news.keys() - session.touched})
        else:
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


async def refresh(session: SessionManager, *, keep: bool = True) -> bool:
    """Read the record again; `keep`: what was changed here stays. False: it has ended."""
    assert session.id is not None
    if await find(session, session.id, keep=keep) is State.ALIVE:
        return True
    session.state = State.LOST
    session.forget()
    return False


async def put(
    session: SessionManager,
    session_id: str,
    changes: Changes,
    *,
    create: bool = False,
    expect: Changes | None = None,
    theirs: bool = False,
) -> bool:
    """Write to the record, and renew its life. False: it was not there, or not as expected.

    `theirs`: the changes are not those that were made here, and come to be seen here.
    """
    if session.is_over():
        return False
    store, seen, session.version = session.store, session.version, None
    key, ttl = store.key("session", session_id), session.ttl_s()
    removed = await store.sessions.write(key, changes, ttl, create=create, expect=expect, seen=seen)
    if removed is not None:
        if theirs:
            session.untouch()
        session.written(changes)
    return removed is not None


async def put_back(session: SessionManager, taken: dict[str, Notice]) -> None:
    """Return notices to the store, because the response, or the block, that took them has failed."""
    async with session.saving:  # what is being taken at this moment, too
        # Each value under a new field: a reader who came too late for the old one may be about to
        # remove its label, and nobody would find the value again.
        notices = {
            field if notice.value is None else renamed(field): notice
            for field, notice in taken.items()
        }
        taken.clear()
        if notices and session.id is not None:
            try:
                await deliver(session.store, session.id, notices)
            except StoreUnavailable as error:
                session.store.log_outage(error)


def log_event(
    session: SessionManager, what: str, session_id: str, level: int = logging.INFO
) -> None:
    """Log what security staff want to see, without the id."""
    name, address = session.store.alias(session_id), session.request.remote_ip or ""
    log.log(level, "session %s: %s request=%s address=%s", name, what, session.request_id, address)
