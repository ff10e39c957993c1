"""What lets a test compare a handler that has the mixins with the same one without.

Each act runs in both. With the mixins, the session keeps nothing, a change, or a message before
it. They must not differ in anything that a client, the log or the handler itself can see.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPError, HTTPRequest, HTTPResponse
from tornado.web import RequestHandler, stream_request_body
from tornado.websocket import WebSocketHandler

from {{cookiecutter.project_slug}}.sessions import (
    NotificationMixin,
    SessionMixin,
)

Act = Callable[[Any], object]
"""What a test lets a handler do: a function or coroutine function that gets the handler."""


async def act(does: Act, handler: Any) -> object:
    """Call a function or a coroutine function."""
    result = does(handler)
    return await result if isinstance(result, Awaitable) else result


def nothing(handler: Any) -> None:
    """The act of a handler that lets Tornado go on."""


if TYPE_CHECKING:
    _Base = RequestHandler
else:
    _Base = object


class Acts(_Base):
    """Does what a test has put here, and notes what runs."""

    keeps: ClassVar[Act] = nothing
    prepares: ClassVar[Act] = nothing
    does: ClassVar[Act] = nothing
    receives: ClassVar[Act] = nothing
    ran: ClassVar[list[str]] = []

    async def prepare(self) -> None:
        await act(lambda _: super(Acts, self).prepare(), self)
        if isinstance(self, SessionMixin):
            Acts.keeps(self)
        await act(Acts.prepares, self)

    async def get(self) -> None:
        self.ran.append("method")
        await act(Acts.does, self)

    head = post = get

    def on_finish(self) -> None:
        self.ran.append("on_finish")


class Upload(Acts):
    def data_received(self, chunk: bytes) -> Any:
        self.ran.append("data_received")
        return Acts.receives(self)


class Socket(Acts):
    get = WebSocketHandler.get

    def open(self, *args: str, **kwargs: str) -> None:
        self.ran.append("open")


class Overrides(Acts):
    """Overrides what Tornado invites to override; each notes that it ran, and reads the session."""

    def _ran(self, name: str) -> None:
        self.ran.append(name)
        if isinstance(self, SessionMixin):
            assert self.session.get("seen") in (None, 1, 2, 3)

    def finish(self, chunk: Any = None) -> Any:
        self._ran("finish")
        if chunk is not None:
            self.write(chunk)
        if not self._finished and self.get_status() == 200:
            self.write(" and a footer")
        return super().finish()

    def flush(self, include_footers: bool = False) -> Any:
        self._ran("flush")
        return super().flush(include_footers)

    def render(self, template_name: str, **kwargs: Any) -> Any:
        self._ran("render")
        return super().render(template_name, **kwargs)

    def redirect(self, *args: Any, **kwargs: Any) -> None:
        self._ran("redirect")
        super().redirect(*args, **kwargs)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        self._ran("write_error")
        super().write_error(status_code, **kwargs)

    def log_exception(self, *args: Any) -> None:
        self._ran("log_exception")
        super().log_exception(*args)

    def get_user_locale(self) -> None:
        self._ran("get_user_locale")

    def get_current_user(self) -> str:
        self._ran("get_current_user")
        return "ada"

    def compute_etag(self) -> Any:
        self._ran("compute_etag")
        return super().compute_etag()

    def on_finish(self) -> None:
        self._ran("on_finish")


class Tornado(Acts, RequestHandler):
    pass


class TornadoOverrides(Overrides, RequestHandler):
    pass


class MixedOverrides(Overrides, SessionMixin, NotificationMixin, RequestHandler):
    pass


class Mixed(Acts, SessionMixin, NotificationMixin, RequestHandler):
    pass


@stream_request_body
class TornadoUpload(Upload, RequestHandler):
    pass


@stream_request_body
class MixedUpload(Upload, SessionMixin, NotificationMixin, RequestHandler):
    pass


class TornadoSocket(Socket, WebSocketHandler):
    pass


class MixedSocket(Socket, SessionMixin, NotificationMixin, WebSocketHandler):
    pass


def late(handler: Any, name: str, *args: Any, **kwargs: Any) -> None:
    """Call a method of the handler after the response was given, and note what it raises."""
    try:
        getattr(handler, name)(*args, **kwargs)
    except Exception as error:
        handler.ran.append(f"{name}: {type(error).__name__}: {error}")
    else:
        handler.ran.append(f"{name}: no exception")


def change(handler: Any) -> None:
    handler.session["seen"] = handler.session.get("seen", 0) + 1


def message(handler: Any) -> None:
    handler.notifications.add("Please log in")


GET: dict[str, Any] = {}
POST: dict[str, Any] = {"method": "POST", "body": "a=1"}
HEAD: dict[str, Any] = {"method": "HEAD"}
"""Requests, as `Comparison.same` takes them."""

ROUTES = [
    ("/tornado", Tornado),
    ("/mixed", Mixed),
    ("/tornado/upload", TornadoUpload),
    ("/mixed/upload", MixedUpload),
    ("/tornado/overrides", TornadoOverrides),
    ("/mixed/overrides", MixedOverrides),
    ("/tornado/socket", TornadoSocket),
    ("/mixed/socket", MixedSocket),
]


class Comparison:
    """Runs an act with and without the mixins."""

    def __init__(
        self, client: AsyncHTTPClient, base_url: str, log: pytest.LogCaptureFixture
    ) -> None:
        self._client, self._url, self._log = client, base_url, log

    async def same(
        self,
        kind: str = "",
        *,
        prepares: Act = nothing,
        does: Act = nothing,
        receives: Act = nothing,
        **request: Any,
    ) -> list[Any]:
        """Return the response and what ran, after checking that they are the same for all."""
        Acts.prepares, Acts.does = staticmethod(prepares), staticmethod(does)
        Acts.receives = staticmethod(receives)
        expected = await self._seen("/tornado" + kind, nothing, request)
        for keeps in (nothing, change, message):
            seen = await self._seen("/mixed" + kind, keeps, request)
            assert seen == expected, f"with {keeps.__name__}:\n{seen}\nwithout mixins:\n{expected}"
        return expected

    async def _seen(self, path: str, keeps: Act, request: dict[str, Any]) -> list[Any]:
        Acts.keeps = staticmethod(keeps)
        Acts.ran.clear()
        self._log.clear()
        sent = HTTPRequest(self._url + path, follow_redirects=False, **request)
        try:
            response = await self._client.fetch(sent, raise_error=False)
        except HTTPError:  # cut short
            response = HTTPResponse(sent, 599)
        await asyncio.sleep(0)
        cookies = [c for c in response.headers.get_list("Set-Cookie") if "sid=" not in c]
        ours = {"Date", "Set-Cookie", "Vary", "Cache-Control", "Server"}
        headers = {k: v for k, v in response.headers.get_all() if k not in ours}
        lines = [
            record.getMessage().partition(" (")[0].replace("/mixed", "/tornado")
            for record in self._log.records
            if record.name != "asyncio" and not record.name.endswith("sessions")
        ]
        body = response.body
        # In order: with something to save, `on_finish` runs later than without.
        return [response.code, body, sorted(Acts.ran), headers, cookies, sorted(lines)]
