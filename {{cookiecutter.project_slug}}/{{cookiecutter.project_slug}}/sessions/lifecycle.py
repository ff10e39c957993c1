"""Where a session meets a request: loaded in `prepare`, committed before the response leaves."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from tornado.web import HTTPError, RequestHandler

from .errors import RETRY_AFTER_S, StoreUnavailable
from .visit import Visit

if TYPE_CHECKING:
    _Base = RequestHandler
else:
    _Base = object


class LifecycleMixin(_Base):
    """Base of both mixins.

    `finish` is overridden, not `on_finish`: the response leaves only after the store has answered,
    so the next request, after a redirect say, sees what this one wrote.
    """

    _visit: Visit | None = None
    _committing: asyncio.Task[None] | None = None
    _flushing: asyncio.Task[None] | None = None
    _committed = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        order = cls.__mro__
        if RequestHandler in order and order.index(RequestHandler) < order.index(LifecycleMixin):
            mixins = [base.__name__ for base in cls.__bases__ if issubclass(base, LifecycleMixin)]
            handlers = [base.__name__ for base in cls.__bases__ if base.__name__ not in mixins]
            raise TypeError(
                f"{cls.__name__}: the mixins must come before the handler, or nothing is ever "
                f"saved. Write: class {cls.__name__}({', '.join(mixins + handlers)})"
            )

    async def prepare(self) -> None:
        """Load the session. A handler's own `prepare` must `await super().prepare()`."""
        prepared = super().prepare()
        if prepared is not None:
            await prepared
        if not self._finished:
            await Visit.of(self).load()

    def finish(self, chunk: str | bytes | dict[str, Any] | None = None) -> asyncio.Future[None]:
        """Commit, then finish as Tornado does.

        2xx to 4xx responses save what the handler changed. 5xx responses drop it, and what was
        taken from the notifications is put back.
        """
        if self._committing is not None and not self._committed:
            if chunk is not None:
                raise RuntimeError("finish() called twice")
            return self._committing  # _execute's own call, after a handler that has finished
        writing = None if self._committed else self._commit()
        if writing is None and self._flushing is None:
            return super().finish(chunk)
        if chunk is not None:
            self.write(chunk)
        self._committing = self._start(self._commit_and_finish(writing))
        return self._committing

    def flush(self, include_footers: bool = False) -> asyncio.Future[None]:
        """Commit before the first bytes of a stream: afterwards no cookie can be set."""
        if include_footers or self._headers_written or self._committed:
            return super().flush(include_footers)
        if self._flushing is None:
            writing = self._commit()
            if writing is None:
                return super().flush()
            self._flushing = self._start(self._commit_and_flush(writing))
        return self._flushing

    def write(self, chunk: str | bytes | dict[str, Any]) -> None:
        """As Tornado's; also refuses while a response waits for the store before it leaves."""
        if self._committing is not None and not self._committed:
            raise RuntimeError("Cannot write() after finish()")
        super().write(chunk)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """As Tornado's; tells the client when to come back if the store did not answer."""
        if isinstance(kwargs.get("exc_info", (None, None))[1], StoreUnavailable):
            self.set_header("Retry-After", str(RETRY_AFTER_S))
        super().write_error(status_code, **kwargs)

    def log_exception(self, typ: Any, value: BaseException | None, tb: Any) -> None:
        """As Tornado's; an outage makes one line a second, not one with each request."""
        if isinstance(value, StoreUnavailable):
            Visit.of(self).store.log_outage(value)
        else:
            super().log_exception(typ, value, tb)

    def _commit(self) -> Awaitable[None] | None:
        visit = self._visit
        if visit is None or not visit.loaded or self.get_status() == 101:
            return None
        if self.get_status() >= 500:
            return visit.put_back()
        return visit.commit()

    async def _commit_and_finish(self, writing: Awaitable[None] | None) -> None:
        try:
            if self._flushing is not None:
                await self._flushing
            if writing is not None:
                await writing
        except Exception as error:
            self._committed = True
            self.log_exception(*sys.exc_info())
            status = error.status_code if isinstance(error, HTTPError) else 500
            self.send_error(status, exc_info=sys.exc_info())
            return
        self._committed = True
        await super().finish()

    async def _commit_and_flush(self, writing: Awaitable[None]) -> None:
        try:
            await writing
        finally:
            self._flushing = None
        await super().flush()

    def _start(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        # Handlers seldom wait for their finish(): what it raised is not to be reported once more.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    def _vary_by_cookie(self) -> None:
        """Tell caches that another visitor's response differs."""
        vary = self._headers.get("Vary", "")
        if "Cookie" not in vary and not self._headers_written:
            self.set_header("Vary", f"{vary}, Cookie" if vary else "Cookie")
