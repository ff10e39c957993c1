"""The mixins: they load a request's session, and save it before the response leaves.

A handler with the mixins behaves as Tornado documents it, whatever the session has to save.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from tornado.concurrent import future_add_done_callback
from tornado.iostream import IOStream, StreamClosedError
from tornado.web import RequestHandler
from tornado.websocket import WebSocketHandler

from .block import CLOSED, RESPONSE_FAILED, block_around
from .errors import SessionError, SessionLost, StoreUnavailable
from .handler import (
    WEBSOCKET_OPENS,
    HandlerBase,
    ask_to_retry,
    end_body,
    fail,
    guard_body,
    hand_on,
    headers_written,
    hold,
    is_finished,
    receives_body,
    refuses,
    release,
    set_finished,
    waiter,
)
from .manager import SessionManager
from .notification import NotificationManager
from .record import State
from .store import Store, log
from .trips import put_back

_Save = Callable[[], Coroutine[Any, Any, None]]


class _Lifecycle(HandlerBase):
    """Base of both mixins: loads in `prepare`, saves before the response leaves."""

    # Two underscores: handlers have attributes of their own that are called _session or _start.
    __failed = __answers_error = False
    __waiting: asyncio.Task[None] | None = None
    _session_manager_of_request: SessionManager | None = None

    async def prepare(self) -> None:
        """Load the session. A handler's own `prepare` must `await super().prepare()`."""
        if (prepared := super().prepare()) is not None:
            await prepared
        if not is_finished(self):
            session = SessionManager(self)
            await session.load()
            guard_body(self, session)
            if isinstance(self, WebSocketHandler) and session.use_is_due():
                await session.save()  # the handshake cannot wait for the store

    def finish(self, chunk: str | bytes | dict[str, Any] | None = None) -> asyncio.Future[None]:
        """Save, then finish as Tornado does.

        2xx to 4xx responses save what the handler changed. A response that has failed (5xx, or an
        exception after the first flush) drops it, and puts back the notifications it took.
        """
        session = self.__session()
        if session is None or refuses(self, chunk):
            return super().finish(chunk)
        if chunk is not None and getattr(super().finish, "__func__", None) is RequestHandler.finish:
            self.write(chunk)
            chunk = None
        elif chunk is not None:  # a base class overrides finish(), and wants to see it later
            chunk = copy.deepcopy(chunk)
        session.note_taken(block_around(session))
        flushing = self.__waiting if session.held is not None else None
        save = self.__save_method(session)
        if session.block is None and self.get_status() != WEBSOCKET_OPENS:
            session.close(CLOSED)  # if a block is open, its end closes the session
        if save is None and flushing is None:
            left = super().finish(chunk)
            session.note_sent()
            return left
        session.held = session.held or hold(self)
        set_finished(self, True)
        sent: asyncio.Future[None] = asyncio.Future()
        work = self.__save_and_finish(session, save, flushing, sent, chunk)
        session.leaves = self.__waiting = asyncio.create_task(work)
        end_body(self, session.leaves)
        return sent

    def flush(self, include_footers: bool = False) -> asyncio.Future[None]:
        """Save before the first bytes of a stream leave: afterwards no cookie can be set."""
        session = None if include_footers else self.__session()
        if session is None:
            return super().flush(include_footers)
        if session.held is not None and self.__waiting is not None:
            return waiter(self.__waiting)
        session.note_taken(block_around(session))
        save = None if headers_written(self) else self.__save_method(session)
        if save is None:
            flushed = super().flush()
            if flushed is None:  # an override need not return it
                session.shown = len(session.taken)
            elif shown := len(session.taken):
                future_add_done_callback(flushed, partial(session.note_shown, shown))
            return flushed
        session.held = hold(self)
        self.__waiting = asyncio.create_task(self.__save_and_flush(session, save))
        return waiter(self.__waiting)

    def check_etag_header(self) -> bool:
        """As Tornado's, but for a page that took messages: what the client has of it is not it."""
        session = self.__session()
        return not (session is not None and session.taken) and super().check_etag_header()

    def detach(self) -> IOStream:
        """As Tornado's. Raises `RuntimeError` if something would not be saved any more."""
        session = self.__session()
        if session is not None and self.get_status() != WEBSOCKET_OPENS:
            if session.unsaved() or session.held is not None:
                raise RuntimeError(
                    "nothing is saved or sent after detach(): `await self.session.save()`, or "
                    "`await self.flush()`, before it"
                )
            session.closed = CLOSED
        return super().detach()

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        """As Tornado's; knows the status of this package's exceptions."""
        error = kwargs.get("exc_info", (None, None))[1]
        if isinstance(error, SessionError):
            status_code, kwargs["reason"] = error.status, error.reason
        self.__answers_error = True
        if headers_written(self) and not is_finished(self):
            self.__failed = True  # Tornado can only cut the response short
        if isinstance(error, StoreUnavailable):
            ask_to_retry(self, error.retry_after_s)
        try:
            super().send_error(status_code, **kwargs)
        except TypeError:  # the page has stored a value that cannot be kept: the log says which
            if self.__failed or is_finished(self):
                raise
            self.__failed = True
            super().send_error(500)

    def _session_manager_fault(self, error: BaseException) -> BaseException:
        self.__answers_error = True
        try:
            if not is_finished(self) and (session := self.__session()) is not None:
                if session.closed is CLOSED:
                    session.closed = ""  # finish() has failed: the error page may use it
                session.unsaved()
        except TypeError as fault:  # a value that cannot be kept: a 500, not the 404 it came with
            self.__failed = True
            return fault
        return error

    def log_exception(self, typ: Any, value: BaseException | None, tb: Any) -> None:
        """As Tornado's; an outage makes one line a second, not a traceback with each request."""
        if isinstance(value, StoreUnavailable):
            Store.of(self.application).log_outage(value)
        elif isinstance(value, SessionLost):
            log.info("%s %s: %s", self.request.method, self.request.uri, value)
        else:
            super().log_exception(typ, value, tb)

    def on_connection_close(self) -> None:
        """As Tornado's; saves what a WebSocket has changed last."""
        super().on_connection_close()
        session = self.__session()
        if session is None:
            return
        if self.get_status() == WEBSOCKET_OPENS:
            if session.block is None:  # its end would save
                session.leaves = self.__waiting = asyncio.create_task(session.save_last())
                session.closed = CLOSED
        elif receives_body(self) and session.held is None and not is_finished(self):
            # Nothing answers any more.
            session.leaves = asyncio.create_task(put_back(session, session.taken[session.shown :]))

    def __session(self) -> SessionManager | None:
        """Return the session of this request, if one was asked for and loaded."""
        session = self._session_manager_of_request
        return session if session is not None and session.state is not None else None

    def _session_manager_in_use(self) -> SessionManager:
        session = self._session_manager_of_request
        if session is None or session.state is None:
            session = SessionManager(self)
            if not is_finished(self) and not self.__answers_error:
                session.check_loaded()
            # Error pages and logs of a request that never had its session find nobody's, empty.
            session.state, session.closed = State.NEW, "the session of this request was not loaded"
        session.varies = True
        return session

    def __save_method(self, session: SessionManager) -> _Save | None:
        """Return what must be awaited before the response may leave; None: nothing."""
        status = self.get_status()
        if status == WEBSOCKET_OPENS:
            if session.unsaved():
                raise RuntimeError(
                    "a WebSocket cannot wait for its session to be saved when it opens: "
                    "`await self.session.save()` in prepare()"
                )
            return None
        save: _Save = session.save_in_task
        if self.__failed or status >= 500:
            session.discard()
            if session.block is not None:
                session.block.drop(RESPONSE_FAILED if block_around(session) is None else "")
            unseen = session.unseen(failed=True)
            is_due, save = bool(unseen), partial(put_back, session, unseen)
        else:
            is_due = session.unsaved() or session.use_is_due() or bool(session.unseen())
        # A save that is under way may not know yet what was deleted or taken since.
        return save if is_due or session.is_saving() else None

    async def __save_and_finish(
        self,
        session: SessionManager,
        save: _Save | None,
        flushing: asyncio.Task[None] | None,
        sent: asyncio.Future[None],
        chunk: str | bytes | dict[str, Any] | None,
    ) -> None:
        try:
            try:
                if flushing is not None:
                    with contextlib.suppress(StreamClosedError):
                        await flushing
                    save = self.__save_method(session)
                if save is not None:
                    await save()
                if unseen := session.unseen():
                    await put_back(session, unseen)
            finally:
                release(self, session.held)
                session.held = None
                set_finished(self, False)
            left = super().finish(chunk)
            session.note_sent()
            if left is None:  # an override need not return it
                sent.set_result(None)
            else:
                future_add_done_callback(left, partial(hand_on, sent))
        except Exception as error:
            self.__failed = True
            fail(self, error)
            if not sent.done():
                sent.set_result(None)

    async def __save_and_flush(self, session: SessionManager, save: _Save) -> None:
        shown = len(session.taken)
        try:
            await save()
        finally:
            release(self, session.held)
            session.held = None
        if (flushed := super().flush()) is not None:
            await flushed
        session.shown = shown


class SessionMixin(_Lifecycle):
    """Gives a handler `self.session`. Write it before the handler class in the bases."""

    @property
    def session(self) -> SessionManager:
        """This visitor's session, as a dictionary."""
        return self._session_manager_in_use()


class NotificationMixin(_Lifecycle):
    """Gives a handler `self.notifications`. Write it before the handler class in the bases."""

    @property
    def notifications(self) -> NotificationManager:
        """What this visitor is to be told once."""
        self._session_manager_in_use()
        return NotificationManager(self)
