"""An application that several event loops serve in turn, one page each.

    python looping_application.py <settings["pycket"] as JSON> <loops> close|leave

Prints what each page says. `leave` leaves connections open when a loop is closed, as test cases
with an application of their module do.
"""

from __future__ import annotations

import asyncio
import json
import sys

from promised.sessions import NotificationMixin, SessionMixin, Store
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

COOKIE_SECRET = "only-for-tests-" + "0123456789abcdef" * 2


class CountHandler(SessionMixin, NotificationMixin, RequestHandler):
    async def get(self) -> None:
        self.session["visits"] = self.session.get("visits", 0) + 1
        told = [message.value for message in await self.notifications.take()]
        self.notifications.add(f"visit {self.session['visits']}")
        self.write({"visits": self.session["visits"], "told": told})


async def visit(application: Application, cookie: str, closes: bool) -> str:
    """Serve one page from this loop; returns the cookie."""
    socket, port = bind_unused_port()
    server = HTTPServer(application)
    server.add_socket(socket)
    headers = {"Cookie": cookie} if cookie else {}
    page = await AsyncHTTPClient().fetch(f"http://127.0.0.1:{port}/", headers=headers)
    print(page.body.decode())
    server.stop()
    if closes:
        await Store.of(application).close()
    return page.headers.get("Set-Cookie", cookie).partition(";")[0]


def main() -> None:
    application = Application(
        [("/", CountHandler)], cookie_secret=COOKIE_SECRET, pycket=json.loads(sys.argv[1])
    )
    cookie = ""
    for _ in range(int(sys.argv[2])):
        loop = asyncio.new_event_loop()
        cookie = loop.run_until_complete(visit(application, cookie, sys.argv[3] == "close"))
        loop.close()


if __name__ == "__main__":
    main()
