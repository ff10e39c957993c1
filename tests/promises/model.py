"""What a session and its requests are, in plain Python: what may come out of requests that overlap.

A request is a row of steps, each of which happens at once. Whatever order the real requests' trips
to the store are in, the outcome must be that of some order of these steps.
"""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from .orders import interleavings

OLD: Final = "old"
"""The id that all requests come with."""

KINDS: Final = (
    "read",
    "set",
    "delete",
    "modify",
    "flash",
    "take",
    "take and fail",
    "regenerate",
    "login",
    "destroy",
    "end from elsewhere",
)
STARTS: Final = ("logged in", "anonymous", "no session")
"""What the visitor has before the requests come."""


@dataclass
class Record:
    """A session that is alive."""

    data: dict[str, Any] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    owned: bool = False
    """Whether it is on the user's list."""


class Seen(NamedTuple):
    """What a request with some cookie finds."""

    data: dict[str, Any]
    messages: list[str]
    owned: bool


NOBODY: Final = Seen({}, [], False)


class Answer(NamedTuple):
    """What a request was answered."""

    status: int
    cookie: str
    """Whether it "keeps", "clears" or sets a "new" cookie."""
    told: Any
    """What it has read."""


class Outcome(NamedTuple):
    """Everything that can be seen of requests, and after them."""

    answers: list[Answer]
    old: Seen
    """What the id finds that all have come with."""
    new: list[Seen]
    """What the new cookies find, in the order of the requests."""
    listed: int
    """How many sessions are on the user's list."""


class World:
    """The sessions of one visitor and user."""

    def __init__(self, start: str) -> None:
        self.alive: dict[str, Record] = {}
        self.moved: dict[str, str] = {}
        """The new id of each that has moved."""
        self.ended: set[str] = set()
        self.listed: set[str] = set()
        """Ids that are listed before they are stored."""
        if start != "no session":
            first = Record({"kept": 0, "items": []}, ["hello"], start == "logged in")
            self.alive[OLD] = first

    def current(self, session_id: str) -> Record | None:
        """The record that an id had, wherever it is now."""
        while session_id in self.moved:
            session_id = self.moved[session_id]
        return self.alive.get(session_id)

    def seen(self, session_id: str) -> Seen:
        record = self.alive.get(session_id)
        if record is None:
            return NOBODY
        return Seen(record.data, sorted(record.messages), record.owned)


