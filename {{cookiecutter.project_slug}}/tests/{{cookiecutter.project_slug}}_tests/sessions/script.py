"""A handler that does what a test has put into it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from tornado.web import RequestHandler

from {{cookiecutter.project_slug}}.sessions import NotificationMixin, SessionMixin

from ..browser import Browser, Page

Act = Callable[[Any], object]


class Script(SessionMixin, NotificationMixin, RequestHandler):
    """Answers with what the act returns, unless the act has answered."""

    does: ClassVar[Act]

    async def get(self) -> None:
        result = type(self).does(self)
        if isinstance(result, Awaitable):
            result = await result
        if not self._finished:
            self.write({"result": result})

    post = get


class Plain(RequestHandler):
    """The same without the mixins."""

    does: ClassVar[Act]
    get = post = Script.get


async def do(browser: Browser, act: Act, *, method: str = "GET", **headers: str) -> Page:
    """Let one request of the browser do `act`."""
    return await _send(browser, Script, "/", act, method, headers)


async def do_plainly(browser: Browser, act: Act, *, method: str = "GET") -> Page:
    """The same in a handler without the mixins."""
    return await _send(browser, Plain, "/plain", act, method, {})


async def _send(
    browser: Browser, handler: Any, path: str, act: Act, method: str, headers: dict[str, str]
) -> Page:
    handler.does = staticmethod(act)
    send = browser.get if method == "GET" else browser.post
    page: Page = await send(path, follow=False, headers=headers)
    return page


def begin(handler: Any) -> None:
    """Store something, so that there is a session."""
    handler.session["name"] = "ada"


def show(handler: Any) -> object:
    """Answer with what the session holds."""
    return dict(handler.session)


ROUTES: list[tuple[str, Any]] = [("/", Script), ("/plain", Plain)]
