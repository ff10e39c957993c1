"""A session's names and values in memory, and what has changed since they were loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .codec import IMMUTABLE, decode, decode_fields, encode
from .engines import Fields
from .errors import BadRecord

OWN: Final = ":"
"""What the names of our own fields begin with; a handler's names must not."""
CREATED: Final = ":created"
ACTIVE: Final = ":active"
"""Of a session that is listed as a user's: its handle, and when its last use was noted."""


class Record:
    """The session of one request. Nothing here touches the store."""

    def __init__(self) -> None:
        self._stored: Fields = {}
        self._values: dict[str, Any] = {}
        # Names that were assigned, deleted, or whose value was handed out and may be changed from
        # outside: only these are compared at commit.
        self._touched: set[str] = set()

    def replace(self, fields: Fields) -> None:
        """Take over what was loaded. Raises `BadRecord`, and keeps nothing, if it is not ours."""
        self.forget()
        values = decode_fields(fields)
        if not isinstance(values.get(CREATED), int | float):
            raise BadRecord(f"a record that began at {values.get(CREATED)!r}")
        self._stored, self._values = fields, values

    def forget(self) -> None:
        """Be empty, with nothing to save."""
        self._stored, self._values = {}, {}
        self._touched.clear()

    @staticmethod
    def check(name: object) -> None:
        """Raise `TypeError` or `ValueError` unless a handler may use `name`."""
        if type(name) is not str:
            raise TypeError(f"the name of a session's value is a str, not {name!r}")
        if name.startswith(OWN):
            raise ValueError(f"the name {name!r} begins with {OWN!r}, which is for our own fields")

    def get(self, name: str, default: Any = None) -> Any:
        if name not in self._values or name.startswith(OWN):
            return default
        value = self._values[name]
        if type(value) not in IMMUTABLE:
            self._touched.add(name)
        return value

    def set(self, name: str, value: object) -> None:
        encode(value)  # a value that cannot be kept is refused here, at the line that assigns it
        self._values[name] = value
        self._touched.add(name)

    def remove(self, name: str) -> None:
        del self._values[name]
        self._touched.add(name)

    def hold(self, name: str, raw: bytes) -> None:
        """Take over one value that the store is known to hold."""
        self._stored[name] = raw
        self._values[name] = decode(raw)

    def __contains__(self, name: object) -> bool:
        return name in self._values and not str(name).startswith(OWN)

    def names(self) -> list[str]:
        """Return the names that handlers have set, oldest first."""
        return [name for name in self._values if not name.startswith(OWN)]

    def begin(self, now: float) -> None:
        """Note when the session began, in seconds since the epoch."""
        self.set(CREATED, now)

    @property
    def created(self) -> float:
        """When the session began, in seconds since the epoch."""
        began: float = self._values[CREATED]
        return began

    def own(self, name: str) -> Any:
        """Return one of our own fields, or None."""
        return self._values.get(name)

    def fields(self) -> Fields:
        """Return the encodings that the store was last seen to hold, by name."""
        return dict(self._stored)

    def stored(self, name: str) -> bytes | None:
        """Return the encoding of `name` that the store was last seen to hold."""
        return self._stored.get(name)

    def stored_as(self, changes: Mapping[str, bytes | None]) -> None:
        """Note that the store now holds `changes`."""
        for name, raw in changes.items():
            if raw is None:
                self._stored.pop(name, None)
            else:
                self._stored[name] = raw

    def changes(self) -> dict[str, bytes | None]:
        """Return what the store must be told: encodings by name, None for what is to go."""
        changes: dict[str, bytes | None] = {}
        for name in self._touched:
            raw = encode(self._values[name]) if name in self._values else None
            if raw != self._stored.get(name):
                changes[name] = raw
        return changes
