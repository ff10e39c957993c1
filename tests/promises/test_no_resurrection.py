"""A session that was ended, or whose id has changed, stays dead, whatever slower requests do.

1,000 random interleavings of up to five requests, some paused between load and commit, some that
come with an id that is dead by then, are compared with a plain model of what may come out.
test_every_order.py looks at the single trips of two and three requests.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from promised.sessions import Owner

from .browser import Browser
from .servers import Server
from .site import Gate, Page, Site, site
from .watched import watch

INTERLEAVINGS = 1000
USER = "ada"

ACTS = ("read", "set", "delete", "append", "notify")
ENDS = ("regenerate", "set and regenerate", "destroy", "end")

pytestmark = pytest.mark.plain_loop

Seen = tuple[dict[str, Any], list[str]]
EMPTY: Seen = ({}, [])


@dataclass
class Request:
    """One request of an interleaving."""

    act: str
    number: int
    method: str
    late: bool
    """Whether it comes when its turn has come; else it has loaded the session before all turns."""


@dataclass
class Model:
    """What the session must be like, in plain Python."""

    where: str = "old"
    """Under which id it is alive: "old", "new", or "" if it has ended."""
    data: dict[str, Any] = field(default_factory=lambda: {"kept": 0, "items": []})
    messages: list[str] = field(default_factory=list)
    sets_cookie: bool = False
    """What the last request must have done to the cookie."""
    clears_cookie: bool = False
    began: Seen | None = None
    """The session that the last request has begun beside it."""

    def apply(self, request: Request) -> int:
        """Let the request commit; returns the status that it must be answered with."""
        self.sets_cookie = self.clears_cookie = False
        self.began = None
        if request.act == "end":
            self.where = ""
        elif self.where == "old":
            self._apply(request.act, request.number)
        else:
            return self._apply_too_late(request)
        return 200

    def _apply(self, act: str, number: int) -> None:
        if act in ("set", "set and regenerate"):
            self.data[f"set{number}"] = number
        elif act == "delete":
            self.data.pop("kept", None)
        elif act == "append":
            self.data["items"] = [*self.data["items"], number]
        elif act == "notify":
            self.messages.append(f"message {number}")
        if "regenerate" in act:
            self.where, self.sets_cookie = "new", True
        elif act == "destroy":
            self.where, self.clears_cookie = "", not self.messages
            if self.messages:  # they reach the next page, in a session of their own
                self.began = {}, self.messages

    def _apply_too_late(self, request: Request) -> int:
        """Nothing is stored where the person would never see it; a POST says so, in a 409."""
        if request.late and request.act == "set and regenerate":  # as a login does
            self.began = {f"set{request.number}": request.number}, []
            return 200
        if request.act == "notify" and not request.late and self.where == "new":
            self.messages.append(f"message {request.number}")  # it follows the session
            return 200
        # Who had loaded the session, and destroys it, is logged out whatever has become of it.
        self.clears_cookie = request.act == "destroy" and not request.late
        stores = request.act in ("set", "set and regenerate", "append", "notify")
        stores |= request.act == "delete" and not request.late
        return 409 if stores and request.method == "POST" else 200


async def test_1000_interleavings_agree_with_a_plain_model(server: Server) -> None:
    async with site(server.engine, server.storage) as running:
        for start in range(0, INTERLEAVINGS, 20):
            await asyncio.gather(*(_interleave(running, start + seed) for seed in range(20)))


async def _interleave(running: Site, seed: int) -> None:
    rng = random.Random(seed)
    acts = rng.choices(ACTS, k=rng.randint(1, 3)) + rng.choices(ENDS, k=rng.randint(1, 2))
    rng.shuffle(acts)
    requests = [
        Request(act, number, rng.choice(("GET", "POST")), rng.random() < 0.4)
        for number, act in enumerate(acts)
    ]
    browser, user = running.browser(), f"user{seed}"
    await running.do(browser, lambda page: _login(page, user))
    old, model = dict(browser.jar), Model()

    gates = [Gate() for _ in requests]
    tabs = [running.browser(browser) for _ in requests]
    answers: dict[int, asyncio.Task[Any]] = {}

    def send(request: Request) -> None:
        tab = tabs[request.number]
        if request.act == "end":  # this one comes from another device
            tab.jar.clear()
        do = _paused(gates[request.number], request.act, request.number, user)
        sending = running.do(tab, do, request.method)
        answers[request.number] = asyncio.create_task(sending)

    early = [request for request in requests if not request.late]
    for request in early:
        send(request)
    await asyncio.gather(*(gates[request.number].reached.wait() for request in early))

    new: Browser | None = None
    begun: list[tuple[Browser, Seen]] = []
    for request in rng.sample(requests, len(requests)):
        status = model.apply(request)
        gates[request.number].open()
        if request.late:
            send(request)
        answer, tab = await answers[request.number], tabs[request.number]
        what = f"seed {seed}, {request} of {requests}"
        assert answer.status == status, what
        if model.sets_cookie or model.began is not None:
            assert set(answer.cookies) == {"__Host-sid"}, what
            assert tab.jar not in ({}, old), what
            if model.began is not None:
                begun.append((tab, model.began))
            else:
                new = tab
        elif model.clears_cookie:
            assert list(answer.cookies.values()) == [""], what
        else:
            # Nothing new to a thief, and nothing that would log out the tab that has moved on.
            assert not answer.cookies, what

    what = f"seed {seed}, {requests}"
    stale = running.browser()
    stale.jar = old
    alive: Seen = (model.data, model.messages)
    listed = await Owner(running.store, user).sessions()
    assert len(listed) == (model.where != ""), what
    assert await _look(running, stale) == (alive if model.where == "old" else EMPTY), what
    if new is not None:
        assert await _look(running, new) == (alive if model.where == "new" else EMPTY), what
    for tab, expected in begun:
        assert await _look(running, tab) == expected, what
    if listed:  # and it can be ended, wherever it is now
        assert await Owner(running.store, user).end_all() == 1, what
        for tab in (stale, new or stale):
            assert await _look(running, tab) == EMPTY, what


async def _look(running: Site, browser: Browser) -> Seen:
    async def look(page: Page) -> None:
        messages = [message.value for message in await page.notifications.take()]
        page.write({"data": dict(page.session), "messages": messages})

    found = (await running.do(browser, look)).json
    return found["data"], found["messages"]


def _login(page: Page, user: str) -> None:
    page.session.update(kept=0, items=[])
    page.session.owner = user


def _paused(gate: Gate, act: str, number: int, user: str) -> Callable[[Page], Awaitable[None]]:
    """What a request does that has loaded its session and waits until the gate opens."""

    async def do(page: Page) -> None:
        await gate.wait()
        session = page.session
        if act in ("set", "set and regenerate"):
            session[f"set{number}"] = number
        elif act == "delete":
            session.delete("kept")
        elif act == "append":
            await session.modify("items", lambda items: [*items, number], default=[])
        elif act == "notify":
            page.notifications.add(f"message {number}")
        if "regenerate" in act:
            session.regenerate()
        elif act == "destroy":
            session.destroy()
        elif act == "end":
            await Owner(session.store, user).end_all()

    return do


async def test_a_login_that_is_ended_before_it_is_stored_stays_dead(server: Server) -> None:
    """A new password, or "end all others", on another device while the login is under way."""
    async with site(server.engine, server.storage) as running:
        there, here = running.browser(), running.browser()
        await running.do(there, lambda page: _login(page, USER))
        hold = Hold(running)

        def login(page: Page) -> None:
            _login(page, USER)
            page.session.regenerate()

        for method, status in (("GET", 200), ("POST", 409)):
            befores: list[Seen] = [EMPTY, ({"visits": 1}, [])]
            for before in befores:  # with a new session, then with a new id
                gate = hold.gate = Gate()
                request = asyncio.create_task(running.do(here, login, method))
                await gate.reached.wait()
                hold.gate = None
                await running.do(
                    there, lambda page: Owner(running.store, USER).end_all(but=page.session)
                )
                gate.open()
                answer = await request
                assert answer.status == status
                assert not any(answer.cookies.values())
                assert await _look(running, here) == before  # what it was, and nobody's
                await running.do(here, lambda page: page.session.update(visits=1))
            here.jar.clear()
        assert len(await Owner(running.store, USER).sessions()) == 1


async def test_a_login_under_way_is_not_struck_off_the_list(server: Server) -> None:
    async with site(server.engine, server.storage) as running:
        there, here = running.browser(), running.browser()
        await running.do(there, lambda page: _login(page, USER))
        hold = Hold(running)
        gate = hold.gate = Gate()

        async def count(page: Page) -> None:
            page.write(str(len(await Owner(running.store, USER).sessions(page.session))))

        request = asyncio.create_task(running.do(here, lambda page: _login(page, USER)))
        await gate.reached.wait()
        assert (await running.do(there, count)).text == "1"
        gate.open()
        assert (await request).status == 200
        assert (await running.do(there, count)).text == "2"
        assert await Owner(running.store, USER).end_all() == 2


async def test_a_users_list_does_not_grow_with_each_new_id(server: Server) -> None:
    async with site(server.engine, server.storage) as running:
        browser = running.browser()
        await running.do(browser, lambda page: _login(page, USER))
        for _ in range(5):
            await running.do(browser, lambda page: page.session.regenerate())
        key = running.store.key("owner", hashlib.sha256(USER.encode()).hexdigest())
        listed = await running.store.sessions.load(key)
        assert listed is not None
        assert len(listed.fields) == 1
        await running.do(browser, lambda page: page.session.destroy())
        assert await running.store.sessions.load(key) is None


class Hold:
    """Holds who is about to write a session's record at `gate`, if there is one."""

    def __init__(self, running: Site) -> None:
        self.gate: Gate | None = None
        sessions, _ = watch(running.store)
        sessions.before = self._before

    async def _before(self, operation: str, key: str) -> None:
        if operation == "write" and ":session:" in key and self.gate is not None:
            await self.gate.wait()


