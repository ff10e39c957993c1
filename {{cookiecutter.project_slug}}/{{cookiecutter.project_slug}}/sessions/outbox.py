"""The notifications of one request: what waits to be stored, and what it took from the store."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Final, Literal

from .engines import Fields

Kind = Literal["notification", "message"]
"""Named notifications and queued messages lie in records of their own, so that all messages can be
taken in one atomic step without touching the named ones."""
KINDS: Final[tuple[Kind, ...]] = ("notification", "message")


class Outbox:
    """Nothing here touches the store."""

    def __init__(self) -> None:
        self._changes: dict[Kind, dict[str, bytes | None]] = {"notification": {}, "message": {}}
        self._taken: list[tuple[Kind, Fields]] = []

    def put(self, name: str, raw: bytes | None) -> None:
        """Store the notification `name` at commit; None removes it."""
        self._changes["notification"][name] = raw

    def waiting(self, name: str) -> bool:
        """Whether `name` was set or removed in this request."""
        return name in self._changes["notification"]

    def withdraw(self, name: str) -> bytes | None:
        """Return what was to be stored as `name`; what the store holds goes all the same."""
        raw = self._changes["notification"][name]
        self._changes["notification"][name] = None
        return raw

    def queue(self, raw: bytes, now: float) -> None:
        """Store a message at commit. Its field sorts by time, then by order within the request."""
        messages = self._changes["message"]
        field = f"{int(now * 1e6):020d}-{len(messages):04d}-{secrets.token_hex(4)}"
        messages[field] = raw

    def unqueue(self) -> Fields:
        """Return the messages that were to be stored, by field, and keep none."""
        messages = {name: raw for name, raw in self._changes["message"].items() if raw is not None}
        self._changes["message"] = {}
        return messages

    def queued(self) -> Fields:
        """Return the messages that are to be stored, by field."""
        return {name: raw for name, raw in self._changes["message"].items() if raw is not None}

    def carry(self, kind: Kind, fields: Fields) -> None:
        """Store what was pending under an id that ends; what this request set is newer."""
        self._changes[kind] = {**fields, **self._changes[kind]}

    def changes(self, kind: Kind) -> dict[str, bytes | None]:
        """Return what the store must be told."""
        return dict(self._changes[kind])

    def sent(self, kind: Kind, changes: Mapping[str, bytes | None]) -> None:
        """Note that the store has `changes`. What was set while they travelled stays to be sent."""
        kept = self._changes[kind]
        self._changes[kind] = {
            name: raw for name, raw in kept.items() if name not in changes or changes[name] != raw
        }

    def brings(self) -> bool:
        """Whether there is something to store, not merely to remove."""
        return any(
            raw is not None for changes in self._changes.values() for raw in changes.values()
        )

    def __bool__(self) -> bool:
        return any(self._changes.values())

    def took(self, kind: Kind, fields: Fields) -> None:
        """Note what the store gave away, in case the response fails."""
        if fields:
            self._taken.append((kind, fields))

    def give_back(self) -> list[tuple[Kind, Fields]]:
        """Return all that was taken, and forget it."""
        taken, self._taken = self._taken, []
        return taken
