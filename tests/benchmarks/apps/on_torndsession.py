"""The pages on torndsession 1.1.5.1, written as its documentation does it."""

from __future__ import annotations

from typing import Any

import memcache
from pages import LARGE, NAME, ROLE, note, options, page, serve
from torndsession.memcachedsession import MemcachedSession
from torndsession.sessionhandler import SessionBaseHandler

OPTIONS = options()


class BeginHandler(SessionBaseHandler):
    def get(self) -> None:
        self.session["name"] = NAME
        self.session["role"] = ROLE
        self.session["visits"] = 0


class BeginLargeHandler(BeginHandler):
    def get(self) -> None:
        super().get()
        for name, value in LARGE.items():
            self.session[name] = value


class ReadHandler(SessionBaseHandler):
    def get(self) -> None:
        self.write(page(self.session.get("name", "visitor"), self.session.get("role", "nobody")))


class WriteHandler(SessionBaseHandler):
    def get(self) -> None:
        # Not session["visits"]: its [] takes a stored 0 for absent.
        visits = self.session.get("visits") + 1
        self.session["visits"] = visits
        self.write(page(self.session["name"], self.session["role"], visits))


class FlashHandler(SessionBaseHandler):
    """It has no notifications; this is how one would write them with it."""

    def post(self) -> None:
        self.session["message"] = self.get_body_argument("text")
        self.redirect("/flash", status=303)

    def get(self) -> None:
        message = self.session.get("message")
        if message is not None:
            self.session.delete("message")
        messages = [] if message is None else [message]
        self.write(page(self.session["name"], self.session["role"], messages=messages))


class LargeHandler(SessionBaseHandler):
    def get(self) -> None:
        self.session["note"] = note()
        self.write(page(self.session["name"], self.session["role"]))


def _memcached_client(session: Any) -> Any:
    settings = dict(session.settings)
    return memcache.Client([f"{settings.pop('host')}:{settings.pop('port')}"], **settings)


# As released it hands python-memcached one string where a list of servers is expected, which makes
# a server of each letter: nothing would be stored. One line mended, so that it can take part.
MemcachedSession._MemcachedSession__create_memcached_client = _memcached_client

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
        session={
            "driver": OPTIONS["engine"],
            "driver_settings": {"host": "127.0.0.1", "port": OPTIONS["store_port"]},
            "session_lifetime": 24 * 60 * 60,  # a day, as the others; its default is 20 minutes
        },
    )