async def test_a_late_request_with_the_old_id_does_not_clear_the_new_cookie(server: Server) -> None:
    async with site(server.engine, server.storage) as running:
        browser = running.browser()
        await running.do(browser, lambda page: page.session.update(name="ada"))
        late = running.browser(browser)
        await running.do(browser, lambda page: page.session.regenerate())
        answer = await running.do(late, lambda page: page.write(dict(page.session)))
        assert answer.json == {}
        assert not answer.cookies


async def test_a_slow_page_does_not_set_the_old_persistent_cookie_again(server: Server) -> None:
    async with site(server.engine, server.storage) as running:
        browser = running.browser()

        def remember(page: Page) -> None:
            page.session["name"] = "ada"
            page.session.remember(10)

        await running.do(browser, remember)
        now = time.time() + 2 * 24 * 60 * 60  # the cookie is due to be renewed
        running.store.clock = lambda: now
        for act in (lambda page: page.write("read"), lambda page: page.notifications.add("hello")):
            late, gate = running.browser(browser), Gate()

            async def slow(page: Page, gate: Gate = gate, act: Any = act) -> None:
                await gate.wait()
                act(page)

            request = asyncio.create_task(running.do(late, slow))
            await gate.reached.wait()
            assert (await running.do(browser, lambda page: page.session.regenerate())).cookies
            gate.open()
            assert not (await request).cookies
