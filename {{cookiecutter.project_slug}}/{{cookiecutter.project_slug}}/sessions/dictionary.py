"""A session's names and values in memory, and what has changed since they were loaded."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Iterator, MutableMapping
from typing import Any, NoReturn

from .codec import IMMUTABLE, check_text, decode, decode_fields, encode
from .engines import Changes
from .record import OWN, State


class Dictionary(MutableMapping[str, Any]):
    """A dictionary with names in alphabetical order: the same after a reload, in every process."""

    state: str | None = None
    """A `State`; None until it is loaded."""
    unloaded = (
        ". In a handler with the mixins, its prepare() must `await super().prepare()` first, and a "
        "base class whose prepare() reads it needs the mixins among its own bases; initialize() and "
        "check_xsrf_cookie() come too early; in a handler without the mixins, use "
        "`async with SessionManager(self) as session:`"
    )
    """Why, or what to write, where nothing was loaded."""
    closed = ""
    """Why nothing can be changed any more; "" while it can."""

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}
        """The encodings that the store was last seen to hold, our own fields included."""
        self.touched: set[str] = set()
        """Names that were assigned, deleted, or whose value was handed out and may be changed from
        outside: only these are compared at commit.
        """
        self._values: dict[str, Any] = {}

    def check_loaded(self) -> None:
        """Raise `RuntimeError` if there is nothing to read yet."""
        if self.state is None:
            raise RuntimeError(f"the session is not loaded{self.unloaded}")

    def check_open(self) -> None:
        """Raise `RuntimeError` if a change could not be saved any more."""
        self.check_loaded()
        if self.closed:
            raise RuntimeError(self.closed)

    @abstractmethod
    def check_writable(self) -> None:
        """Raise `RuntimeError` if a value could not be saved, in a new session if need be."""

    def __getitem__(self, name: str) -> Any:
        if self.state is None:
            self.check_loaded()
        value = self._values[name]
        if name[:1] == OWN:
            raise KeyError(name)
        if type(value) not in IMMUTABLE:
            if self.closed:
                return decode(encode(value))
            self.touched.add(name)
        return value

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of `name`, or `default` if there is none."""
        try:
            return self[name]
        except KeyError:
            return default

    def __setitem__(self, name: str, value: object) -> None:
        """Set `name`. Raises `TypeError` for a value that could not be given back as it is."""
        if name not in self:
            self.check_name(name)
        encode(value, f"session[{name!r}]")
        self.check_writable()
        self._values[name] = value
        self.touched.add(name)

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        self.check_writable()
        del self._values[name]
        self.touched.add(name)

    def __contains__(self, name: object) -> bool:
        if self.state is None:
            self.check_loaded()
        return name in self._values and str(name)[:1] != OWN

    def __iter__(self) -> Iterator[str]:
        self.check_loaded()
        return iter(sorted(name for name in self._values if not name.startswith(OWN)))

    def __len__(self) -> int:
        self.check_loaded()
        return sum(not name.startswith(OWN) for name in self._values)

    def set(self, name: str, value: object) -> None:
        """Set `name`, as `session[name] = value` does."""
        self[name] = value

    def delete(self, *names: str) -> None:
        """Remove the names. Those that are not there are passed over."""
        for name in names:
            self.pop(name, None)

    def clear(self) -> None:
        """Remove all names."""
        self.delete(*self)

    def popitem(self) -> tuple[str, Any]:
        """Remove and return the last name and its value. Raises `KeyError` if there is none."""
        if not self:
            raise KeyError("popitem(): the session is empty")
        name = max(self)
        return name, self.pop(name)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a session belongs to its request: copy dict(session)")

    @staticmethod
    def check_name(name: str) -> None:
        """Raise `TypeError` or `ValueError` unless a handler may use `name`."""
        check_text("the name of a session's value", name)
        if name.startswith(OWN):
            raise ValueError(f"the name {name!r} begins with {OWN!r}, which is for our own fields")

    # For the package itself

    def own(self, name: str) -> Any:
        """Return one of our own fields, or None."""
        self.check_loaded()
        return self._values.get(name)

    def set_own(self, name: str, value: object) -> None:
        """Set one of our own fields; None removes it."""
        self.touched.add(name)
        if value is None:
            self._values.pop(name, None)
        else:
            self._values[name] = value

    def set_raw(self, name: str, raw: bytes | None) -> None:
        """Set a name, or one of our own fields, to what is encoded; None removes it."""
        self.set_own(name, None)
        if raw is not None:
            self._values[name] = decode(raw)

    def replace(self, fields: dict[str, bytes]) -> None:
        """Take over what was loaded. Raises `BadRecord`, and changes nothing, if it is not ours."""
        self._values, self.stored, self.touched = decode_fields(fields), fields, set()

    def close(self, why: str) -> None:
        """Refuse changes from now on, and detach the values that were handed out."""
        self.closed = why
        for name in self.touched:
            if type(value := self._values.get(name)) not in IMMUTABLE:
                with contextlib.suppress(TypeError):  # it cannot be kept, and will not be
                    self._values[name] = decode(encode(value))

    def changes(self) -> dict[str, bytes | None]:
        """Return what the store must be told: encodings by name, None for what is to go."""
        changes: dict[str, bytes | None] = {}
        stored = {} if self.state is State.ENDED else self.stored
        for name in self.touched:
            raw = encode(self._values[name], f"session[{name!r}]") if name in self._values else None
            if raw != stored.get(name):
                changes[name] = raw
        return changes

    def merge(self, fields: dict[str, bytes], *, replace_unchanged: bool = False) -> None:
        """Take over what others have stored. Values that were handed out stay, since the handler may
        change them yet; `replace_unchanged`: only those that it has changed.
        """
        names = {**self.stored, **fields}
        news = {n: fields.get(n) for n in names if fields.get(n) != self.stored.get(n)}
        if replace_unchanged:
            self.untouch(news)
        self.written({name: news[name] for name in news.keys() - self.touched})

    def untouch(self, news: Changes) -> None:
        """Treat values that were handed out, but not changed, as untouched if `news` differs."""
        changed = self.changes().keys()
        self.touched -= {n for n in news.keys() - changed if news[n] != self.stored.get(n)}

    def written(self, changes: Changes) -> None:
        """Note that the store now holds `changes`, those of others included."""
        is_empty = self.state is State.ENDED  # destroyed meanwhile, it stays so
        for name, raw in changes.items():
            if raw is None:
                self.stored.pop(name, None)
            else:
                self.stored[name] = raw
            if name not in self.touched and not is_empty:
                self._values.pop(name, None)
                if raw is not None:
                    self._values[name] = decode(raw)
