"""A streamed body (`@stream_request_body`) of a request that has been answered before it arrived.

Relies on Tornado's insides, as handler.py does.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tornado.iostream import StreamClosedError
from tornado.log import app_log
from tornado.web import RequestHandler

if TYPE_CHECKING:
    from .manager import SessionManager


def guard_body(handler: RequestHandler, session: SessionManager) -> None:
    """Let an exception in data_received() that comes after a response leave it as it is: Tornado
    closes the connection, on which the response may be yet to come.
    """
    received = handler.data_received

    async def guarded(chunk: bytes) -> None:
        try:
            if (result := received(chunk)) is not None:
                await result
        except Exception:
            if session.held is None:
                raise
            app_log.error("Uncaught exception", exc_info=True)

    handler.data_received = guarded  # type: ignore[method-assign]


def end_body(handler: RequestHandler) -> asyncio.Future[None]:
    """Drop the rest of the body, as Tornado does after a response: the handler receives no more of
    it, and its method does not run.

    Returns the future that the connection waits for, to be set when the response leaves.
    """
    prepared, handler._prepared_future = handler._prepared_future, None
    # One that is pending, the connection waits for by itself.
    leaves = asyncio.Future[None]() if prepared is None or prepared.done() else prepared
    if prepared is not None:
        handler.data_received = lambda chunk: leaves
        arrived, handler.request._body_future = handler.request._body_future, asyncio.Future()
        if not arrived.done():
            arrived.set_exception(StreamClosedError())
            arrived.exception()  # nobody may be waiting for it
    return leaves
