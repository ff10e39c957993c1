"""A session's record in the store: our own fields in it, when it ends, how a notice reaches it.

Notices (notifications and flash messages) lie in a record of their own. The session's record has a
label for each that waits, so that a page without any costs no trip to look for them.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Mapping
from typing import Annotated, Any, Final, NamedTuple, TypeVar

import msgspec

from .codec import decode_fields, encode
from .config import SessionConfig
from .engines import Snapshot
from .errors import BadRecord
from .store import Store

OWN: Final = ":"
"""What the names of our own fields begin with; a handler's names must not."""
CREATED: Final = ":created"
USED: Final = ":used"
"""When the session was last used, as far as that was noted. Seconds since the epoch."""
NOTED_EVERY_S: Final = 60
"""Seconds between two notes of it, at most."""
IDLE: Final = ":idle"
"""This session's own idle limit in seconds; absent: the application's."""
PERSISTENT: Final = ":persistent"
"""Whether the cookie outlives the browser; absent: as the application's settings say."""
OWNER: Final = ":owner"
"""The user it belongs to, its handle on the user's list, and since when."""
BEGIN_NOTHING: Final = frozenset({CREATED, IDLE, PERSISTENT})
"""Those of our own fields that alone do not begin a session."""
WAITING: Final = ":waiting:"
"""Begins the fields with the labels of waiting notices; the notice's own field follows."""

ENDED: Final = "ended"
MOVED: Final = "moved "
"""Begins what the tombstone of a regenerated session says; the new id follows."""


class State:
    """What a commit finds, and does. Not an Enum, whose members take long to look up."""

    NEW: Final = "new"
    """There is no record yet; it begins when something is stored in it."""
    ALIVE: Final = "alive"
    """The record exists; changes are merged into it."""
    MOVED: Final = "moved"
    """regenerate() was called: the record moves to a new id."""
    ENDED: Final = "ended"
    """destroy() was called: the record goes."""
    LOST: Final = "lost"
    """Another request has ended it or changed its id: nothing is written."""


class Notice(NamedTuple):
    """A notification on its way to a session; both parts are encoded.

    `label` is its name and category. `value` is None where only the label is to be put back, as the
    value may still be there.
    """

    label: bytes
    value: bytes | None


_Time = Annotated[float, msgspec.Meta(ge=0, le=10**11)]


class _Own(msgspec.Struct):
    """Our own fields, as a record must have them."""

    created: _Time = msgspec.field(name=CREATED)
    used: _Time = msgspec.field(name=USED)
    idle: _Time | None = msgspec.field(name=IDLE, default=None)
    persistent: bool | None = msgspec.field(name=PERSISTENT, default=None)
    owner: tuple[str | int, str, _Time] | None = msgspec.field(name=OWNER, default=None)


_Value = TypeVar("_Value")
_numbers = itertools.count()


def new_field(now: float) -> str:
    """Return a notice's field, which sorts by time and is never used again."""
    return renamed(f"{int(now * 1e6):016x}{next(_numbers) & 0xFFFF:04x}")


def renamed(field: str) -> str:
    """Return a new field that sorts where `field` does."""
    return field[:20] + secrets.token_hex(4)


def labels_of(fields: Mapping[str, _Value]) -> dict[str, _Value]:
    """Return the labels of waiting notices among a record's fields, by the notices' own fields."""
    return {n.removeprefix(WAITING): v for n, v in fields.items() if n.startswith(WAITING)}


def is_owned(values: Mapping[str, Any], user_id: str | int) -> bool:
    """Return whether a record says that the session is this user's: lists may be out of date."""
    return OWNER in values and str(values[OWNER][0]) == str(user_id)


def life_s(values: Mapping[str, Any], config: SessionConfig, now: float) -> float:
    """Return for how many seconds the session lives if it is not used again.

    The store enforces the idle limit, by the record's time to live. Where our clock says that it is
    over, the clock was set: a step of it must not end every session. Raises `BadRecord` if the
    record does not say.
    """
    try:
        own = msgspec.convert(values, _Own)
    except msgspec.ValidationError as error:
        raise BadRecord(f"a record without its times: {error}") from None
    idle_s, unused_s = own.idle or config.idle_timeout, now - own.used
    left_s = idle_s - unused_s if 0 <= unused_s < idle_s else idle_s
    return min(left_s, own.created + config.absolute_timeout - now)


def check_owner(what: str, user_id: object) -> None:
    """Raise `TypeError` unless this can be a user's id."""
    if type(user_id) not in (str, int):
        raise TypeError(f"{what} is {user_id!r}: write the user's id, a str or an int")
    encode(user_id, what)


async def follow(store: Store, session_id: str) -> tuple[str, Snapshot] | None:
    """Return the id that a session has by now, and its record; None if it has ended."""
    for _ in range(10):  # a session that moves faster is not a person's
        snapshot = await store.sessions.load(store.key("session", session_id))
        if snapshot is None:
            return None
        if snapshot.ended is None:
            return session_id, snapshot
        if not snapshot.ended.startswith(MOVED):
            break
        session_id = snapshot.ended.removeprefix(MOVED)
    return None


async def deliver(
    store: Store,
    session_id: str,
    notices: Mapping[str, Notice],
    changes: Mapping[str, bytes] | None = None,
    owner: str | int | None = None,
) -> bool:
    """Store notices, and `changes` of its record, for a session that may be another visitor's.

    Follows it where its id has moved. Does not count as use. Returns False, and delivers nothing,
    where the session has ended, or is not that of `owner`.
    """
    labels = {WAITING + field: notice.label for field, notice in notices.items()}
    unread = {field: each.value for field, each in notices.items() if each.value is not None}
    while (found := await follow(store, session_id)) is not None:  # again if it moves meanwhile
        session_id, snapshot = found
        try:
            values = decode_fields(snapshot.fields)
            ttl = life_s(values, store.config, store.clock())
        except BadRecord:
            return False
        if ttl <= 0 or (owner is not None and not is_owned(values, owner)):
            return False
        # The values first: whoever finds a label must find its value.
        if unread:
            box = store.key("notice", session_id)
            await store.notifications.write(box, unread, ttl, create=True)
        key, fields = store.key("session", session_id), {**(changes or {}), **labels}
        written = await store.sessions.write(key, fields, ttl, create=False, seen=snapshot.version)
        if written is not None:
            return True
    return False
