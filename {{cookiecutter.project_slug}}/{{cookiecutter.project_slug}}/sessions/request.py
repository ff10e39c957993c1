"""The session of one request: made from its headers, used in a block, told to the browser."""

from __future__ import annotations

import weakref
from abc import abstractmethod
from typing import Any, Final, NoReturn, Self

from tornado.httputil import HTTPHeaders
from tornado.web import Finish, HTTPError, OutputTransform, RequestHandler

from .errors import SessionError
from .session import Client, Session
from .store import Store
from .trips import put_back

CLOSED: Final = (
    "the response has been given: what the session changes now would be lost. Change it before "
    "finish() or redirect(); in a job, inside of `async with session:`, or with session.modify()"
)


class RequestSession(Session):
    """What `SessionManager` consists of, but for Tornado's insides."""

    def __init__(self, handler: RequestHandler, *, has_mixins: bool) -> None:
        """`has_mixins`: whether the handler has the mixins, which load and save the session."""
        headers, address = handler.request.headers, handler.request.remote_ip or ""
        client = Client(address, headers.get("User-Agent", ""), getattr(handler, "request_id", "-"))
        is_safe = handler.request.method in ("GET", "HEAD", "OPTIONS")
        cookies = "; ".join(headers.get_list("Cookie"))
        super().__init__(Store.of(handler.application), cookies, client, drops_if_lost=is_safe)
        # The handler has the session. If the session had the handler too, only the garbage
        # collector could free them.
        self.handler = weakref.ref(handler)
        self.has_mixins = has_mixins
        self.varies = not has_mixins
        """Whether the response depends on the session."""
        self._in_request = True

    @abstractmethod
    def is_answered(self) -> bool:
        """Whether the response has been given."""

    @abstractmethod
    async def wait_until_saved(self) -> None:
        """Return when the handler's own commit is over."""

    async def __aenter__(self) -> Self:
        self._in_request = not self.is_answered()
        try:
            if self.closed:
                await self.wait_until_saved()
                self.closed = ""
                await self.reload(touch=False)
            else:
                await self.load()
        except SessionError as fault:
            self._raise(fault)
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: Any) -> None:
        """Save, unless the block failed in a way that Tornado answers with a 5xx."""
        failed = error is not None and not isinstance(error, Finish)
        try:
            if failed and getattr(error, "status_code", 500) >= 500:
                self.discard()
                await put_back(self)
            elif self._is_plain() and self.is_answered() and self.unsaved():
                raise RuntimeError(
                    "the response has left before the session was saved: call redirect() or "
                    "finish() after the `async with` block, or use SessionMixin"
                )
            else:
                await self.save()
        except SessionError as fault:
            self._raise(fault)
        finally:
            if self._is_plain() or not self._in_request:
                self.closed = CLOSED
        if isinstance(error, SessionError):
            self._raise(error)

    def check_loaded(self) -> None:
        if self.state is None:
            raise RuntimeError(
                "the session is not loaded. In a handler with the mixins, its prepare() must "
                "`await super().prepare()` first; in one without, use "
                "`async with SessionManager(self) as session:`"
            )

    def set_headers(self, headers: HTTPHeaders) -> None:
        """Put into the response's `headers` what the browser and caches must learn."""
        handler, cookie = self.handler(), self.store.config.cookie
        if handler is None:
            return
        if self.sets_cookie:
            value, expires = self.store.signer.sign(self.token), self.cookie_expires()
            handler.set_cookie(cookie.name, value, expires=expires, **cookie.attributes)
        elif self.clears_cookie:
            handler.clear_cookie(cookie.name, **cookie.attributes)
        if self.sets_cookie or self.clears_cookie:
            # A cache that kept this response would hand the visitor's session to others.
            headers["Cache-Control"] = "no-store"
        self.sets_cookie = self.clears_cookie = False
        vary = headers.get("Vary", "")
        if self.varies and vary != "*" and "cookie" not in vary.lower():
            headers["Vary"] = f"{vary}, Cookie" if vary else "Cookie"

    def _is_plain(self) -> bool:
        return self._in_request and not self.has_mixins

    def _raise(self, fault: SessionError) -> NoReturn:
        """Raise `fault`; in a handler without the mixins as the HTTPError that Tornado knows."""
        if self._is_plain():
            raise HTTPError(fault.status, "%s", fault, reason=fault.reason) from fault
        raise fault


class LastHeaders(OutputTransform):
    """Sets headers at the moment the response leaves, so that nothing can undo them."""

    def __init__(self, session: RequestSession) -> None:
        self._session = session

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        self._session.set_headers(headers)
        return status_code, headers, chunk
