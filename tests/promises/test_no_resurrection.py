"""A session that was ended, or whose id has changed, stays dead, whatever slower requests do.

1,000 random interleavings of requests, paused between load and commit, are compared with a plain
model of what may come out. More of them are run trip by trip.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from promised.sessions import ActiveSessions

from .browser import Browser
from .browser import Page as Answer
from .servers import Server
from .site import Gate, Page, Site, site
from .watched import watch

INTERLEAVINGS = 1000
TRIP_BY_TRIP = 200
USER = "ada"

pytestmark = pytest.mark.plain_loop


@dataclass
class Model:
    """What the session must be like, in plain Python."""

    alive: bool = True
    """Whether the id that all paused requests came with is alive."""
    moved: bool = False
    data: dict[str, Any] = field(default_factory=lambda: {"kept": 0, "items": []})
    messages: list[str] = field(default_factory=list)

    def apply(self, act: str, number: int) -> None:
        """Let request `number` commit `act`."""
        if not self.alive or act == "read":
            return
        if act in ("set", "set and regenerate"):
            self.data[f"set{number}"] = number
        elif act == "delete":
            self.data.pop("kept", None)
        elif act == "append":
            self.data["items"] = [*self.data["items"], number]
        elif act == "notify":
            self.messages.append(f"message {number}")
        if "regenerate" in act:
            self.alive, self.moved = False, True
        elif act == "destroy":  # pending messages reach the next page, in a session of their own
            self.alive, self.moved, self.data = False, bool(self.messages), {}
        elif act == "end":
            self.alive = False


ACTS = ("read", "set", "delete", "append", "notify")
ENDS = ("regenerate", "set and regenerate", "destroy", "end")


async def test_1000_interleavings_agree_with_a_plain_model(server: Server) -> None:
    async with site(server.engine, server.storage) as running:
        for start in range(0, INTERLEAVINGS, 20):
            await asyncio.gather(*(_interleave(running, start + seed) for seed in range(20)))


async def _interleave(running: Site, seed: int) -> None:
    rng = random.Random(seed)
    acts = [rng.choice(ACTS) for _ in range(rng.randint(1, 3))]
    acts += [rng.choice(ENDS) for _ in range(rng.randint(1, 2))]
    rng.shuffle(acts)
    browser, user = running.browser(), f"user{seed}"
    handle = (await running.do(browser, lambda page: _login(page, user))).text
    old = dict(browser.jar)
    model = Model()

    gates = [Gate() for _ in acts]
    tabs = [running.browser(browser) for _ in acts]
    requests = []
    for number, (act, gate, tab) in enumerate(zip(acts, gates, tabs, strict=True)):
        if act == "end":  # this one comes from another device, and waits for nobody
            tab.jar.clear()
        do = _paused(gate, act, number, user, handle)
        requests.append(asyncio.create_task(running.do(tab, do)))
    await asyncio.gather(*(gate.reached.wait() for gate in gates))

    new: Browser | None = None
    for number in rng.sample(range(len(acts)), len(acts)):
        was_alive, what = model.alive, f"seed {seed}, request {number} of {acts}"
        model.apply(acts[number], number)
        gates[number].open()
        answer = await requests[number]
        assert answer.status == 200, what
        if was_alive and model.moved and not model.alive:
            new = tabs[number]
            assert set(answer.cookies) == {"__Host-sid"}, what
            assert new.jar != old, what
        else:
            # Nothing new to a thief, and nothing that would log out the tab that has moved on.
            assert not any(answer.cookies.values()), what
            assert not answer.cookies or acts[number] == "destroy", what

    what = f"seed {seed}, {acts}"
    stale = running.browser()
    stale.jar = old
    assert await _look(running, stale) == ((model.data, model.messages) if model.alive else EMPTY)
    assert (new is not None) == model.moved, what
    if new is not None:
        assert await _look(running, new) == (model.data, model.messages), what


EMPTY: tuple[dict[str, Any], list[str]] = ({}, [])


async def _look(running: Site, browser: Browser) -> tuple[dict[str, Any], list[str]]:
    async def look(page: Page) -> None:
        messages = [message.value for message in await page.notifications.take()]
        page.write({"data": dict(page.session), "messages": messages})

    found = (await running.do(browser, look)).json
    return found["data"], found["messages"]


async def _login(page: Page, user: str) -> None:
    page.session.update(kept=0, items=[])
    active = ActiveSessions(page)
    await active.add(user)
    page.write((await active.list(user))[0].handle)


def _paused(
    gate: Gate, act: str, number: int, user: str, handle: str
) -> Callable[[Page], Awaitable[None]]:
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
            await ActiveSessions(page).end(user, handle)

    return do


async def test_interleavings_of_single_trips_bring_nothing_back(server: Server) -> None:
    async with site(server.engine, server.storage) as running:
        turns = Turns()
        for engine in watch(running.store):
            engine.before, engine.after = turns.wait, turns.done
        for seed in range(TRIP_BY_TRIP):
            await _interleave_trips(running, turns, seed)


class Turns:
    """Lets one trip to the store go at a time, chosen at random among those that wait."""

    def __init__(self) -> None:
        self.rng: random.Random | None = None
        self._waiting: list[asyncio.Future[None]] = []
        self._arrived = asyncio.Event()

    async def wait(self, operation: str, key: str) -> None:
        if self.rng is None:
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        await turn

    async def done(self, operation: str, key: str) -> None:
        self._arrived.set()

    async def run(self, seed: int, *requests: asyncio.Task[Any]) -> None:
        """Serve the requests until all are answered."""
        self.rng = random.Random(seed)
        while not all(request.done() for request in requests):
            for _ in range(20):  # let everybody get to where a trip would begin
                await asyncio.sleep(0)
            if not self._waiting:
                await asyncio.sleep(0.001)
                continue
            self._arrived.clear()
            self._waiting.pop(self.rng.randrange(len(self._waiting))).set_result(None)
            await self._arrived.wait()
        self.rng = None


async def _interleave_trips(running: Site, turns: Turns, seed: int) -> None:
    rng = random.Random(seed)
    ends = rng.choice(["end", "destroy", "regenerate", "nothing"])
    browser, user = running.browser(), f"user{seed}"
    handle = (await running.do(browser, lambda page: _login(page, user))).text
    old = dict(browser.jar)

    async def move(page: Page) -> None:
        page.session.regenerate()
        await ActiveSessions(page).renew(user)

    async def write(page: Page) -> None:
        page.session["written"] = True
        page.notifications.add("message")
        await page.session.save()
        page.write({"kept": "written" in page.session})
        page.session["more"] = True  # if that was dropped, so is this: it begins no session

    async def end(page: Page) -> None:
        if ends == "end":
            await ActiveSessions(page).end(user, handle)
        elif ends == "destroy":
            page.session.destroy()
        elif ends == "regenerate":
            page.session.regenerate()

    tabs = [running.browser(browser) for _ in range(3)]
    if ends == "end":
        tabs[2].jar.clear()
    gates = [Gate() for _ in tabs]
    requests = [
        asyncio.create_task(running.do(tab, _after(gate, act)))
        for tab, gate, act in zip(tabs, gates, (move, write, end), strict=True)
    ]
    await asyncio.gather(*(gate.reached.wait() for gate in gates))
    for gate in gates:
        gate.open()
    await turns.run(seed, *requests)
    answers: list[Answer] = [await request for request in requests]

    what = f"seed {seed}, {ends}"
    assert not answers[1].cookies, what
    assert [answer.status for answer in answers] == [200] * 3, what
    stale = running.browser()
    stale.jar = old
    assert await _look(running, stale) == EMPTY, what
    alive = [await _look(running, tab) for tab in tabs if tab.jar and tab.jar != old]
    alive = [found for found in alive if found != EMPTY]
    assert len(alive) <= (0 if ends == "end" else 1), what
    if ends in ("nothing", "regenerate"):
        assert len(alive) == 1, what
    for data, _ in alive:
        kept = {"written": True} if answers[1].json["kept"] else {}
        data.pop("more", None)
        if ends != "destroy" or data:  # what was pending may outlive a logout, in a new session
            assert data == {"kept": 0, "items": [], **kept}, what


def _after(gate: Gate, act: Callable[[Page], Awaitable[None]]) -> Callable[[Page], Awaitable[None]]:
    async def do(page: Page) -> None:
        await gate.wait()
        await act(page)

    return do


async def test_a_login_that_is_ended_before_it_is_stored_stays_dead(server: Server) -> None:
    """A new password, or "end all others", on another device while the login is under way."""
    async with site(server.engine, server.storage) as running:
        there, here = running.browser(), running.browser()
        await running.do(there, lambda page: _login(page, USER))
        gate = Gate()

        async def login(page: Page) -> None:
            await _login(page, USER)
            page.session.regenerate()
            await ActiveSessions(page).renew(USER)
            await gate.wait()

        for _ in range(2):  # with a new session, then with a new id
            gate = Gate()
            request = asyncio.create_task(running.do(here, login))
            await gate.reached.wait()
            await running.do(there, lambda page: ActiveSessions(page).end_others(USER))
            gate.open()
            answer = await request
            assert answer.status == 200
            assert not any(answer.cookies.values())
            assert await _look(running, here) == EMPTY
            await running.do(here, lambda page: page.session.update(visits=1))


async def test_a_login_under_way_is_not_struck_off_the_list(server: Server) -> None:
    async with site(server.engine, server.storage) as running:
        there, here = running.browser(), running.browser()
        await running.do(there, lambda page: _login(page, USER))
        gate = Gate()

        async def login(page: Page) -> None:
            await _login(page, USER)
            await gate.wait()

        async def count(page: Page) -> None:
            page.write(str(len(await ActiveSessions(page).list(USER))))

        request = asyncio.create_task(running.do(here, login))
        await gate.reached.wait()
        assert (await running.do(there, count)).text == "1"
        gate.open()
        assert (await request).status == 200
        assert (await running.do(there, count)).text == "2"


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
