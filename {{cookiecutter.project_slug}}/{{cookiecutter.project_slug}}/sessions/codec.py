"""Values to bytes and back: MessagePack through msgspec, never pickle.

None, bool, int (64 bits), float, str, bytes, datetime, list, dict and what nests them come back as
they were, a datetime with a time zone as the same moment in UTC. A tuple, set or frozenset comes
back as a list. Anything else is refused when it is assigned, not when it is saved: a value that
would silently come back as something else (a Decimal, an Enum, an object) is a bug waiting.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from .errors import BadRecord

_NAIVE_DATETIME: Final = 1
"""Extension code of a datetime without time zone; MessagePack's own timestamp needs a zone."""

_SCALARS: Final = frozenset({type(None), bool, int, float, str, bytes})
_SEQUENCES: Final = frozenset({list, tuple, set, frozenset})
_UNDECODABLE: Final = (ValueError, RecursionError, OverflowError, TypeError)
IMMUTABLE: Final = _SCALARS | {datetime}
"""Types whose values cannot change behind the session's back."""


def encode(value: object, name: str = "the value") -> bytes:
    """Return `value` as MessagePack.

    Raises `TypeError` for a value that would not come back as it is, with `name`, the place inside
    of it, and its type.
    """
    try:
        return _encoder.encode(value if type(value) in _SCALARS else _plain(value, name))
    except OverflowError:
        raise TypeError(
            f"{name} holds an int that does not fit into 64 bits, or a datetime that is outside of "
            "the years 1 to 9999 in UTC: store it as a str"
        ) from None
    except UnicodeEncodeError as error:
        raise TypeError(
            f"{name} holds a str that is not valid Unicode ({error}): store it as bytes"
        ) from None
    except RecursionError:
        raise TypeError(f"{name} is nested too deeply, or contains itself") from None


def decode(raw: bytes) -> Any:
    """Return the value that `encode` turned into `raw`.

    Raises `BadRecord` for anything else. Nothing in it is ever executed or imported.
    """
    try:
        return _decoder.decode(raw)
    except _UNDECODABLE as error:
        raise BadRecord(f"{len(raw)} bytes that are not a MessagePack value: {error}") from None


def check_text(what: str, text: object) -> None:
    """Raise `TypeError` unless `text` is a str that can be kept."""
    if type(text) is not str:
        raise TypeError(f"{what} is a str, not {text!r}")
    encode(text, what)


def decode_fields(fields: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the values of a record, by name. Raises `BadRecord` if one cannot be decoded."""
    try:
        return {name: _decoder.decode(raw) for name, raw in fields.items()}
    except _UNDECODABLE as error:
        raise BadRecord(f"one of {len(fields)} fields cannot be decoded: {error}") from None


def _plain(value: Any, place: str) -> object:
    """Return `value` rebuilt from list and dict, with every leaf checked."""
    kind = type(value)
    if kind is dict:
        for key in value:
            if type(key) not in _SCALARS:
                raise TypeError(f"a key of {place} is {_shown(key)}: use a str or an int")
        return {
            key: item if type(item) in _SCALARS else _plain(item, f"{place}[{key!r}]")
            for key, item in value.items()
        }
    if kind in _SEQUENCES:
        return [
            item if type(item) in _SCALARS else _plain(item, f"{place}[{index}]")
            for index, item in enumerate(value)
        ]
    if kind is datetime and value.tzinfo is None:
        return msgspec.msgpack.Ext(_NAIVE_DATETIME, value.isoformat().encode())
    if kind is datetime:
        return value
    raise TypeError(
        f"{place} is {_shown(value)}, which a session cannot keep: store None, bool, int, float, "
        "str, bytes, datetime, or lists, tuples, sets and dicts of them"
    )


def _shown(value: object) -> str:
    return f"{value!r:.60} of type {type(value).__module__}.{type(value).__qualname__}"


def _extension(code: int, data: memoryview) -> object:
    if code != _NAIVE_DATETIME:
        raise ValueError(f"unknown extension {code}")
    return datetime.fromisoformat(bytes(data).decode())


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(ext_hook=_extension)
