"""The other half of manager.py: a session is committed, by its state.

Each step of a commit is safe to fail after: what leads to a record is written after the record.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from .block import RESPONSE_FAILED
from .codec import decode, encode
from .cookie import id_of, new_token
from .dictionary import Dictionary
from .engines import Changes
from .errors import SessionError, SessionLost, SessionTooLarge, StoreUnavailable
from .owner_list import Entry, enlist, write_list
from .record import (
    CREATED,
    ENDED,
    IDLE,
    MOVED,
    OWNER,
    PERSISTENT,
    USED,
    WAITING,
    Notice,
    State,
    deliver,
    labels_of,
)
from .store import log
from .trips import log_event, put, refresh

if TYPE_CHECKING:
    from .manager import SessionManager


_RENEWED_WITHIN_S: Final = 2.0
"""How long after its use was noted a session's cookie is renewed: a response that leaves later could
replace the cookie of a login which the visitor has made meanwhile."""
_LISTED: Final = {OWNER, USED, IDLE}
"""Fields that the owner's list depends on."""


async def modify(
    session: SessionManager, name: str, function: Callable[[Any], object], default: object
) -> Any:
    """See `SessionManager.modify`."""
    due = asyncio.get_running_loop().time() + session.store.config.storage_timeout
    await commit(session)
    async with session.store.lock(session.id or str(id(session)), due):
        while True:
            old = session.stored.get(name)
            new = function(decode(encode(default) if old is None else old))
            if new is None:
                raise TypeError(
                    f"modify({name!r}): the function returned None instead of the new value; "
                    "list.append does, so write: lambda items: [*items, item]"
                )
            raw = encode(new, f"session[{name!r}]")
            if session.state is not State.ALIVE or session.id is None:
                if session.state is State.NEW:
                    session.check_can_begin()
                session.set_own(name, new)
                try:
                    await commit(session)
                except BaseException:
                    session.set_own(name, None)
                    raise
                return new
            if await put(session, session.id, {name: raw}, expect={name: old}, theirs=True):
                return session.get(name, new)
            session.touched.discard(name)
            if not await refresh(session, Dictionary.merge):
                _drop(session)
                return new


async def commit(session: SessionManager) -> None:
    """Write what has changed. See `SessionManager.save` for what it raises."""
    block = session.block
    if block is not None and block.is_dropped:
        raise RuntimeError(RESPONSE_FAILED)
    if session.state is State.ENDED and session.id is None:  # destroyed while it began, in vain
        session.state = State.NEW
    match session.state:
        case State.NEW if session.unsaved():
            await _begin(session)
        case State.ALIVE:
            await _merge(session)
        case State.MOVED:
            await _move(session)
        case State.ENDED:
            await _end(session)
        case State.LOST if session.unsaved():
            _drop(session)
    if block is not None:
        block.is_settled = True


async def _begin(session: SessionManager) -> None:
    session.check_can_begin()
    token = new_token()
    session.set_own(CREATED, session.store.clock())
    changes = session.to_write()
    if await _store(session, id_of(token), changes, create=True):
        _become(session, token)
        log_event(session, "created", id_of(token))
    else:  # ended by its user, from another device: it was on the list already
        await _lose(session, changes)


async def _merge(session: SessionManager) -> None:
    assert session.id is not None
    changes, former_owner = session.to_write(), session.stored.get(OWNER)
    if not changes and not session.use_is_due():
        return
    try:
        alive = await _store(session, session.id, changes)
    except StoreUnavailable as error:
        if changes:
            raise
        session.store.log_outage(error)  # the page that only read can be shown all the same
        return
    if not alive:
        await _lose(session, changes)
        return
    if OWNER in changes:
        await _unlist(session, former_owner, session.id)
    if PERSISTENT in changes or session.cookie_expires() is not None:
        is_new = PERSISTENT in changes or IDLE in changes
        in_time = session.store.clock() + _RENEWED_WITHIN_S
        session.renews_cookie_until = math.inf if is_new else in_time


async def _move(session: SessionManager) -> None:
    """Copy the record to a new id, then end the old one, which decides who moves it.

    If the store fails in between, the visitor still has the old session, and whoever ends this
    session from elsewhere at that moment ends the copy too.
    """
    assert session.id is not None
    if not session.can_set_cookie():
        raise RuntimeError(
            "the session's id cannot change after the headers are sent, because the new one needs "
            "a cookie: call regenerate() before the first flush()"
        )
    store, old, changes = session.store, session.id, session.to_write()
    loaded, outgoing = session.stored.copy(), session.outgoing.copy()
    token, session.version = new_token(), None
    new = id_of(token)
    if not await _store(session, new, {**loaded, **changes}, create=True):
        await _lose(session, changes)
        return
    try:
        held = await store.sessions.end(store.key("session", old), MOVED + new)
    except BaseException:  # the next commit does it again, all of it
        session.stored, session.outgoing = loaded, {**outgoing, **session.outgoing}
        raise
    # What others have stored under the old id since this request loaded it.
    names = {name for name, _ in held.items() ^ loaded.items()} - {*changes, USED}
    late = {name: held.get(name) for name in names}
    try:
        moved = bool(held) and (not late or await put(session, new, late, theirs=True))
    except SessionError as error:  # the old id is gone: the visitor must get the new one
        _become(session, token)
        if isinstance(error, SessionTooLarge):  # what others have stored was accepted, and stays
            before = {name: loaded.get(name) for name in changes}
            await put(session, new, {**before, **late})
        raise
    if not moved:
        await store.sessions.end(store.key("session", new), ENDED)
        await _lose(session, changes)
        return
    _become(session, token)
    log_event(session, f"regenerated to {session.alias}", old)
    try:
        await _unlist(session, held.get(OWNER), old)
        if labels_of(session.stored):
            values = await store.notifications.end(store.key("notice", old), MOVED + new)
            if values:
                await _write_notices(session, new, values)
    except StoreUnavailable as error:
        store.log_outage(error)  # the visitor must get the new cookie all the same


