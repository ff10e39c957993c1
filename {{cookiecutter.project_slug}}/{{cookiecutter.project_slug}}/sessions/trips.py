"""Trips to the store for a session's record: find it, read it again, write what has changed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from .engines import Changes, Fields
from .errors import BadRecord, StoreUnavailable
from .record import Notice, State, deliver, renamed
from .store import log

if TYPE_CHECKING:
    from .manager import SessionManager

T = TypeVar("T")


async def find(
    session: SessionManager, session_id: str, take: Callable[[SessionManager, Fields], None]
) -> str | None:
    """Load the record, and let the session `take` its fields. Return ALIVE; LOST if it has ended or
    moved within a minute; None if there is none.
    """
    store, key = session.store, session.store.key("session", session_id)
    snapshot = await store.sessions.load(key)
    if snapshot is None:
        log_event(session, "unknown id", session_id, logging.WARNING)
        return None
    if snapshot.ended is not None:
        ended = snapshot.ended.partition(" ")[0]
        log_event(session, f"came with an id that has {ended}", session_id)
        return State.LOST
    if session.state is State.ENDED:  # destroyed meanwhile
        return State.ALIVE
    try:
        take(session, snapshot.fields)
        if session.life_s() > 0:
            session.id, session.version = session_id, snapshot.version
            return State.ALIVE
    except BadRecord as error:
        log.warning("dropped the record of session %s: %s", store.alias(session_id), error)
    session.forget()
    log_event(session, "expired", session_id)
    await store.sessions.write(key, dict.fromkeys(snapshot.fields), 1, create=False)
    return None


async def refresh(session: SessionManager, take: Callable[[SessionManager, Fields], None]) -> bool:
    """Load the record again, see `find`. False: there is none, or it has ended."""
    if session.id is not None and session.state is not State.ENDED:
        if await find(session, session.id, take) is State.ALIVE:
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

    `theirs`: the changes were not made through the dictionary, so update the dictionary, too.
    """
    if not (ttl := session.ttl_s()):
        return False
    store, seen, session.version = session.store, session.version, None
    key = store.key("session", session_id)
    removed = await store.sessions.write(key, changes, ttl, create=create, expect=expect, seen=seen)
    if removed is not None:
        if theirs:
            session.untouch(changes)
        session.written(changes)
    return removed is not None


async def in_turn(session: SessionManager, work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end, while no other coroutine of this request writes.

    It goes on if the caller is cancelled: if it stopped halfway, nobody would know what is stored.
    """

    async def alone() -> T:
        async with session.saving:
            return await work

    def log_failure(task: asyncio.Task[T]) -> None:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, StoreUnavailable):
            session.store.log_outage(error)
        elif error is not None:
            log.error("what a cancelled coroutine had begun has failed", exc_info=error)

    task = asyncio.create_task(alone())
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(log_failure)
        raise


async def put_back(session: SessionManager, taken: list[dict[str, Notice]]) -> None:
    """Return notices to the store, because the response, or the block, that took them has failed."""

    async def work() -> None:
        notices = {}
        for each in taken:
            for field, notice in each.items():
                # A value under a new field: a reader who came too late for the old one may be about
                # to remove its label, and nobody would find the value again.
                notices[field if notice.value is None else renamed(field)] = notice
            each.clear()
        taken.clear()
        if notices and session.id is not None:
            try:
                await deliver(session.store, session.id, notices)
            except StoreUnavailable as error:
                log.error("lost %d notices that were to be put back: %s", len(notices), error)

    await in_turn(session, work())  # waits for a take that is under way


def log_event(
    session: SessionManager, what: str, session_id: str, level: int = logging.INFO
) -> None:
    """Log what security staff want to see, without the id."""
    name, address = session.store.alias(session_id), session.request.remote_ip or ""
    log.log(level, "session %s: %s request=%s address=%s", name, what, session.request_id, address)
