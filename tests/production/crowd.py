"""A steady crowd of visitors for a game day, who keep account of what they were promised."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from tornado.httpclient import HTTPError
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from ..promises.browser import Browser, Page

PAUSE_S: Final = (0.3, 0.7)
NOTES_PER_LOGIN: Final = 12
PASSWORD: Final = "correct horse"
SAVED: Final = "Your note is saved."

OK: Final = "ok"
BUSY: Final = "503"
"""The app's own words: try again. Every other failure is a request that was lost."""


@dataclass
class Ledger:
    """Records every request, outage and broken promise. Times are seconds since the start."""

    began: float = field(default_factory=time.monotonic)
    requests: list[tuple[float, str]] = field(default_factory=list)
    """When each ended, and how: OK, or the kind of failure."""
    outages: list[tuple[float, float]] = field(default_factory=list)
    """When a visitor's first failure was noticed, and how long nothing worked for this visitor."""
    losses: list[tuple[float, str]] = field(default_factory=list)
    """Broken promises: when each was noticed, and its kind."""
    ended: list[dict[str, str]] = field(default_factory=list)
    """The cookies of sessions whose logout was confirmed."""
    masters: list[float] = field(default_factory=list)
    """When the sentinels named another master."""

    def begin(self) -> None:
        """Forget what was before: the crowd has arrived."""
        self.began = time.monotonic()
        self.requests.clear()
        self.outages.clear()

    def now(self) -> float:
        return time.monotonic() - self.began

    def between(self, start: float, end: float) -> Counter[str]:
        return Counter(kind for at, kind in self.requests if start <= at < end)

    def lose(self, kind: str, count: int = 1) -> None:
        self.losses += [(self.now(), kind)] * count

    def lost_between(self, start: float, end: float) -> Counter[str]:
        return Counter(kind for at, kind in self.losses if start <= at < end)

    def longest_outage_s(self, start: float, end: float) -> float:
        return max((length for at, length in self.outages if start <= at < end), default=0.0)


class Visitor:
    """Writes notes, looks at them, and logs out and in again from time to time."""

    def __init__(
        self, client: SimpleAsyncHTTPClient, url: str, number: int, ledger: Ledger
    ) -> None:
        self.ready = asyncio.Event()
        self._browser = Browser(client, url)
        # An address of its own: all from one would soon have registered too often.
        self._browser.headers["X-Forwarded-For"] = f"10.0.{number}.1"
        self._name = f"visitor{number}"
        self._ledger = ledger
        self._random = random.Random(number)
        self._written = 0
        self._confirmed: list[str] = []
        """Notes of this session that the app said it has, and that were not looked at since."""
        self._maybe = 0
        """Notes since then of which nobody knows whether they were saved."""
        self._failing: tuple[float, float] | None = None
        """When the first request that failed was sent, and when it had failed."""

    async def live(self, over: asyncio.Event) -> None:
        form = {"username": self._name, "password": PASSWORD}
        await self._until_it_works("/register", form)
        self.ready.set()
        until_logout = self._random.randrange(NOTES_PER_LOGIN)
        while not over.is_set():
            await asyncio.sleep(self._random.uniform(*PAUSE_S))
            if until_logout:
                until_logout -= 1
                await self._write()
            else:
                until_logout = NOTES_PER_LOGIN
                await self._log_out_and_in(form)
        while self._confirmed:  # what was promised last, too
            await self._look()

    async def _write(self) -> None:
        self._written += 1
        note = f"Note {self._written} of {self._name}."
        page = await self._send("/", {"text": note}, expected=303)
        if page is None:
            self._maybe += 1
        else:
            self._confirmed.append(note)
        await self._look()

    async def _look(self) -> None:
        page = await self._send("/", None, expected=200)
        if page is None:
            return
        lose, expected = self._ledger.lose, len(self._confirmed)
        shown = page.text.count(SAVED)
        lose("messages lost", max(0, expected - shown))
        lose("messages shown twice", max(0, shown - expected - self._maybe))
        for note in self._confirmed:
            lose("notes lost", note not in page.text)
            lose("notes saved twice", page.text.count(note) > 1)
        if "Log out" not in page.text:
            lose("sessions lost")
            await self._until_it_works("/login", {"username": self._name, "password": PASSWORD})
        self._confirmed, self._maybe = [], 0

    async def _log_out_and_in(self, form: dict[str, str]) -> None:
        await self._look()
        cookies = dict(self._browser.jar)
        if await self._send("/logout", {}, expected=303):
            self._ledger.ended.append(cookies)
        await self._until_it_works("/login", form)

    async def _until_it_works(self, path: str, form: dict[str, str]) -> None:
        while await self._send(path, form, expected=303) is None:
            await asyncio.sleep(self._random.uniform(*PAUSE_S))

    async def _send(self, path: str, form: dict[str, str] | None, expected: int) -> Page | None:
        """One request. Returns nothing where the answer is not the one that was expected."""
        ledger, began = self._ledger, self._ledger.now()
        page = None
        try:
            if form is None:
                page = await self._browser.get(path)
            else:
                page = await self._browser.post(path, **form)
            kind = OK if page.status == expected else str(page.status)
        except (HTTPError, OSError) as error:
            kind = type(error).__name__
        ledger.requests.append((ledger.now(), kind))
        if kind != OK:
            self._failing = self._failing or (began, ledger.now())
            return None
        if self._failing is not None:
            sent, failed = self._failing
            ledger.outages.append((failed, ledger.now() - sent))
            self._failing = None
        return page


async def resurrected(client: SimpleAsyncHTTPClient, url: str, ledger: Ledger) -> int:
    """How many of the sessions that have ended can be used."""
    alive = 0
    for cookies in ledger.ended:
        browser = Browser(client, url)
        browser.jar = dict(cookies)
        alive += (await browser.get("/account")).status == 200
    return alive


def per_second(ledger: Ledger) -> Iterator[tuple[int, int, int]]:
    """For each second the requests that worked, and those that did not."""
    good: Counter[int] = Counter()
    bad: Counter[int] = Counter()
    for at, kind in ledger.requests:
        (good if kind == OK else bad)[int(at)] += 1
    for second in range(int(ledger.now()) + 1):
        yield second, good[second], bad[second]
