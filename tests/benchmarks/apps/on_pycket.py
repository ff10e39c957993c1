"""The pages on pycket 0.3.0, written as its documentation does it."""

from __future__ import annotations

from typing import ClassVar

import tornado.web
from pages import LARGE, NAME, ROLE, note, options, page, serve
from pycket.notification import NotificationMixin
from pycket.session import SessionMixin

OPTIONS = options()


class Handler(tornado.web.RequestHandler, SessionMixin, NotificationMixin):
    pass


class BeginHandler(Handler):
    more: ClassVar[dict[str, str]] = {}

    def get(self) -> None:
        # The id exists from the first `set` on, but the cookie reaches only the next request: a
        # second `set` here would mint a second id and lose what the first has stored.
        user = {"name": NAME, "role": ROLE, "visits": 0, **self.more}
        manager = self.session
        session_id = manager._SessionManager__create_session_id()
        manager.driver.set(session_id, user)


class BeginLargeHandler(BeginHandler):
    more = LARGE


class ReadHandler(Handler):
    def get(self) -> None:
        self.write(page(self.session.get("name", "visitor"), self.session.get("role", "nobody")))


class WriteHandler(Handler):
    def get(self) -> None:
        visits = self.session["visits"] + 1
        self.session["visits"] = visits
        self.write(page(self.session["name"], self.session["role"], visits))


class FlashHandler(Handler):
    def post(self) -> None:
        self.notifications.set("message", self.get_body_argument("text"))
        self.redirect("/flash", status=303)

    def get(self) -> None:
        message = self.notifications.get("message")
        messages = [] if message is None else [message]
        self.write(page(self.session["name"], self.session["role"], messages=messages))


class LargeHandler(Handler):
    def get(self) -> None:
        self.session["note"] = note()
        self.write(page(self.session["name"], self.session["role"]))


STORAGE = {
    # max_connections does not help: the pool it sizes is made anew for each request.
    "redis": {"host": "127.0.0.1", "port": OPTIONS["store_port"]},
    "memcached": {"servers": (f"127.0.0.1:{OPTIONS['store_port']}",)},
}

if __name__ == "__main__":
    serve(
        OPTIONS["port"],
        [
            ("/begin", BeginHandler),
            ("/begin-large", BeginLargeHandler),
            ("/read", ReadHandler),
            ("/write", WriteHandler),
            ("/flash", FlashHandler),
            ("/large", LargeHandler),
        ],
        pycket={"engine": OPTIONS["engine"], "storage": STORAGE[OPTIONS["engine"]]},
    )
