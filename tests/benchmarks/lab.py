"""The set-up of a run: which application stands before which store, started when first asked for.

Applications stay up for the whole run, so that the workloads can take turns; idle ones cost nothing.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from typing import Final, Literal

import environment
from fill import copy_session
from load import LoadFailed, Request, Visitor
from servers import Server, Servers, Store

VISITORS: Final = 512
"""Visitors with a session: twice as many as there are connections at most."""
VISITORS_QUICK: Final = 128

Way = Literal["direct", "proxy", "delayed", "few", "many", "weighed"]
"""How an application reaches its store: straight; through a proxy that adds nothing, or 1 ms; a
store of its own, to hold few or many sessions, or to be weighed."""

DELAY_MS: Final = {"proxy": 0.0, "delayed": 1.0}
FEW: Final = 1_000
NO_STORE: Final = "none"
"""The engine of the application that has no session."""


@dataclass(frozen=True)
class Subject:
    """An application under test, with visitors logged in."""

    server: Server
    store: Store | None
    cookies: list[str]

    def requests(self, workload: str, visitors: int | None = None) -> list[Request]:
        """Return the requests of a workload, a round of all visitors or of the first `visitors`."""
        cookies = self.cookies[:visitors]
        if workload == "flash":
            # All forms, then all pages: a page is asked for when its form has long been answered.
            posts = [Request("/flash", c, "POST", "text=saved") for c in cookies]
            return posts + [Request("/flash", cookie) for cookie in cookies]
        if workload == "anonymous":
            return [Request("/read")]
        return [Request(f"/{workload}", cookie) for cookie in cookies]


class Lab:
    """Everything is started on first use and ends with `servers`.

    `many` is how many sessions are in the store of that way, `visitors` how many of them are used.
    """

    def __init__(self, servers: Servers, many: int, visitors: int) -> None:
        self.servers = servers
        self.many = many
        self._visitors = visitors
        self._copies = {"few": FEW - visitors, "many": many - visitors}
        self.project = cache(partial(environment.bake, scratch=servers.scratch))
        self.store = cache(self._store)
        self.subject = cache(self._subject)
        self.visitor_cookies = cache(self._cookies)

    def prepare(self, engines: Iterable[str], apps: Iterable[str]) -> None:
        """Bake, and make the environments, so that later nobody waits for pip."""
        projects = [self.project(engine) for engine in {"redis", *engines}]
        peers = {environment.PEERS[app]: app for app in apps if app in environment.PEERS}
        with ThreadPoolExecutor() as threads:
            made = [threads.submit(environment.python_of, project) for project in projects]
            made += [threads.submit(environment.python_of_peer, peer) for peer in peers.values()]
        for environment_ in made:
            environment_.result()

    def versions(self) -> list[str]:
        """What is measured, by name and version."""
        python = environment.python_of(self.project("redis"))
        listed = environment.said(python, "-m", "pip", "freeze").splitlines()
        packages = [
            line.replace("==", " ")
            for line in listed
            if line.split("==")[0] in ("tornado", "uvloop", "redis")
        ]
        redis = environment.said("redis-server", "--version").split()[2].replace("v=", "Redis ")
        memcached = environment.said("memcached", "--version").strip().capitalize()
        return [f"Python {platform.python_version()}", *packages, redis, memcached]

    def _store(self, engine: str, way: Way) -> Store:
        return self.servers.store(engine, memory_mb=2048 if way == "many" else 256)

    def _subject(self, app: str, engine: str, way: Way) -> Subject:
        if engine == NO_STORE:
            python = environment.python_of(self.project("redis"))
            server = self.servers.app(python, "nosession.py")
            check(server, has_session=False)
            # The same requests, byte for byte: a Cookie header costs Tornado's parser a tenth of a
            # request, whatever is done with it.
            return Subject(server, None, self.subject("ours", "redis", "direct").cookies)
        store = self.store(engine, "direct" if way in DELAY_MS else way)
        port = self._proxy(engine, way).port if way in DELAY_MS else store.port
        options = {"engine": engine, "store_port": port}
        if app in environment.PEERS:
            python = environment.python_of_peer(app)
            module = f"on_{app.removesuffix('-redis4')}.py"
            server = self.servers.app(python, module, **options)
        else:
            project = self.project(engine)
            options |= {"project": str(project.path), "package": project.package}
            options["uvloop"] = app == environment.UVLOOP
            server = self.servers.app(environment.python_of(project), "ours.py", **options)
        check(server, has_session=True)
        cookies = self.visitor_cookies(server, "/begin", self._visitors)
        if way in self._copies:
            copy_session(store, self._copies[way])
        return Subject(server, store, cookies)

    @cache  # noqa: B019  # a lab lives as long as the run
    def _proxy(self, engine: str, way: Way) -> Server:
        return self.servers.proxy(self.store(engine, "direct"), DELAY_MS[way])

    def _cookies(self, server: Server, path: str, count: int) -> list[str]:
        cookies = []
        for _ in range(count):
            visitor = Visitor(server.port)
            visitor.get(path)
            cookies.append(visitor.cookie)
            visitor.close()
        return cookies


def check(server: Server, *, has_session: bool) -> None:
    """Raise `LoadFailed` unless the application really does what is going to be measured."""
    visitor, other = Visitor(server.port), Visitor(server.port)
    visitor.get("/begin")
    other.get("/begin")
    expected = b"Hello Ada Lovelace</h1><p>You are editor."
    first, second = visitor.get("/write").body, visitor.get("/write").body
    faults = [
        expected not in visitor.get("/read").body and "a session is not read back",
        b"number 1." not in first and has_session and "the first visit is not number 1",
        b"number 2." not in second and "the second visit is not number 2",
        visitor.send("POST", "/flash", "text=saved").status != 303 and "a form is not redirected",
        has_session and b"saved" in other.get("/flash").body and "a message reaches others",
        b"saved" not in visitor.get("/flash").body and "a message is not shown",
        has_session and b"saved" in visitor.get("/flash").body and "a message is shown twice",
        has_session and b"visitor" not in Visitor(server.port).get("/read").body and "no stranger",
    ]
    if any(faults):
        raise LoadFailed(
            f"{server.process.args!r}: {', '.join(fault for fault in faults if fault)}"
        )
