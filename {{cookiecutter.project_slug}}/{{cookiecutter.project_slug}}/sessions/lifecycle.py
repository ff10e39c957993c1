"""Where a session meets a request: loaded in `prepare`, committed before the response leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from tornado.web import RequestHandler

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
    _failed = False

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
        writing = None if self._committed or self._finished else self._commit()
        if writing is None and self._flushing is None:
            return super().finish(chunk)
        if chunk is not None:
            self.write(chunk)
        # From here on the request is finished for all who ask: after a redirect in prepare() the
        # method must not run, a second finish() and a late write() raise, and an exception is
        # logged and changes nothing.
        self._finished = True
        # A streamed body is read when prepare() is done; here, only once the answer has left, so
        # that a request that was refused receives none of it.
        waiting, self._prepared_future = self._prepared_future, None
        self._committing = self._start(self._commit_and_finish(writing, waiting))
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

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        """As Tornado's; after the first flush it means that the request has failed."""
        self._failed = self._failed or self._headers_written or self._flushing is not None
        super().send_error(status_code, **kwargs)

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
        if self._failed or self.get_status() >= 500:
            return visit.put_back()
        return visit.commit()

    async def _commit_and_finish(
        self, writing: Awaitable[None] | None, waiting: asyncio.Future[None] | None
    ) -> None:
        try:
            if self._flushing is not None:
                await self._flushing
            if writing is not None:
                await writing
            self._committed, self._finished = True, False
            sent = super().finish()
        except Exception as error:
            if not self._committed:  # else it comes from Tornado's finish(), or from on_finish()
                self._committed, self._finished = True, False
            self._handle_request_exception(error)
        else:
            await sent
        finally:
            if waiting is not None and not waiting.done():
                waiting.set_result(None)

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