class Request:
    """One request, as a row of steps."""

    def __init__(self, world: World, number: int, kind: str, start: str) -> None:
        self.world = world
        self.number = number
        self.kind = kind
        self.status = 200
        self.cookie = "keeps"
        self.told: Any = None
        self.new = f"new{number}"
        """The id that it may make."""
        self.comes_with_id = start != "no session"
        self.state = ""
        self.found = Record()
        act = getattr(self, "_" + kind.replace(" ", "_"))
        self.steps: list[Callable[[], None]] = [self._load, act]
        if kind == "end from elsewhere":
            self.steps = [act]
        if kind == "take and fail":
            self.steps = [self._load, self._take, act]
        if kind in ("regenerate", "login"):
            self.steps = [self._load, self._list, act]

    def answer(self) -> Answer:
        return Answer(self.status, self.cookie, self.told if self.status == 200 else None)

    def _load(self) -> None:
        self.state = "new"
        if self.comes_with_id:
            self.state = "alive" if OLD in self.world.alive else "lost"
        if self.state == "alive":
            self.found = copy.deepcopy(self.world.alive[OLD])
        if self.kind == "read":
            self.told = self.found.data

    def _record(self) -> Record | None:
        """The record it has loaded, if that is still alive."""
        return self.world.alive.get(OLD) if self.state == "alive" else None

    def _begin(self, record: Record) -> None:
        if self.new in self.world.ended:
            self.status = 409
        else:
            self.world.alive[self.new], self.cookie = record, "new"

    def _change(self, change: Callable[[Record], None]) -> None:
        record = self._record()
        if record is not None:
            change(record)
        elif self.state == "new":
            begun = Record()
            change(begun)
            self._begin(begun)
        else:
            self.status = 409

    def _read(self) -> None:
        pass

    def _set(self) -> None:
        self._change(lambda record: record.data.update({f"set{self.number}": self.number}))

    def _delete(self) -> None:
        if "kept" in self.found.data:
            self._change(lambda record: record.data.pop("kept", None))

    def _modify(self) -> None:
        def append(record: Record) -> None:
            record.data["items"] = [*record.data.get("items", []), self.number]

        self._change(append)

    def _flash(self) -> None:
        record = self.world.current(OLD) if self.state == "alive" else None
        if record is not None:  # a message follows a session that has moved
            record.messages.append(f"message {self.number}")
        else:
            self._change(lambda record: record.messages.append(f"message {self.number}"))

    def _take(self) -> None:
        record, self.told = self._record(), []
        if record is not None:
            self.told = [text for text in record.messages if text in self.found.messages]
            record.messages = [text for text in record.messages if text not in self.told]

    def _take_and_fail(self) -> None:
        self.status = 500
        record = self.world.current(OLD)
        if record is not None:
            record.messages += self.told

    def _list(self) -> None:
        if self.kind == "login" or self.found.owned:
            self.world.listed.add(self.new)

    def _regenerate(self) -> None:
        record = self._record()
        if record is not None and self.new not in self.world.ended:
            self.world.alive[self.new] = self.world.alive.pop(OLD)
            self.world.moved[OLD] = self.new
            self.cookie = "new"

    def _login(self) -> None:
        record = self._record()
        if record is not None:
            self._regenerate()
        elif self.state != "alive":  # one that comes with a dead id begins a session
            self._begin(Record())
        if self.cookie == "new":
            self.world.alive[self.new].data[f"set{self.number}"] = self.number
            self.world.alive[self.new].owned = True
        else:
            self.status = 409

    def _destroy(self) -> None:
        record = self._record()
        if self.state == "alive":
            self.cookie = "clears"
        if record is not None:
            del self.world.alive[OLD]
            self.world.ended.add(OLD)
            if record.messages:  # they reach the next page, in a session of their own
                self._begin(Record(messages=record.messages))

    def _end_from_elsewhere(self) -> None:
        owned = {session_id for session_id, record in self.world.alive.items() if record.owned}
        self.world.ended |= owned | self.world.listed
        for session_id in owned:
            del self.world.alive[session_id]


class Known(NamedTuple):
    """What is known of two requests: how many steps of `other` were done when `one` loaded the
    session.
    """

    one: int
    other: int
    least: int
    most: int

    def agrees(self, order: list[int]) -> bool:
        """Whether an order of steps may be the one that was seen."""
        steps = order[: order.index(self.one)].count(self.other)
        return self.least <= steps <= self.most


def known(start: str, kinds: tuple[str, ...], trips: list[tuple[int, str]]) -> frozenset[Known]:
    """Return what the order of the trips tells of requests of these kinds."""
    found = set()
    for one, other in itertools.permutations(range(len(kinds)), 2):
        if kinds[one] == "end from elsewhere" or (one, "load") not in trips:
            continue
        before = [trip for trip in trips[: trips.index((one, "load"))] if trip[0] == other]
        steps = len(Request(World(start), other, kinds[other], start).steps)
        if len(before) == sum(trip[0] == other for trip in trips):
            found.add(Known(one, other, steps, steps))
        elif all(operation == "load" for _, operation in before):
            found.add(Known(one, other, 0, steps > 1))  # it has loaded at most, if it does that
    return frozenset(found)


@functools.cache
def outcomes(
    start: str, kinds: tuple[str, ...], facts: frozenset[Known] = frozenset()
) -> list[Outcome]:
    """Return everything that may come out of requests of these kinds, as far as known."""
    world = World(start)
    counts = tuple(len(Request(world, 0, kind, start).steps) for kind in kinds)
    found: list[Outcome] = []
    for order in interleavings(counts):
        if all(fact.agrees(order) for fact in facts):
            outcome = _outcome(start, kinds, order)
            if outcome not in found:
                found.append(outcome)
    return found


def _outcome(start: str, kinds: Sequence[str], order: list[int]) -> Outcome:
    world = World(start)
    requests = [Request(world, number, kind, start) for number, kind in enumerate(kinds)]
    rows = [iter(request.steps) for request in requests]
    for number in order:
        next(rows[number])()
    return Outcome(
        [request.answer() for request in requests],
        world.seen(OLD),
        [world.seen(request.new) for request in requests if request.cookie == "new"],
        sum(record.owned for record in world.alive.values()),
    )
