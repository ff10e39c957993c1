"""One request's part in a session: its id, its record, its notifications, and their commit.

The mixins and managers share a `Visit`, so that whatever a request does ends in one id, one
cookie and one decision about what is written.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Awaitable, Mapping
from typing import Final

from tornado.web import RequestHandler

from .engines import Fields
from .errors import BadRecord, StoreUnavailable
from .identity import Cookie, hashed, mint
from .outbox import KINDS, Kind, Outbox
from .record import ACTIVE, Record
from .store import Store

_RENEWED_AFTER: Final = 0.1
"""A persistent cookie is set again when this part of its life has passed."""

_ATTRIBUTE: Final = "_visit"
"""Where a handler keeps its visit. Not reached by `vars()`: that slows down each later look at any
attribute of the handler, and Tornado takes hundreds."""

log = logging.getLogger(__package__)


class Visit:
    """Get it with `Visit.of(handler)`; there is one for each request."""

    def __init__(self, handler: RequestHandler) -> None:
        self.store = Store.of(handler.application)
        self.record = Record()
        self.outbox = Outbox()
        self.loaded = False
        self.id: str | None = None
        """The hash of the token whose record this request found alive, or has begun."""
        # The handler has this visit. If the visit had the handler too, only the garbage collector
        # could free them, which cost a reading page 7 % of its time.
        self._handler = weakref.proxy(handler)
        self._cookie: Cookie | None = None
        self._next_token: str | None = None
        self._left: str | None = None
        self._lifetime_s: int | None = None
        self._cookie_due = False
        self._clear_due = False
        self._dropped = False

    @staticmethod
    def of(handler: RequestHandler) -> Visit:
        """Return the handler's visit, begun on the first call."""
        visit: Visit | None = getattr(handler, _ATTRIBUTE, None)
        if visit is None:
            visit = Visit(handler)
            setattr(handler, _ATTRIBUTE, visit)
        return visit

    async def load(self) -> None:
        """Find the session of the request's cookie. One trip; none without a good cookie."""
        if self.loaded:
            return
        config = self.store.config
        header = self._handler.request.headers.get("Cookie")
        cookie = self._cookie = self.store.signer.read(header)
        if cookie is not None:
            session_id = cookie.id
            self._lifetime_s = cookie.lifetime_s
            if cookie.signed_at + config.absolute_timeout <= self.store.clock():
                self.event("expired", session_id)
                self._forget(clear=True)
            elif not await self._find(session_id):
                # A good signature and no record: it has expired, was ended, or never was.
                self.event("unknown id", session_id, logging.WARNING)
                self._forget(clear=not await self.store.ended(session_id))
        self.loaded = True

    async def reload(self) -> None:
        """Read the record again; what was changed and not saved is forgotten."""
        if self.id is None:
            self.record.forget()
        elif not await self._find(self.id):
            self._lost(self.id)

    async def _find(self, session_id: str) -> bool:
        fields = await self.store.sessions.load(
            self.store.key("session", session_id), self._idle_s()
        )
        if not fields:
            return False
        self.id = session_id
        try:
            self.record.replace(fields)
        except BadRecord as error:
            log.warning("dropped the record of session %s: %s", self._alias(session_id), error)
            await self.store.end(session_id)
            self._forget(clear=True)
        else:
            if self._remaining_s() <= 0:
                self.event("expired", session_id)
                await self.store.end(session_id)
                self._forget(clear=True)
        return True

    def next_id(self) -> str:
        """Return the id that the session will have after the commit; minted once per request."""
        if self._next_token is not None:
            return hashed(self._next_token)
        if self.id is not None:
            return self.id
        self._next_token = mint()
        return hashed(self._next_token)

    def check_can_begin(self) -> None:
        """Raise if a session would have to begin now, and its cookie can no longer be set."""
        # Tornado keeps this to itself, but nothing else tells that the headers have left.
        if self.id is None and self._handler._headers_written:
            raise RuntimeError(
                "a session cannot begin after the headers are sent, because it needs a cookie: "
                "store something before the first flush(), or before a WebSocket opens"
            )

    def regenerate(self) -> None:
        """Change the id at the next commit."""
        if self.id is not None:
            self._next_token = mint()

    def destroy(self) -> None:
        """End the session at the next commit; what comes after begins another."""
        if self.id is not None:
            self._left = self.id
        self._forget(clear=True)
        self._dropped = False

    def remember(self, lifetime_s: int | None) -> None:
        """Let the cookie live so long, or with None as long as the browser."""
        self._lifetime_s = lifetime_s
        self._cookie_due = True

    def commit(self) -> Awaitable[None] | None:
        """Write what has changed and set the cookie; None where no trip was needed for that.

        Raises `TypeError` at once for a value that cannot be kept.
        """
        if self._dropped:
            return None
        changes = self.record.changes()
        if self._left is not None:
            return self._leave(self._left, begin=bool(changes))
        if self.id is None:
            if changes or self.outbox.brings():
                return self._begin()
        elif self._next_token is not None:
            return self._move(self.id, self._next_token, changes)
        elif changes or self.outbox or self._must_set_cookie():
            return self._save(self.id, changes)
        if self._clear_due:
            self._answer()
        return None

    async def save(self) -> None:
        """Commit, waiting for it."""
        writing = self.commit()
        if writing is not None:
            await writing

    def put_back(self) -> Awaitable[None] | None:
        """Return to the store what was taken from it; None where nothing was."""
        taken = self.outbox.give_back()
        session_id = self.id or self._left  # a destroy() that is dropped has ended nothing
        if not taken or session_id is None:
            return None
        return self._put_back(session_id, taken)

    async def swap(self, name: str, old: bytes | None, new: bytes) -> bool:
        """Set one name if the store still holds `old`; visible to others at once."""
        if self.id is None:
            return False
        key = self.store.key("session", self.id)
        if not await self.store.sessions.swap(key, name, old, new, self._ttl_s(), create=False):
            return False
        self.record.hold(name, new)
        return True

    async def _begin(self) -> None:
        self.check_can_begin()
        if self._next_token is None:
            self._next_token = mint()
        now = self.store.clock()
        self.record.begin(now)
        new = hashed(self._next_token)
        await self._write(new, self.record.changes(), create=True)
        if await self._ended_before_it_began(new):
            return
        self._become(self._next_token)
        self.event("created", self.next_id())
        self._answer()

    async def _save(self, session_id: str, changes: Mapping[str, bytes | None]) -> None:
        alive = await self._write(session_id, changes, create=False)
        if not changes and self._must_set_cookie():
            # Nothing has told yet whether the session is still there. If another request has moved
            # it, the browser has the new cookie by now, and this one would log it out.
            key = self.store.key("session", session_id)
            alive = bool(await self.store.sessions.load(key))
        if alive:
            self._answer()
        else:
            self._lost(session_id)

    async def _move(self, old: str, token: str, changes: Mapping[str, bytes | None]) -> None:
        """Carry everything to a new id.

        Taking the old record decides who moves it, only once. The copy is made before: if the
        store fails in between, the visitor still has the old session, and who ends this session
        from elsewhere at this very moment ends the copy too.
        """
        self._check_headers()
        new = hashed(token)
        copy = {**self.record.fields(), **changes}
        await self._write(new, copy, create=True)
        record, pending = await self.store.end(old)
        if not record:
            await self.store.end(new)
            self._lost(old)
            return
        # What others have stored under the old id since this request loaded it.
        late: dict[str, bytes | None] = {
            name: record.get(name)
            for name in {*record, *copy} - {*changes}
            if record.get(name) != copy.get(name)
        }
        for kind, fields in pending.items():
            self.outbox.carry(kind, fields)
        if not await self._write(new, late, create=False):
            self._lost(new)
            return
        if await self._ended_before_it_began(new):
            return
        self.event(f"regenerated to {self._alias(new)}", old)
        self._become(token)
        self._answer()

    async def _leave(self, old: str, *, begin: bool) -> None:
        _, pending = await self.store.end(old)
        self._left = None
        self.event("destroyed", old)
        for kind, fields in pending.items():
            self.outbox.carry(kind, fields)
        if begin or self.outbox.brings():
            await self._begin()
        else:
            self._answer()

    async def _ended_before_it_began(self, new: str) -> bool:
        """Whether the user has ended this session from another device, before it was stored.

        It is listed as the user's by then, so it can be ended; and the note of that is older than
        the record, which must not stay.
        """
        if self.record.own(ACTIVE) is None or not await self.store.ended(new):
            return False
        await self.store.end(new)
        self._lost(new)
        return True

    async def _write(
        self, session_id: str, changes: Mapping[str, bytes | None], *, create: bool
    ) -> bool:
        """Write changes of the session and of the notifications, in one tick."""
        store, ttl = self.store, self._ttl_s()
        calls: list[Awaitable[bool]] = []
        sent: dict[Kind, dict[str, bytes | None]] = {}
        if changes:
            key = store.key("session", session_id)
            calls.append(store.sessions.save(key, changes, ttl, create=create))
        for kind in KINDS:
            if notices := self.outbox.changes(kind):
                sent[kind] = notices
                key = store.key(kind, session_id)
                calls.append(store.notifications.save(key, notices, ttl, create=True))
        results = [await calls[0]] if len(calls) == 1 else await asyncio.gather(*calls)
        for kind, notices in sent.items():
            self.outbox.sent(kind, notices)
        if changes and not results[0]:
            return False
        self.record.stored_as(changes)
        return True

    async def _put_back(self, session_id: str, taken: list[tuple[Kind, Fields]]) -> None:
        store, ttl = self.store, self._ttl_s()
        try:
            for kind, fields in taken:
                key = store.key(kind, session_id)
                if kind == "message":
                    await store.notifications.save(key, fields, ttl, create=True)
                    continue
                for name, raw in fields.items():  # unless a newer one was set meanwhile
                    await store.notifications.swap(key, name, None, raw, ttl, create=True)
        except StoreUnavailable as error:
            self.store.log_outage(error)

    def _become(self, token: str) -> None:
        self.id, self._next_token = hashed(token), None
        self._cookie = Cookie(token, self.id, int(self.store.clock()), self._lifetime_s)
        self._cookie_due = True

    def _lost(self, session_id: str) -> None:
        """Another request has ended this session: what this one changed is dropped."""
        log.info("dropped changes to session %s, ended meanwhile", self._alias(session_id))
        self._forget(clear=False)
        self._dropped = True

    def _forget(self, *, clear: bool) -> None:
        self.record.forget()
        self.id = self._next_token = self._lifetime_s = None
        self._cookie_due, self._clear_due = False, clear

    def _check_headers(self) -> None:
        if self._handler._headers_written:
            raise RuntimeError(
                "the session's id cannot change after the headers are sent, because the new one "
                "needs a cookie: call regenerate() before the first flush()"
            )

    def _must_set_cookie(self) -> bool:
        """Whether the visitor needs the cookie, for the first time or because it grows old."""
        if self.id is None or self._cookie is None or self._handler._headers_written:
            return False
        if self._cookie_due:
            return True
        lifetime_s = self._cookie_lifetime_s()
        age_s = self.store.clock() - self._cookie.signed_at
        return lifetime_s is not None and age_s > lifetime_s * _RENEWED_AFTER

    def _cookie_lifetime_s(self) -> float | None:
        return self._lifetime_s or self.store.config.cookie.lifetime_s

    def _answer(self) -> None:
        """Set or clear the cookie, if that is due and still possible."""
        handler, config = self._handler, self.store.config.cookie
        if handler._headers_written:
            return
        if self._cookie is not None and self._must_set_cookie():
            self._set_cookie(self._cookie.token, self._cookie_lifetime_s())
        elif self._clear_due and self.id is None and handler.get_cookie(config.name) is not None:
            handler.clear_cookie(config.name, **config.attributes)
        self._cookie_due = self._clear_due = False

    def _set_cookie(self, token: str, lifetime_s: float | None) -> None:
        store, config = self.store, self.store.config.cookie
        now = store.clock()
        expires = None
        if lifetime_s is not None:
            expires = now + min(lifetime_s, self._remaining_s())
        value = store.signer.sign(token, self._lifetime_s, now)
        self._handler.set_cookie(config.name, value, expires=expires, **config.attributes)
        # A cache that kept this response would hand the visitor's session to others.
        self._handler.set_header("Cache-Control", "no-store")

    def _idle_s(self) -> float:
        """The idle limit: the application's, or longer where the visitor asked to be remembered."""
        return max(self.store.config.idle_timeout, self._lifetime_s or 0)

    def _remaining_s(self) -> float:
        """How long the absolute limit still lets the session live."""
        return self.record.created + self.store.config.absolute_timeout - self.store.clock()

    def _ttl_s(self) -> float:
        return max(1.0, min(self._idle_s(), self._remaining_s()))

    def _alias(self, session_id: str) -> str:
        return self.store.alias(session_id)

    def event(self, what: str, session_id: str, level: int = logging.INFO) -> None:
        """Log what security staff want to see, without the id."""
        log.log(
            level,
            "session %s: %s request=%s address=%s",
            self._alias(session_id),
            what,
            getattr(self._handler, "request_id", "-"),
            self._handler.request.remote_ip,
        )
