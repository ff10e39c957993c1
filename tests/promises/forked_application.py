"""An application that is made, and used, before it is forked into two processes.

python forked_application.py <port> <settings["pycket"] as JSON>
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

import tornado.netutil
import tornado.process
from promised.sessions import SessionMixin, Store
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler

COOKIE_SECRET = "only-for-tests-" + "0123456789abcdef" * 2


class KeepHandler(SessionMixin, RequestHandler):
    def get(self) -> None:
        self.write({"process": os.getpid(), "session": dict(self.session)})

    def post(self) -> None:
        for name in self.request.body_arguments:
            self.session[name] = self.get_body_argument(name)


async def serve(application: Application, sockets: list[object]) -> None:
    HTTPServer(application).add_sockets(sockets)  # type: ignore[arg-type]
    await asyncio.Event().wait()


def main() -> None:
    application = Application(
        [("/keep", KeepHandler)],
        cookie_secret=COOKIE_SECRET,
        pycket=json.loads(sys.argv[2]),
        log_function=lambda handler: None,
    )
    # The parent is connected to the store, and stays so, when the children come into being.
    loop = asyncio.new_event_loop()
    loop.run_until_complete(Store.of(application).ping())
    sockets = tornado.netutil.bind_sockets(int(sys.argv[1]), "127.0.0.1", reuse_port=False)
    tornado.process.fork_processes(2)
    asyncio.run(serve(application, list(sockets)))


if __name__ == "__main__":
    main()