async def _end(session: SessionManager) -> None:
    assert session.id is not None
    session.changes()  # a value that cannot be kept raises before anything has ended
    store, old = session.store, session.id
    held = await store.sessions.end(store.key("session", old), ENDED)
    log_event(session, "destroyed", old)
    if session.state is not State.ENDED:  # the response has failed meanwhile
        session.forget()
    session.id, session.state, session.stored, session.version = None, State.NEW, {}, None
    session.sets_cookie, session.clears_cookie = False, True
    labels = labels_of(held)
    try:
        await _unlist(session, held.get(OWNER), old)
        if labels and session.can_set_cookie():  # they reach the visitor's next page
            values = await store.notifications.end(store.key("notice", old), ENDED)
            for field in labels.keys() & values:
                session.outgoing[field] = Notice(labels[field], values[field])
        if session.unsaved():
            await _begin(session)
    except StoreUnavailable as error:
        if session or session.owner is not None:
            raise
        session.discard()
        store.log_outage(error)  # the visitor must be logged out all the same


async def _lose(session: SessionManager, changes: Changes) -> None:
    """Another request has ended the session or moved it: notices follow, unless they may speak of
    changes that are refused.
    """
    refused = any(not name.startswith(WAITING) for name in changes)
    if session.outgoing and not refused and session.id is not None:
        refused = not await deliver(session.store, session.id, session.outgoing)
    session.state = State.LOST
    _drop(session, refused)


def _drop(session: SessionManager, refused: bool = True) -> None:
    session.outgoing = {}
    session.forget()
    if refused and not session.drops_if_lost():
        raise SessionLost
    if refused:
        log.info("dropped what a request changed: its session has ended or changed its id")


def _become(session: SessionManager, token: str) -> None:
    session.id, session.token = id_of(token), token
    if session.state is not State.ENDED:  # it may have been destroyed meanwhile
        session.state = State.ALIVE
    session.sets_cookie, session.clears_cookie = True, False


async def _store(
    session: SessionManager, session_id: str, fields: Changes, *, create: bool = False
) -> bool:
    """Write fields and notices. False: nothing, as another request has ended or moved it.

    On the owner's list first, so that the session can always be ended; then the notices, so that
    whoever finds a label finds the value.
    """
    if create or session.use_is_due():
        fields = {**fields, USED: encode(session.store.clock())}
    if (owner := session.own(OWNER)) is not None and not fields.keys().isdisjoint(_LISTED):
        # In use, too, as the store may have evicted the list.
        (user_id, handle, since), request = owner, session.request
        agent, address = request.headers.get("User-Agent", "")[:300], request.remote_ip or ""
        now = session.store.clock()
        entry = Entry(handle, agent, address, since, now, now + session.ttl_s())
        try:
            await enlist(session.store, user_id, session_id, entry, prune=OWNER in fields)
            session.is_unlisted = False
        except StoreUnavailable as error:
            if OWNER in fields or IDLE in fields or fields.keys() == {USED}:
                raise
            # The list may lie on another server. Its use is noted when that is back.
            session.store.log_outage(error)
            fields = {name: raw for name, raw in fields.items() if name != USED}
            session.is_unlisted = True
    if not session.outgoing and not labels_of(session.stored):
        return await put(session, session_id, fields, create=create)
    labels = labels_of(fields)
    outgoing = {f: each.value for f, each in session.outgoing.items() if WAITING + f in fields}
    if outgoing or (not create and labels_of(session.stored)):  # all live as long as the session
        await _write_notices(session, session_id, outgoing)
    if not await put(session, session_id, fields, create=create):
        return False
    for field in outgoing:
        session.outgoing.pop(field, None)
    gone = {field: None for field, label in labels.items() if label is None}
    if gone:  # last, as a record that is refused keeps what it had
        await _write_notices(session, session_id, gone)
    return True


async def _write_notices(session: SessionManager, session_id: str, values: Changes) -> None:
    key = session.store.key("notice", session_id)
    await session.store.notifications.write(key, values, session.ttl_s(), create=True)


async def _unlist(session: SessionManager, owner: bytes | None, session_id: str) -> None:
    """Take the session off a former owner's list, or off its own under a former id."""
    if owner is not None:
        former = decode(owner)[0]
        if session_id != session.id or str(former) != str(session.owner):
            await write_list(session.store, former, {session_id: None})
