"""A session in memory: a dictionary with a life of its own. manager.py loads and saves it."""

from __future__ import annotations

import asyncio
import secrets
from datetime import UTC, datetime
from typing import Any

from .codec import decode
from .config import DAY_S
from .dictionary import Dictionary
from .record import (
    BEGIN_NOTHING,
    CREATED,
    IDLE,
    NOTED_EVERY_S,
    OWNER,
    PERSISTENT,
    USED,
    WAITING,
    Notice,
    State,
    check_owner,
    labels_of,
    life_s,
)
from .store import Store


class Session(Dictionary):
    """A visitor's session.

    Reading and assigning happen in memory. What has changed, inside of values too, is saved by
    `save()`, which the mixins call before the response leaves; only changed names travel. Two
    requests that change different names of one session never undo each other. A session exists,
    and its cookie is set, once something is stored in it.
    """

    id: str | None = None
    """The hash of the token whose record was found alive, or has begun."""
    token = ""
    sets_cookie = clears_cookie = False
    """What the response must do with the cookie."""
    renews_cookie_until = 0.0
    """Until when a response may extend the life of the cookie, in seconds since the epoch."""
    is_unlisted = False
    """Whether its user's list was out of reach: until it is listed again, its life is not extended."""
    version: Any = None
    """The engine's own, of the record as it was loaded."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store = store
        self.outgoing: dict[str, Notice] = {}
        """Notices to store at the commit, by field."""
        self.taken: list[dict[str, Notice]] = []
        """Notices that were read at once, to be put back if the response fails."""
        self._saving: asyncio.Lock | None = None

    @property
    def new(self) -> bool:
        """Whether this visitor has no session yet."""
        self.check_loaded()
        return self.id is None

    @property
    def created(self) -> datetime | None:
        """When the session began; None if there is none yet."""
        return self._moment(CREATED)

    @property
    def last_used(self) -> datetime | None:
        """When it was last used, noted once a minute or once in a hundredth of its idle limit."""
        return self._moment(USED)

    @property
    def alias(self) -> str:
        """What log lines call it; "-" if there is none. It leads back to nothing."""
        return "-" if self.id is None else self.store.alias(self.id)

    @property
    def handle(self) -> str:
        """Names it on its owner's list, without opening it; "" if it has no owner."""
        return str((self.own(OWNER) or (None, ""))[1])

    @property
    def owner(self) -> str | int | None:
        """The id of the user whose session this is; None: nobody's.

        Assigning lists the session under that user, who can then see and end it (see `Owner`);
        None takes it off the list. `regenerate` keeps it.
        """
        user_id: str | int | None = (self.own(OWNER) or (None,))[0]
        return user_id

    @owner.setter
    def owner(self, user_id: str | int | None) -> None:
        if user_id is not None:
            check_owner("session.owner", user_id)
        self.check_writable()
        if user_id != self.owner:
            listed = [user_id, secrets.token_urlsafe(9), self.store.clock()]
            self.set_own(OWNER, None if user_id is None else listed)

    def expire(self, idle_s: float | None = None, *, persistent: bool | None = None) -> None:
        """Give this session an idle limit of its own; `regenerate` keeps it.

        `persistent`: whether its cookie outlives the browser. None: as the settings say. Raises
        `ValueError` for a limit that cannot be kept: nothing outlives `absolute_timeout`.
        """
        if type(persistent) not in (bool, type(None)):
            raise TypeError(f"persistent={persistent!r}: write True, False or None")
        longest = self.store.config.absolute_timeout
        if idle_s is not None and not (type(idle_s) in (int, float) and 1 <= idle_s <= longest):
            raise ValueError(
                f"a session cannot live for {idle_s!r} s unused: write 1 to {longest:.15g} "
                "(absolute_timeout), or None for the idle_timeout of the settings"
            )
        self.check_open()
        self.set_own(IDLE, idle_s)
        self.set_own(PERSISTENT, persistent)

    def remember(self, days: float | None) -> None:
        """Let the session outlive the browser, for `days` without use; None takes that back."""
        if days is None:
            self.expire()
        elif type(days) in (int, float):
            self.expire(days * DAY_S, persistent=True)
        else:
            raise TypeError(f"remember({days!r}): write the days as a number, or None")

    def regenerate(self) -> None:
        """Change the session's id at the commit; data, notifications, owner and limits stay.

        Call it when rights change, at login above all: an id that somebody planted or saw before
        is then worth nothing. The old id is dead at once.
        """
        self.check_open()
        if self.state is State.ALIVE:
            self.state = State.MOVED
        elif self.state is State.LOST:  # a login with an id from before another login
            self.state, self.id = State.NEW, None

    def destroy(self) -> None:
        """End the session at the commit: record gone, cookie expired.

        It is empty at once; what is set afterwards begins a new one. Notifications that wait reach
        the visitor's next page.
        """
        self.check_open()
        begins = self.state is State.NEW and self.is_saving()
        if begins or self.state in (State.ALIVE, State.MOVED):
            self.state = State.ENDED
        self._values, self.touched = {}, set()

    # For the package itself

    @property
    def saving(self) -> asyncio.Lock:
        """Held by whatever writes: coroutines of one request take turns."""
        if self._saving is None:  # most requests only read
            self._saving = asyncio.Lock()
        return self._saving

    def is_saving(self) -> bool:
        """Whether something is being written."""
        return self._saving is not None and self._saving.locked()

    def unsaved(self) -> bool:
        """Whether something was changed. Raises `TypeError` for a value that cannot be kept."""
        is_changed = bool(self.touched and self.changes())
        if self.outgoing or self.state in (State.MOVED, State.ENDED):
            return True
        if self.state is State.ALIVE:
            return is_changed
        return not BEGIN_NOTHING.issuperset(self._values)

    def use_is_due(self) -> bool:
        """Whether its use is to be noted: once a minute, or once in a hundredth of its limit."""
        if self.state is not State.ALIVE or USED not in self._values:
            return False
        idle_s = self._values.get(IDLE) or self.store.config.idle_timeout
        unnoted_s = abs(self.store.clock() - self._values[USED])  # the clock may be set back
        return bool(unnoted_s >= min(NOTED_EVERY_S, idle_s / 100))

    def discard(self) -> None:
        """Forget what was changed and not saved, because the response or the block has failed."""
        if self.state in (State.MOVED, State.ENDED):
            self.state = State.ALIVE
        self.outgoing = {}
        self.replace(self.stored)

    def forget(self) -> None:
        """Reset to an empty session with no pending changes; outgoing notices stay."""
        self.replace({})
        self.version = None

    def to_write(self) -> dict[str, bytes | None]:
        """Return the changes, with the labels of the notices to store."""
        changes = self.changes()
        for field, notice in self.outgoing.items():
            changes[WAITING + field] = notice.label
        return changes

    def waiting(self) -> dict[str, list[Any]]:
        """Return name and category of the notices that wait, by field, oldest first."""
        outgoing = {field: decode(notice.label) for field, notice in self.outgoing.items()}
        labels = sorted({**labels_of(self._values), **outgoing}.items())
        return {field: each for field, each in labels if isinstance(each, list) and len(each) == 2}

    def cookie_expires(self) -> float | None:
        """Return when the cookie expires, in seconds since the epoch; None: with the browser."""
        config, persistent = self.store.config, self.own(PERSISTENT)
        if persistent is False or (persistent is None and config.cookie.lifetime_s is None):
            return None
        life_s = self.own(IDLE) or config.cookie.lifetime_s or config.idle_timeout
        now = self.store.clock()
        # Destroyed while it is saved, it has forgotten when it began.
        return float(min(now + life_s, self._values.get(CREATED, now) + config.absolute_timeout))

    def life_s(self) -> float:
        """Return for how many seconds the record lives without use; 0 or less: it is over."""
        return life_s(self._values, self.store.config, self.store.clock())

    def ttl_s(self) -> float:
        """Return for how many seconds a record that is written now lives without use; 0: it has
        reached `absolute_timeout`, however much it is used.
        """
        if self.is_unlisted and self.state is State.ALIVE:
            return max(1.0, self.life_s())
        now, config, values = self.store.clock(), self.store.config, self._values
        left_s: float = values.get(CREATED, now) + config.absolute_timeout - now
        idle_s: float = values.get(IDLE) or config.idle_timeout
        return max(1.0, min(idle_s, left_s)) if left_s > 0 else 0

    def _moment(self, name: str) -> datetime | None:
        at = self.own(name)
        return None if at is None or self.id is None else datetime.fromtimestamp(at, UTC)
