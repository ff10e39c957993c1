"""The pages on the sessions of a baked project."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import tornado.web
from pages import LARGE, NAME, ROLE, note, options, page, serve

OPTIONS = options()
sys.path.insert(0, OPTIONS["project"])
sessions: Any = importlib.import_module(f"{OPTIONS['package']}.sessions")


class Handler(sessions.SessionMixin, sessions.NotificationMixin, tornado.web.RequestHandler):
    pass


class BeginHandler(Handler):
    def get(self) -> None:
        self.session["name"] = NAME
        self.session["role"] = ROLE
        self.session["visits"] = 0


class BeginLargeHandler(BeginHandler):
    def get(self) -> None:
        super().get()
        for name, value in LARGE.items():
            self.session[name] = value


class ReadHandler(Handler):
    def get(self) -> None:
        self.write(page(self.session.get("name", "visitor"), self.session.get("role", "nobody")))


class WriteHandler(Handler):
    def get(self) -> None:
        self.session["visits"] += 1
        self.write(page(self.session["name"], self.session["role"], self.session["visits"]))


class FlashHandler(Handler):
    def post(self) -> None:
        self.notifications.add(self.get_body_argument("text"))
        self.redirect("/flash", status=303)

    async def get(self) -> None:
        messages = [message.value for message in await self.notifications.take()]
        self.write(page(self.session["name"], self.session["role"], messages=messages))


class LargeHandler(Handler):
    def get(self) -> None:
        self.session["note"] = note()
        self.write(page(self.session["name"], self.session["role"]))


STORAGE = {
    "redis": {"host": "127.0.0.1", "port": OPTIONS["store_port"]},
    "memcached": {"servers": [f"127.0.0.1:{OPTIONS['store_port']}"]},
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
        pycket={
            "engine": OPTIONS["engine"],
            "storage": STORAGE[OPTIONS["engine"]],
            "key_prefix": "bench",
        },
    )
