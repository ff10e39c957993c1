"""Slows down guessing: what failed is counted per address and per account, in the session store.

    async with throttle.attempt({address_limit: address, account_limit: name}) as attempt:
        if not await check(password):
            attempt.count()

A limit of ten is ten slots. An attempt holds a slot of each limit while it is checked; afterwards
the slot is free again, or, if the attempt counts, taken until the window is over. So no more guesses
than the limit are ever checked at once, and those who come while all slots are held wait for their
turn: an attempt is refused only when so many have failed. One that ends in another way, as the
database or the store is away, is forgiven.

All processes count together, through the engine contract alone: a record is one address or account,
and a field a slot. To slow down something of your own, make a `Limit` for it.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import math
import secrets
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

from tornado.web import HTTPError

from .load import Busy, check_client
from .sessions import Store, StoreUnavailable

patience_s = 5.0  # how long an attempt waits for its turn
checking_s = 20.0  # when a slot is free again whose process was killed in the middle of a check
_look_again_s = 0.05


@dataclass(frozen=True)
class Limit:
    """At most `times` in any `window_s` seconds. `kind` tells limits apart."""

    kind: str
    times: int
    window_s: float


address_limit = Limit("address", times=10, window_s=60)
account_limit = Limit("account", times=5, window_s=300)
# For who is logged in, in that session: guesses at the login page keep nobody from changing the
# password, nor do those of a thief with another session.
form_limit = Limit("session", times=5, window_s=300)
# A class of pupils or a company registers from one address, too.
registration_limit = Limit("address that registers", times=60, window_s=600)
mailing_limit = Limit("address that has mails sent", times=20, window_s=3600)
mail_limit = Limit("recipient of mails", times=5, window_s=3600)


class TooManyFailures(HTTPError):
    """Too much has failed; the next attempt can be made in `retry_after_s` seconds. Left alone it
    becomes a 429.
    """

    def __init__(self, limit: Limit, retry_after_s: int) -> None:
        self.limit = limit
        self.retry_after_s = retry_after_s
        super().__init__(429, "too many failures for one %s", limit.kind)


class Attempt:
    """What is being tried. It is forgiven, unless `count` is called."""

    counts = False

    def count(self) -> None:
        """It has failed: so many of these, and the next is refused."""
        self.counts = True


class Throttle:
    """Counts in `store`. Await `close` at the end."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._later: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def attempt(self, names: Mapping[Limit, str]) -> AsyncIterator[Attempt]:
        """Wait until it is this attempt's turn, and hold it for the block. `names` says who counts
        for each limit.

        Raises TooManyFailures, Busy if it takes too long, ClientGone, StoreUnavailable.
        """
        # One after the other, and always in the same order: who waits for an account has an address
        # already, and who has both waits for nothing.
        slots: list[_Slot] = []
        attempt = Attempt()
        try:
            for limit, name in names.items():
                slots.append(_Slot(self._store, limit, name))
                await self._take(slots[-1])
            yield attempt
        except StoreUnavailable:
            # It would not answer now either: let go when it is back.
            for slot in slots:
                self._do_later(self._let_go_later(slot, attempt.counts))
            slots.clear()
            raise
        finally:
            await asyncio.gather(*(self._let_go(slot, attempt.counts) for slot in slots))

    async def close(self) -> None:
        """End what is still to be said to a store that was away."""
        for task in self._later:
            task.cancel()
        await asyncio.gather(*self._later, return_exceptions=True)

    async def _take(self, slot: _Slot) -> None:
        turn = self._turns.setdefault(slot.key, asyncio.Lock())
        if not turn.locked() and await slot.take():
            return
        # In a queue: however many wait in this process, one of them asks the store.
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience_s
        try:
            await asyncio.wait_for(turn.acquire(), patience_s)
        except TimeoutError:
            raise Busy(f"too many attempts for one {slot.limit.kind} wait") from None
        try:
            while not await slot.take():
                check_client()
                if loop.time() > deadline:
                    raise Busy(f"too many attempts for one {slot.limit.kind} are being checked")
                await asyncio.sleep(_look_again_s)
        finally:
            turn.release()

    async def _let_go(self, slot: _Slot, counts: bool) -> None:
        try:
            await slot.let_go(counts)
        except StoreUnavailable as error:
            self._store.log_outage(error)
            self._do_later(self._let_go_later(slot, counts))

    async def _let_go_later(self, slot: _Slot, counts: bool) -> None:
        """Try again until the slot is free by itself."""
        for _ in range(int(checking_s)):
            await asyncio.sleep(1)
            try:
                await slot.let_go(counts)
            except StoreUnavailable as error:
                self._store.log_outage(error)
            else:
                return

    def _do_later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._later.add(task)
        task.add_done_callback(self._later.discard)


class _Slot:
    """A field of the record of one address or account, whose value is `<until> <by whom>`: nobody
    else can have it until then.
    """

    def __init__(self, store: Store, limit: Limit, name: str) -> None:
        self.limit = limit
        self._store = store
        # Hashed: what somebody typed, perhaps a password in the wrong box, is no business of the
        # store.
        digest = hashlib.sha256(name.encode()).hexdigest()
        self.key = store.key("throttle", f"{limit.kind}:{digest}")
        self._random = secrets.token_hex(8)
        self._tried: dict[str, bytes] = {}
        """What was written by field, and may be there even if the store has not said so."""

    async def take(self) -> bool:
        """Take a slot that is free. Returns False if none is, as attempts are being checked."""
        # Nearly always one at random is free, and costs one trip.
        if await self._write(str(secrets.randbelow(self.limit.times)), None):
            return True
        while True:
            snapshot = await self._store.sessions.load(self.key)
            fields = snapshot.fields if snapshot is not None else {}
            now = self._store.clock()
            slots = {str(number): fields.get(str(number)) for number in range(self.limit.times)}
            free = [n for n, held in slots.items() if held is None or _until(held) <= now]
            if not free:
                self._refuse_if_failed([held for held in slots.values() if held], now)
                return False
            number = secrets.choice(free)
            if await self._write(number, slots[number]):
                return True

    async def let_go(self, counts: bool) -> None:
        """Free the slot, or keep it for the rest of the window. Safe to repeat."""
        for number, mine in list(self._tried.items()):
            after = self._value("failed", self.limit.window_s) if counts else None
            await self._store.sessions.write(
                self.key,
                {number: after},
                self.limit.window_s,
                create=False,
                expect={number: mine},
            )
            del self._tried[number]

    def _refuse_if_failed(self, held: list[bytes], now: float) -> None:
        if all(value.endswith(b"failed") for value in held):
            # The record ends with the window by the store's clock, wherever ours was set meanwhile.
            wait_s = min(self.limit.window_s, min(map(_until, held)) - now)
            raise TooManyFailures(self.limit, max(1, math.ceil(round(wait_s, 3))))

    async def _write(self, number: str, expected: bytes | None) -> bool:
        mine = self._tried[number] = self._value(self._random, checking_s)
        written = await self._store.sessions.write(
            self.key,
            {number: mine},
            self.limit.window_s,
            create=True,
            expect={number: expected},
        )
        if written is None:
            del self._tried[number]
        return written is not None

    def _value(self, what: str, for_s: float) -> bytes:
        return f"{self._store.clock() + for_s:.6f} {what}".encode()


def _until(held: bytes) -> float:
    return float(held.partition(b" ")[0])


def network(address: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 that a single IPv6 customer is
    handed.
    """
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address  # a Unix socket's
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)
