"""The pages without any session: the limit that nobody can be faster than."""

from __future__ import annotations

import itertools

import tornado.web
from pages import NAME, ROLE, options, page, serve


class BeginHandler(tornado.web.RequestHandler):
    def get(self) -> None:
        pass


class ReadHandler(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write(page(NAME, ROLE))


class WriteHandler(tornado.web.RequestHandler):
    visits = itertools.count(1)

    def get(self) -> None:
        self.write(page(NAME, ROLE, next(self.visits)))


class FlashHandler(tornado.web.RequestHandler):
    def post(self) -> None:
        self.get_body_argument("text")
        self.redirect("/flash", status=303)

    def get(self) -> None:
        self.write(page(NAME, ROLE, messages=["saved"]))


if __name__ == "__main__":
    serve(
        options()["port"],
        [
            ("/begin", BeginHandler),
            ("/read", ReadHandler),
            ("/write", WriteHandler),
            ("/flash", FlashHandler),
        ],
    )
