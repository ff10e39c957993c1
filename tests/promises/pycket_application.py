"""The pages of application.py on pycket 0.3.0, for pycket_losses.py: written as its documentation
does it.
"""

from __future__ import annotations

import asyncio
import json
import sys

import tornado.web
from pycket.notification import NotificationMixin  # type: ignore[import-not-found]  # elsewhere
from pycket.session import SessionMixin  # type: ignore[import-not-found]  # elsewhere
from tornado.web import HTTPError


class Handler(tornado.web.RequestHandler, SessionMixin, NotificationMixin):  # type: ignore[misc]  # pycket is untyped
    pass


class KeepHandler(Handler):
    def get(self) -> None:
        self.write({name: self.session[name] for name in self.session.keys()})  # noqa: SIM118

    def post(self) -> None:
        for name in self.request.body_arguments:
            self.session[name] = self.get_body_argument(name)


class AppendHandler(Handler):
    def post(self) -> None:
        self.session["items"] = [*self.session.get("items", []), self.get_body_argument("item")]


class NamedHandler(Handler):
    def get(self) -> None:
        value = self.notifications.get(self.get_query_argument("name"))
        if self.get_query_argument("fail", ""):
            raise HTTPError(500)
        self.write({"value": value})

    def post(self) -> None:
        for name in self.request.body_arguments:
            self.notifications.set(name, self.get_body_argument(name))


class FirstHandler(Handler):
    def post(self) -> None:
        self.session["color"] = "green"
        self.notifications.set("named", "for once")
        self.session["size"] = 3


async def main(port: int, pycket: dict[str, object]) -> None:
    application = tornado.web.Application(
        [
            ("/keep", KeepHandler),
            ("/append", AppendHandler),
            ("/named", NamedHandler),
            ("/first", FirstHandler),
        ],
        cookie_secret="only-for-tests-" + "0123456789abcdef" * 2,
        pycket=pycket,
        log_function=lambda handler: None,
    )
    application.listen(port, "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), json.loads(sys.argv[2])))
