"""The mixins: they load a request's session, and save it before the response leaves.

A handler with the mixins behaves as Tornado documents it, whatever the session has to save.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING, Any, Final

from tornado.httputil import HTTPHeaders
from tornado.iostream import StreamClosedError
from tornado.log import app_log
from tornado.web import RequestHandler

from .errors import SessionError, SessionLost, StoreUnavailable
from .futures import after
from .manager import CLOSED, WEBSOCKET_OPENS, SessionManager, ask_to_retry
from .notification import NotificationManager
from .record import State
from .store import Store

if TYPE_CHECKING:
    _Base = RequestHandler
else:
    _Base = object

_RESPONSE: Final = (
    "_status_code", "_reason", "_headers", "_headers_written", "_write_buffer", "_new_cookie"
)  # fmt: skip
"""Where Tornado keeps a response that has not left yet."""

_Task = asyncio.Task[None]
_Save = Callable[[], Coroutine[Any, Any, None]]

log = logging.getLogger(__package__)


class _Lifecycle(_Base):
    """Base of both mixins: loads in `prepare`, saves before the response leaves."""

    _failed = _answers_error = False
    _session_manager: SessionManager | None = None
    _held: dict[str, Any] | None = None
    """The response that waits for the store, as it was when the handler gave it."""
    _waiting: _Task | None = None
    _leaves: asyncio.Future[None] | None = None
    """Set when a response that was held is handed to Tornado."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        order = cls.__mro__
        if RequestHandler in order and order.index(RequestHandler) < order.index(_Lifecycle):
            bases = sorted(cls.__bases__, key=lambda base: not issubclass(base, _Lifecycle))
            raise TypeError(
                f"{cls.__name__}: the mixins must come before the handler, or nothing is saved. "
                f"Write: class {cls.__name__}({', '.join(base.__name__ for base in bases)})"
            )

    async def prepare(self) -> None:
        """Load the session. A handler's own `prepare` must `await super().prepare()`."""
        prepared = super().prepare()
        if prepared is not None:
            await prepared
        if not self._finished:
            await SessionManager(self).load()
            if self._prepared_future is not None:
                self._guard_body()

    def finish(self, chunk: str | bytes | dict[str, Any] | None = None) -> asyncio.Future[None]:
        """Save, then finish as Tornado does.

        2xx to 4xx responses save what the handler changed. A response that has failed (5xx, or an
        exception after the first flush) drops it, and puts back the notifications it took.
        """
        has_content = chunk is not None or bool(self._write_buffer)
        if self._finished or (has_content and self._should_not_send_content(self._status_code)):
            return super().finish(chunk)  # which raises
        flushing = self._waiting if self._held is not None else None
        save = self._save_method() if flushing is None else None
        session = self._session()
        if session is not None and session.block is None and self._status_code != WEBSOCKET_OPENS:
            session.closed = CLOSED  # the end of a block does, where one is open
        if save is None and flushing is None:
            return super().finish(chunk)
        if chunk is not None:
            self.write(chunk)
        if flushing is None:
            self._hold()
        # From here on the request is finished for all who ask: after a redirect in prepare() the
        # method must not run, a second finish() and a late write() raise, and an exception is
        # logged and changes nothing.
        self._finished = True
        self._end_body()
        return self._start(self._save_and_finish(save, flushing))

    def flush(self, include_footers: bool = False) -> asyncio.Future[None]:
        """Save before the first bytes of a stream leave: afterwards no cookie can be set."""
        if self._held is not None and self._waiting is not None:
            return after(self._waiting)
        if self._headers_written:
            return super().flush(include_footers)
        save = None if include_footers else self._save_method()
        if save is None:
            return super().flush(include_footers)
        self._hold()
        return self._start(self._save_and_flush(save))

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        """As Tornado's; knows the status of this package's exceptions."""
        error = kwargs.get("exc_info", (None, None))[1]
        if isinstance(error, SessionError):
            status_code, kwargs["reason"] = error.status, error.reason
        self._answers_error = True
        if self._headers_written and not self._finished:
            self._failed = True  # Tornado can only cut the response short
        if isinstance(error, StoreUnavailable):
            ask_to_retry(self, error)
        super().send_error(status_code, **kwargs)

    def _handle_request_exception(self, error: BaseException) -> None:
        self._answers_error = True
        try:
            if not self._finished and (session := self._session()) is not None:
                session.unsaved()
        except TypeError as fault:  # a value that cannot be kept: a 500, not the 404 it came with
            self._failed = True
            super()._handle_request_exception(fault)
        else:
            super()._handle_request_exception(error)

    def log_exception(self, typ: Any, value: BaseException | None, tb: Any) -> None:
        """As Tornado's; an outage makes one line a second, not a traceback with each request."""
        if isinstance(value, StoreUnavailable):
            Store.of(self.application).log_outage(value)
        elif isinstance(value, SessionLost):
            log.info("%s: %s", self._request_summary(), value)
        else:
            super().log_exception(typ, value, tb)

    def on_connection_close(self) -> None:
        """As Tornado's; saves what a WebSocket has changed last."""
        super().on_connection_close()
        session = self._session()
        if session is not None and self._status_code == WEBSOCKET_OPENS:
            self._start(_save_at_close(session))

    def _session(self) -> SessionManager | None:
        """Return the session of this request, if one was asked for and loaded."""
        session = self._session_manager
        return session if session is not None and session.state is not None else None

    def _session_for_use(self) -> SessionManager:
        session = self._session_manager
        if session is None:  # an empty one is false
            session = SessionManager(self)
        session.varies = True
        if session.state is None and (self._finished or self._answers_error):
            # Error pages and logs of a request that never had its session find nobody's, empty.
            session.state, session.closed = State.NEW, "the session of this request was not loaded"
        session.check_loaded()
        return session

    def _save_method(self) -> _Save | None:
        """Return what must be awaited before the response may leave; None: nothing."""
        session = self._session()
        if session is None:
            return None
        if self._failed or self._status_code >= 500:
            session.discard()
            return session.put_back if session.taken else None
        if self._status_code != WEBSOCKET_OPENS:
            # A save that is under way may not know yet what was deleted since.
            saves = session.unsaved() or session.use_is_due() or session.saving.locked()
            return session.save if saves else None
        if session.unsaved():
            raise RuntimeError(
                "a WebSocket cannot wait for its session to be saved when it opens: "
                "`await self.session.save()` in prepare()"
            )
        return None

    def _hold(self) -> None:
        """Put the response aside: what the handler does to it from here on has no effect."""
        self._held = {name: getattr(self, name, None) for name in _RESPONSE}
        self._headers, self._headers_written = HTTPHeaders(), True
        self._new_cookie = SimpleCookie()

    def _release(self) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            for name, value in held.items():
                setattr(self, name, value)
            if held["_new_cookie"] is None:
                del self._new_cookie

    def _guard_body(self) -> None:
        """Let an exception in data_received() that comes after a response leave it as it is: Tornado
        closes the connection, on which the response may be yet to come.
        """
        received = self.data_received

        async def guarded(chunk: bytes) -> None:
            try:
                if (result := received(chunk)) is not None:
                    await result
            except Exception:
                if self._held is None:
                    raise
                app_log.error("Uncaught exception", exc_info=True)

        self.data_received = guarded  # type: ignore[method-assign]

    def _end_body(self) -> None:
        """Drop the rest of a streamed body, as Tornado does after a response: the handler receives
        no more of it, and its method does not run.
        """
        prepared, self._prepared_future = self._prepared_future, None
        if prepared is None or prepared.done():
            leaves = self._leaves = asyncio.Future()
        else:  # the connection waits for this one by itself
            leaves = self._leaves = prepared
        if prepared is None:
            return
        self.data_received = lambda chunk: leaves
        arrived, self.request._body_future = self.request._body_future, asyncio.Future()
        if not arrived.done():
            arrived.set_exception(StreamClosedError())
            arrived.exception()  # nobody may be waiting for it

    async def _save_and_finish(self, save: _Save | None, flushing: _Task | None) -> None:
        given, sent, leaves = False, None, self._leaves
        try:
            if flushing is not None:
                await flushing
                save = self._save_method()
            if save is not None:
                await save()
            self._release()
            self._finished, given = False, True
            sent = super().finish()
        except Exception as error:
            if not given:
                self._release()
                self._finished, self._failed = False, True
                if (session := self._session()) is not None:
                    session.closed = ""  # an error page may use it, and changes nothing
            self._handle_request_exception(error)
        finally:
            if leaves is not None and not leaves.done():
                leaves.set_result(None)
        if sent is not None:
            await sent

    async def _save_and_flush(self, save: _Save) -> None:
        try:
            await save()
        finally:
            self._release()
        await super().flush()

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Future[None]:
        self._waiting = asyncio.create_task(work)
        return after(self._waiting)


class SessionMixin(_Lifecycle):
    """Gives a handler `self.session`. Write it before the handler class in the bases."""

    @property
    def session(self) -> SessionManager:
        """This visitor's session, as a dictionary."""
        return self._session_for_use()


class NotificationMixin(_Lifecycle):
    """Gives a handler `self.notifications`. Write it before the handler class in the bases."""

    @property
    def notifications(self) -> NotificationManager:
        """What this visitor is to be told once."""
        self._session_for_use()
        return NotificationManager(self)


async def _save_at_close(session: SessionManager) -> None:
    try:
        if session.unsaved():
            await session.save()
    except Exception:
        log.exception("what a WebSocket changed before it closed was not saved")
