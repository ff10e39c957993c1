"""The session of one request: made from its headers, used in a block, told to the browser."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from functools import cached_property
from typing import Any, Final, NoReturn, Self

from tornado.httputil import HTTPHeaders
from tornado.web import HTTPError, RequestHandler

from .block import Block, block_around, enter, leave
from .commit import commit, modify
from .cookie import id_of
from .dictionary import Dictionary
from .errors import SessionError, SessionLost, StoreUnavailable
from .handler import (
    NOT_MODIFIED,
    Held,
    ask_to_retry,
    has_gone,
    headers_written,
    is_finished,
    is_over,
    when_it_leaves,
)
from .record import Notice, State
from .session import Session
from .store import Store, log
from .trips import find, in_turn, refresh

_ATTRIBUTE: Final = "_session_manager_of_request"
_READING: Final = ("GET", "HEAD", "OPTIONS")
_STALE_S: Final = 2.0
"""How late a response may clear the cookie of an expired session: a slower one could clear that of
a login which the visitor has made meanwhile. The next response does it."""


class SessionManager(Session):
    """The session of the request that `handler` serves: one, however often it is asked for.

    The mixins load and save it. A handler without them does both like this, and answers after the
    block, so that the cookie can still be set:

        async with SessionManager(self) as session:
            session["theme"] = "dark"

    In a job that goes on with a session after the response, the same block loads it again.
    """

    varies = False
    """Whether the response depends on the session."""
    has_left = False
    """Whether the response's headers were sent: no cookie can be set any more."""
    held: Held | None = None
    """The response, while it waits for the store."""
    leaves: asyncio.Future[None] | None = None
    """Set when a response that was held is handed to Tornado."""
    block: Block | None = None
    """The outermost `async with` block that is open."""
    shown = 0
    """How many of the takes in `taken` the client has been sent, by an earlier flush()."""
    _is_stale = False
    """Whether the request came with the cookie of a session that has expired."""

    def __new__(cls, handler: RequestHandler) -> Self:
        session: Self | None = getattr(handler, _ATTRIBUTE, None)
        if session is None:
            return super().__new__(cls)
        session.varies = True  # a handler asks for it once more than the mixins do
        return session

    def __init__(self, handler: RequestHandler) -> None:
        if getattr(handler, _ATTRIBUTE, None) is self:
            return
        super().__init__(Store.of(handler.application))
        setattr(handler, _ATTRIBUTE, self)
        self.request = handler.request
        self.request_id = getattr(handler, "request_id", "-")
        # The handler has the session. If the session had the handler too, only the garbage
        # collector could free them.
        self.handler = weakref.ref(handler)
        self.has_mixins = hasattr(type(handler), _ATTRIBUTE)
        self.is_plain = not self.has_mixins
        """True while a handler without the mixins serves the request; False in a job."""
        self.varies = self.is_plain

    async def modify(
        self, name: str, function: Callable[[Any], object], default: object = None
    ) -> Any:
        """Set `name` to `function(its value, or default)` at once, and return the new value.

        Loses no other request's change of it: if one was faster, `function` is called again, so it
        should do nothing else. What this request changed before is saved first. Raises `TypeError`
        if the function returns None, `SessionLost` as `save` does.
        """
        self.check_name(name)
        self.check_loaded()
        return await in_turn(self, modify(self, name, function, default))

    async def save(self) -> None:
        """Commit now: for streams, long polling, WebSockets and jobs.

        Raises `SessionLost` if another request has ended the session; in a GET or a WebSocket, what
        was changed is dropped instead, with a line in the log. Raises `RuntimeError` if a cookie is
        needed and the headers are sent; `StoreUnavailable` if nothing is known to be saved.
        """
        self.check_loaded()
        await in_turn(self, commit(self))

    async def reload(self, *, touch: bool = True) -> None:
        """Read again what other requests have stored; what was changed and not saved is lost.

        `touch=False`: a look that does not count as use, for loops that wait for news.
        """
        self.check_loaded()
        async with self.saving:
            await refresh(self, Dictionary.replace)
        if touch and self.use_is_due():
            await self.save()

    # For the package itself

    async def save_in_task(self) -> None:
        """Commit. Must be called in a task that is never cancelled."""
        async with self.saving:
            await commit(self)

    async def save_last(self) -> None:
        """Commit what a WebSocket changed before it closed."""
        try:
            if self.unsaved():
                await self.save()
        except SessionLost:
            log.info("dropped what a WebSocket changed before it closed: its session has ended")
        except Exception:
            log.exception("what a WebSocket changed before it closed was not saved")

    async def load(self) -> None:
        """Find the session of the request's cookies. One trip each; none without a good cookie."""
        if self.state is not None:
            return
        self.unloaded = " yet: the store has not answered"
        if (handler := self.handler()) is not None:
            self.has_left = headers_written(handler)
            when_it_leaves(handler, self.set_headers)
        lost = False
        tokens = self.store.signer.tokens("; ".join(self.request.headers.get_list("Cookie")))
        for token in tokens:
            try:
                found = await find(self, id_of(token), Dictionary.replace)
            except StoreUnavailable as error:
                self.unloaded = f": {error}"
                raise
            if found is State.ALIVE:
                self.state, self.token = found, token
                return
            lost = lost or found is State.LOST
        # Of an id that was ended or moved a moment ago the browser may have the successor by now,
        # which no cookie in this response must replace.
        self.state = State.LOST if lost else State.NEW
        self._is_stale = bool(tokens) and not lost

    async def __aenter__(self) -> Self:
        await enter(self)
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: Any) -> None:
        """Save, unless the block failed in a way that Tornado answers with a 5xx."""
        await leave(self, error)

    def takes(self) -> list[dict[str, Notice]]:
        """Return the list to add taken notices to; they are put back if the block or response fails."""
        if (block := block_around(self)) is not None:
            return block.taken
        handler = self.handler()
        is_given = handler is None or (is_finished(handler) and self.held is None)
        return [] if is_given else self.taken

    def note_taken(self, block: Block | None) -> None:
        """Let the response put back what was taken in a block around it, too."""
        for each in block.taken if block is not None else ():
            if not any(each is known for known in self.taken):
                self.taken.append(each)

    def note_sent(self) -> None:
        """Put back nothing more of what was taken: the response has shown it."""
        for each in self.taken:
            each.clear()
        self.taken.clear()

    def note_shown(self, takes: int, flushed: asyncio.Future[None]) -> None:
        """Note that a flush has sent what was taken before it, if it has."""
        if flushed.exception() is None:
            self.shown = takes

    def unseen(self, *, failed: bool = False) -> list[dict[str, Notice]]:
        """Return what was taken and is not seen: the client went away before it was sent it, or the
        response has no body, or has `failed`.
        """
        if not self.taken or (handler := self.handler()) is None:
            return []
        if self.request.method == "HEAD" or handler.get_status() == NOT_MODIFIED:
            return self.taken
        if has_gone(handler):
            return self.taken[self.shown :]
        return self.taken if failed else []

    def drops_if_lost(self) -> bool:
        # A response that is held waits for this very commit; after it, a job is at work.
        waits = self.held is not None or not is_over(self.handler())
        return waits and self.request.method in _READING

    def can_set_cookie(self) -> bool:
        return not self.has_left and self.handler() is not None

    def check_writable(self) -> None:
        self.check_open()
        if self.state in (State.NEW, State.ENDED):
            self.check_can_begin()

    def check_can_begin(self) -> None:
        """Raise if a session cannot begin any more."""
        if not self.can_set_cookie():
            raise RuntimeError(
                "a session cannot begin after the headers are sent, because it needs a cookie: "
                "store something before the first flush(), or before a WebSocket opens"
            )

    def set_headers(self, headers: HTTPHeaders) -> None:
        """Put into the response's `headers` what the browser and caches must learn."""
        self.has_left = True
        clears = self.clears_cookie or (self._is_stale and self.request.request_time() < _STALE_S)
        is_alive = self.state in (State.ALIVE, State.MOVED)
        renews = self.renews_cookie_until and self.store.clock() < self.renews_cookie_until
        sets = is_alive and (self.sets_cookie or renews)
        if (sets or clears) and (handler := self.handler()) is not None:
            cookie = self.store.config.cookie
            if sets:
                value, expires = self.store.signer.sign(self.token), self.cookie_expires()
                handler.set_cookie(cookie.name, value, expires=expires, **cookie.attributes)
            else:
                handler.clear_cookie(cookie.name, **cookie.attributes)
            # A cache that kept this response would hand the visitor's session to others.
            headers["Cache-Control"] = "no-store"
        if self.varies:
            vary = headers.get("Vary", "")
            if not vary:
                headers["Vary"] = "Cookie"
            elif not {"*", "cookie"} & set(vary.lower().replace(" ", "").split(",")):
                headers["Vary"] = f"{vary}, Cookie"

    @cached_property
    def turns(self) -> asyncio.Lock:
        """Held while a block is open: those of several tasks take turns."""
        return asyncio.Lock()

    def fail(self, fault: BaseException) -> NoReturn:
        """Raise `fault`; in a handler without the mixins as the HTTPError that Tornado knows."""
        if not self.is_plain or not isinstance(fault, SessionError):
            raise fault
        if isinstance(fault, StoreUnavailable) and (handler := self.handler()) is not None:
            ask_to_retry(handler, fault.retry_after_s)
        raise HTTPError(fault.status, "%s", fault, reason=fault.reason) from fault
