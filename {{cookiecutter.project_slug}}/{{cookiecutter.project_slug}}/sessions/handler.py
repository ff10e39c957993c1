"""Where the mixins meet Tornado: the order of the bases, and everything that depends on Tornado's
private names. No other file uses these.

A new major version of Tornado may change them, so there is an upper bound on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from tornado.httputil import HTTPHeaders
from tornado.iostream import StreamClosedError
from tornado.log import app_log
from tornado.web import OutputTransform, RequestHandler

if TYPE_CHECKING:
    from .manager import SessionManager

    _Base = RequestHandler
else:
    _Base = object

WEBSOCKET_OPENS: Final = 101
"""The status of a response that is given while the handler goes on."""

NOT_MODIFIED: Final = 304

Held = tuple[Any, ...]
"""A response that waits for the store, as it was when the handler gave it."""


_HOOKS: Final = {"prepare", "finish", "flush", "detach", "send_error", "on_connection_close"}
"""Methods that the mixins override. A Tornado class that defines one must come after the mixins."""


class HandlerBase(_Base):
    """Base of the mixins."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        before = cls.__mro__[: cls.__mro__.index(HandlerBase)]
        tornados = [base for base in before if base.__module__.partition(".")[0] == "tornado"]
        if any(base is RequestHandler or _HOOKS & base.__dict__.keys() for base in tornados):
            bases = sorted(cls.__bases__, key=lambda base: not issubclass(base, HandlerBase))
            raise TypeError(
                f"{cls.__name__}: the mixins must come before the handler, or nothing is saved. "
                f"Write: class {cls.__name__}({', '.join(base.__name__ for base in bases)})"
            )

    def _session_manager_fault(self, error: BaseException) -> BaseException:
        """Return the exception to answer and log in place of `error`."""
        return error

    def _handle_request_exception(self, error: BaseException) -> None:
        try:
            raise self._session_manager_fault(error)  # Tornado logs the exception that is handled
        except BaseException as fault:
            super()._handle_request_exception(fault)
        finally:
            del error  # its traceback has this frame: only the garbage collector could free both


def is_finished(handler: RequestHandler) -> bool:
    """Return whether the response has been given; True for an open WebSocket, too."""
    return handler._finished


def is_over(handler: RequestHandler | None) -> bool:
    """Return whether the response has been given and nothing follows; False for an open WebSocket."""
    return handler is None or (
        handler._finished
        and (handler.get_status() != WEBSOCKET_OPENS or not getattr(handler, "ws_connection", None))
    )


def has_gone(handler: RequestHandler) -> bool:
    """Return whether the client has closed the connection."""
    stream = getattr(handler.request.connection, "stream", None)
    return stream is not None and bool(stream.closed())


def refuses(handler: RequestHandler, chunk: object) -> bool:
    """Return whether `finish(chunk)` would raise."""
    has_content = chunk is not None or bool(handler._write_buffer)
    return handler._finished or (
        has_content and handler._should_not_send_content(handler._status_code)
    )


def fail(handler: RequestHandler, error: Exception) -> None:
    """Answer the way Tornado does when a handler raises `error`."""
    handler._handle_request_exception(error)


# --- A response that waits


def set_finished(handler: RequestHandler, finished: bool) -> None:
    """Set the flag that Tornado checks: after a redirect in prepare() the method must not run, a
    second finish() and a late write() raise, and an exception is logged and changes nothing.
    """
    handler._finished = finished


def hold(handler: RequestHandler) -> Held:
    """Put the response aside, so that the handler cannot change it any more."""
    cookies = getattr(handler, "_new_cookie", None)
    if cookies is not None:
        del handler._new_cookie
    body, written = handler._write_buffer, handler._headers_written
    held = handler._status_code, handler._reason, handler._headers, cookies, body, written
    handler._headers, handler._headers_written = HTTPHeaders(), True
    return held


def release(handler: RequestHandler, held: Held | None) -> None:
    """Take back what the handler has changed since `hold`."""
    if held is None:
        return
    handler._status_code, handler._reason, handler._headers, cookies, body, written = held
    handler._write_buffer, handler._headers_written = body, written
    if hasattr(handler, "_new_cookie"):
        del handler._new_cookie
    if cookies is not None:
        handler._new_cookie = cookies


def headers_written(handler: RequestHandler) -> bool:
    return handler._headers_written


def when_it_leaves(handler: RequestHandler, set_headers: Callable[[HTTPHeaders], object]) -> None:
    """Call `set_headers` at the moment the response leaves, so that nothing can undo it."""
    # Tornado sets the list before prepare(); a handler that a test makes by hand has none.
    getattr(handler, "_transforms", []).append(_LastHeaders(set_headers))


def ask_to_retry(handler: RequestHandler, after_s: int) -> None:
    """Let the response tell the client when to come back, whatever its error page does."""
    when_it_leaves(handler, lambda sent: sent.setdefault("Retry-After", str(after_s)))


class _LastHeaders(OutputTransform):
    def __init__(self, set_headers: Callable[[HTTPHeaders], object]) -> None:
        self._set_headers = set_headers

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        self._set_headers(headers)
        return status_code, headers, chunk


def waiter(task: asyncio.Task[None]) -> asyncio.Future[None]:
    """Return a future that a handler may wait for and cancel without cancelling the task."""
    waiter: asyncio.Future[None] = asyncio.Future()
    task.add_done_callback(partial(hand_on, waiter))
    return waiter


def hand_on(waiter: asyncio.Future[None], done: asyncio.Future[None]) -> None:
    """Let `waiter` end as `done` has."""
    if waiter.done():
        return
    error = None if done.cancelled() else done.exception()
    if error is None:
        waiter.set_result(None)
    else:
        waiter.set_exception(error)
        waiter.exception()  # most handlers never wait: do not report it once more


# --- The body of a request that is streamed (`@stream_request_body`), and answered before it arrived


def guard_body(handler: RequestHandler, session: SessionManager) -> None:
    """Log exceptions that data_received() raises while the response is held. Tornado would close
    the connection before the response is sent.
    """
    if handler._prepared_future is None:
        return
    received = handler.data_received

    async def guarded(chunk: bytes) -> None:
        try:
            if (result := received(chunk)) is not None:
                await result
        except Exception:
            if session.held is None or not handler._finished:
                raise
            app_log.error("Uncaught exception", exc_info=True)

    handler.data_received = guarded


def receives_body(handler: RequestHandler) -> bool:
    """Return whether the body is streamed: its handler ends in silence if the client leaves."""
    return handler._prepared_future is not None


def end_body(handler: RequestHandler, leaves: asyncio.Future[None]) -> None:
    """Drop the rest of the body, as Tornado does after a response: the handler receives no more of
    it, and its method does not run. The connection waits until the response `leaves`.
    """
    prepared, handler._prepared_future = handler._prepared_future, None
    if prepared is None:
        return
    if not prepared.done():  # the connection waits for it by itself
        leaves.add_done_callback(lambda _: prepared.set_result(None))
    handler.data_received = lambda chunk: asyncio.shield(leaves)
    arrived, handler.request._body_future = handler.request._body_future, asyncio.Future()
    if not arrived.done():
        arrived.set_exception(StreamClosedError())
        arrived.exception()  # nobody may be waiting for it
