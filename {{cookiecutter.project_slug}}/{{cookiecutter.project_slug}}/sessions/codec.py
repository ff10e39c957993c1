"""Values to bytes and back: MessagePack through msgspec, never pickle.

None, bool, int (64 bits), float, str, bytes, datetime, list, dict and what nests them come back as
they were, a datetime with a time zone as the same moment in UTC. A tuple, set or frozenset comes
back as a list. Anything else is refused when it is assigned, not when it is saved: a value that
would silently come back as something else (a Decimal, an Enum, an object) is a bug waiting.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec

from .errors import BadRecord

_NAIVE_DATETIME: Final = 1
"""Extension code of a datetime without time zone; MessagePack's own timestamp needs a zone."""

_SCALARS: Final = frozenset({type(None), bool, int, float, str, bytes})
_SEQUENCES: Final = frozenset({list, tuple, set, frozenset})
_UNDECODABLE: Final = (
    msgspec.DecodeError, ValueError, RecursionError, OverflowError, TypeError
)  # fmt: skip
IMMUTABLE: Final = _SCALARS | {datetime}
"""Types whose values cannot change behind the session's back."""


def encode(value: object) -> bytes:
    """Return `value` as MessagePack.

    Raises `TypeError` for a value that would not come back, naming its type.
    """
    if type(value) not in _SCALARS:
        value = _plain(value)
    try:
        return _encoder.encode(value)
    except OverflowError:
        raise TypeError(f"{value!r} does not fit into 64 bits: store it as a str") from None
    except UnicodeEncodeError as error:
        raise TypeError(f"the str is not valid Unicode ({error}): store it as bytes") from None


def decode(raw: bytes) -> Any:
    """Return the value that `encode` turned into `raw`.

    Raises `BadRecord` for bytes that are not ours. Nothing in them is ever executed or imported.
    """
    try:
        return _decoder.decode(raw)
    except _UNDECODABLE as error:
        raise BadRecord(f"{len(raw)} bytes that are no MessagePack value: {error}") from None


def decode_fields(fields: dict[str, bytes]) -> dict[str, Any]:
    """Return the values of a record, by name. Raises `BadRecord` if one of them is not ours."""
    try:
        return {name: _decoder.decode(raw) for name, raw in fields.items()}
    except _UNDECODABLE as error:
        raise BadRecord(f"{len(fields)} fields, of which one is no value: {error}") from None


def _plain(value: object) -> object:
    """`value` with containers rebuilt from list and dict and every leaf checked."""
    try:
        return _checked(value)
    except RecursionError:
        raise TypeError("the value is nested too deeply, or contains itself") from None


def _checked(value: Any) -> object:
    kind = type(value)
    if kind in _SCALARS:
        return value
    if kind is dict:
        for key in value:
            if type(key) not in _SCALARS:
                raise TypeError(f"a dict's key cannot be {_named(key)}: use a str or an int")
        return {key: _checked(item) for key, item in value.items()}
    if kind in _SEQUENCES:
        return [_checked(item) for item in value]
    if kind is datetime:
        if value.tzinfo is None:
            return msgspec.msgpack.Ext(_NAIVE_DATETIME, value.isoformat().encode())
        return value
    raise TypeError(
        f"a session cannot keep {_named(value)}: store None, bool, int, float, str, bytes, "
        "datetime, or lists, tuples, sets and dicts of them"
    )


def _named(value: object) -> str:
    return f"{value!r:.60} of type {type(value).__module__}.{type(value).__qualname__}"


def _extension(code: int, data: memoryview) -> object:
    if code != _NAIVE_DATETIME:
        raise ValueError(f"unknown extension {code}")
    return datetime.fromisoformat(bytes(data).decode())


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(ext_hook=_extension)
