"""Two requests at once, in every order of their trips to the store: nothing is lost, nothing comes
twice, nothing comes back, no cookie leads to a dead session, and whatever lives can be ended.

The requests go through the real mixins and engines. What comes out must be one of the outcomes of
model.py, which knows no store. All orders are run on the memory engine, random ones on the servers.
"""

from __future__ import annotations

import itertools
import json
import random
import secrets
from http.cookies import SimpleCookie
from typing import Any

import pytest
from promised.sessions import Owner, Store
from tornado.web import Application, HTTPError

from .generated import COOKIE_SECRET
from .in_process import send
from .model import KINDS, NOBODY, STARTS, Answer, Outcome, Seen, known, outcomes
from .orders import Choose, Turns, every_order
from .servers import Server
from .site import Act, Page

COOKIE = "__Host-sid"
SAMPLES = 300

pytestmark = pytest.mark.plain_loop


class Visitor:
    """A visitor and user of an application; makes requests, in turns or not."""

    def __init__(self, engine: str, storage: dict[str, Any]) -> None:
        pycket = {"engine": engine, "storage": storage, "key_prefix": secrets.token_hex(8)}
        self.application = Application(
            [("/", Page)],
            cookie_secret=COOKIE_SECRET,
            pycket=pycket,
            site=self,
            log_function=lambda handler: None,
        )
        self.store = Store.of(self.application)
        self.turns = Turns(self.store)
        self.acts: dict[str, Act] = {}
        self.user = ""

    async def do(self, cookie: str, act: Act, method: str = "POST") -> tuple[int, str | None, Any]:
        """Let one request do `act`; returns status, cookie (None: as it was) and what it wrote."""
        name = secrets.token_hex(8)
        self.acts[name] = act
        headers = {"Cookie": f"{COOKIE}={cookie}"} if cookie else {}
        page = await send(self.application, method, f"/?act={name}", headers)
        del self.acts[name]
        status, set_to = page.answered.result(), None
        for header in page.headers.get_list("Set-Cookie"):
            assert set_to is None, "one cookie is set twice"
            set_to = SimpleCookie(header)[COOKIE].value
        written = json.loads(page.body) if status == 200 and page.body else None
        return status, set_to, written

    async def begin(self, start: str) -> str:
        """Return the cookie that the requests come with."""
        self.user = secrets.token_hex(8)

        def begin(page: Page) -> None:
            page.session.update(kept=0, items=[])
            page.notifications.add("hello")
            if start == "logged in":
                page.session.owner = self.user

        return (await self.do("", begin))[1] or "" if start != "no session" else ""

    async def outcome(self, start: str, kinds: tuple[str, ...], choose: Choose) -> Outcome:
        """Run requests of these kinds, their trips in the order that `choose` makes."""
        old = await self.begin(start)
        requests = [self._request(number, kind, old) for number, kind in enumerate(kinds)]
        results = await self.turns.run(requests, choose)
        new = [cookie for _, cookie, _ in results if cookie]
        keys = set(self.turns.keys)
        seen = [await self._look(cookie, keys) for cookie in (old, *new)]
        for key in keys:
            orphan = await self.store.sessions.load(key)
            assert orphan is None or orphan.ended, "a session is alive, and no cookie leads to it"
        listed = len(await Owner(self.store, self.user).sessions())
        if owned := [cookie for cookie, each in zip((old, *new), seen, strict=True) if each.owned]:
            await Owner(self.store, self.user).end_all()
            assert {str(await self._look(cookie, set())) for cookie in owned} == {str(NOBODY)}
        answers = [
            Answer(status, {None: "keeps", "": "clears"}.get(cookie, "new"), told)
            for status, cookie, told in results
        ]
        return Outcome(answers, seen[0], seen[1:], listed)

    async def _request(self, number: int, kind: str, cookie: str) -> tuple[int, str | None, Any]:
        if kind == "end from elsewhere":
            await Owner(self.store, self.user).end_all()
            return 200, None, None
        return await self.do(cookie, self._act(number, kind))

    def _act(self, number: int, kind: str) -> Act:
        async def act(page: Page) -> None:
            session = page.session
            match kind:
                case "read":
                    page.write(dict(session))
                case "set":
                    session[f"set{number}"] = number
                case "delete":
                    session.delete("kept")
                case "modify":
                    await session.modify("items", lambda items: [*items, number], default=[])
                case "flash":
                    page.notifications.add(f"message {number}")
                case "take" | "take and fail":
                    messages = await page.notifications.take()
                    page.write(json.dumps([message.value for message in messages]))
                    if kind == "take and fail":
                        raise HTTPError(500)
                case "regenerate":
                    session.regenerate()
                case "login":
                    session.regenerate()
                    session.owner = self.user
                    session[f"set{number}"] = number
                case "destroy":
                    session.destroy()

        return act

    async def _look(self, cookie: str, keys: set[str]) -> Seen:
        """What the cookie finds. The key of its record is removed from `keys`."""

        async def look(page: Page) -> None:
            session, messages = page.session, await page.notifications.take()
            keys.discard(self.store.key("session", str(session.id)))
            owned = session.owner is not None
            page.write(json.dumps([dict(session), [each.value for each in messages], owned]))

        data, messages, owned = (await self.do(cookie, look, "GET"))[2]
        return Seen(data, sorted(messages), owned)


PAIRS = [
    (start, kinds)
    for start in STARTS
    for kinds in itertools.combinations_with_replacement(KINDS, 2)
    # Whose the session is plays no part in putting back, and makes its orders five times as many.
    if not (start == "logged in" and "take and fail" in kinds)
]


@pytest.mark.parametrize(
    ("start", "kinds"), PAIRS, ids=[f"{start}: {' + '.join(kinds)}" for start, kinds in PAIRS]
)
async def test_two_requests_in_every_order_of_their_trips(
    start: str, kinds: tuple[str, str], tried: list[int]
) -> None:
    visitor, orders = Visitor("memory", {}), 0

    async def run(choose: Choose) -> None:
        outcome = await visitor.outcome(start, kinds, choose)
        trips = visitor.turns.trips
        assert outcome in outcomes(start, kinds, known(start, kinds, trips)), trips

    async for _ in every_order(run):
        orders += 1
    tried.append(orders)


@pytest.mark.parametrize("count", [2, 3])
async def test_random_orders_on_the_servers(server: Server, count: int) -> None:
    visitor = Visitor(server.engine, server.storage)
    for seed in range(SAMPLES):
        rng = random.Random(seed)
        start, kinds = rng.choice(STARTS), tuple(rng.choices(KINDS, k=count))
        outcome = await visitor.outcome(start, kinds, rng.randrange)
        trips = visitor.turns.trips
        what = f"seed {seed}: {start}, {kinds}, {trips}"
        assert outcome in outcomes(start, kinds, known(start, kinds, trips)), what
    await visitor.store.close()
