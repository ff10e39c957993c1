"""The generated app with pages for the tests: `python application.py --port=8888`.

Started as a process by processes.py. Everything else is the app's own: its settings, its base
handler, its error pages, its shutdown.
"""

from __future__ import annotations

from promised.handlers import ROUTES
from promised.handlers.base import BaseHandler
from promised.handlers.plain import PlainHandler
from tornado.web import HTTPError


class KeepHandler(BaseHandler):
    """Sets names of the session; answers with what it holds."""

    def get(self) -> None:
        self.write(dict(self.session))

    def post(self) -> None:
        for name in self.request.body_arguments:
            self.session[name] = self.get_body_argument(name)


class DropHandler(BaseHandler):
    def post(self) -> None:
        self.session.delete(*self.get_body_arguments("name"))


class AppendHandler(BaseHandler):
    async def post(self) -> None:
        item = self.get_body_argument("item")
        await self.session.modify("items", lambda items: [*items, item], default=[])


class NoticeHandler(BaseHandler):
    """Messages: post some, get each once. `fail` answers 500 after having taken them."""

    async def get(self) -> None:
        messages = await self.notifications.take()
        if self.get_query_argument("fail", ""):
            raise HTTPError(500)
        self.write({"messages": [message.value for message in messages]})

    def post(self) -> None:
        for text in self.get_body_arguments("text"):
            self.notifications.add(text)


class NamedHandler(BaseHandler):
    """Named notifications: post some, get the one asked for, once."""

    async def get(self) -> None:
        value = await self.notifications.get(self.get_query_argument("name"))
        if self.get_query_argument("fail", ""):
            raise HTTPError(500)
        self.write({"value": value})

    def post(self) -> None:
        for name in self.request.body_arguments:
            self.notifications.set(name, self.get_body_argument(name))


class FirstHandler(BaseHandler):
    """Sets everything at once, as a visitor's first request may."""

    async def post(self) -> None:
        self.session["color"] = "green"
        self.notifications.set("named", "for once")
        self.notifications.add("queued")
        self.session["size"] = 3
        await self.session.modify("items", lambda items: [*items, 1], default=[])


class PlainPage(PlainHandler):
    """A page that uses no session."""

    def get(self) -> None:
        self.write("plain")


PAGES = [
    (r"/keep", KeepHandler),
    (r"/drop", DropHandler),
    (r"/append", AppendHandler),
    (r"/notice", NoticeHandler),
    (r"/named", NamedHandler),
    (r"/first", FirstHandler),
    (r"/plain", PlainPage),
]

if __name__ == "__main__":
    from promised.__main__ import main

    ROUTES[:0] = PAGES
    main()
