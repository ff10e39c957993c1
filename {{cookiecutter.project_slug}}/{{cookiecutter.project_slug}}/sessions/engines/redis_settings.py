"""What `settings["pycket"]["storage"]` may say about Redis, and everything that is wrong with it."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal
from urllib.parse import parse_qs, urlsplit

from msgspec import Meta, Struct
from redis import CredentialProvider
from redis.asyncio import SSLConnection
from redis.asyncio.connection import parse_url
from redis.exceptions import RedisError

from .base import fits, unknown_names
from .redis_connection import tls_of
from .redis_sentinel import Sentinels

_SSL: Final = [name for name in inspect.signature(SSLConnection).parameters if name[:4] == "ssl_"]

_Text = Annotated[str, Meta(min_length=1)]
_Port = Annotated[int, Meta(gt=0, lt=65536)]
_Host = Annotated[str, Meta(pattern=r"^([^]\s/@:[]+|[^]\s/@:[]*:[^]\s/@[]*:[^]\s/@[]*)\Z")]
_Path = Annotated[str, Meta(pattern=r"^(?!\w+://).+\Z")]
_Number = Annotated[int, Meta(ge=0, lt=2**31)]
_Nodes = Annotated[list[tuple[_Host, _Port]], Meta(min_length=1)]


class _Sentinel(Struct, forbid_unknown_fields=True):
    nodes: _Nodes
    service: _Text
    options: dict[str, Any] = {}


_NODES: Final = "[('host1', 6379), ('host2', 6379)]"
_KNOWN: Final[dict[str, tuple[Any, str]]] = {
    # name: what it must be, and how to write it
    "host": (_Host, "'localhost', and its port in 'port'"),
    "port": (_Port, "6379"),
    "username": (_Text, "a text"),
    "password": (_Text, "a text"),
    "url": (_Text, "'redis://host:6379', 'rediss://host:6379' or 'unix:///path'"),
    "unix_socket_path": (_Path, "'/run/redis.sock'"),
    "db_sessions": (_Number, "0"),
    "db_notifications": (_Number, "1"),
    "ssl": (bool, "True or False"),
    "client_name": (Annotated[str, Meta(pattern=r"^[!-~]+\Z")], "a name without blanks"),
    "credential_provider": (CredentialProvider, "redis-py's kind"),
    "protocol": (Literal[2, 3], "2 or 3"),
    "cluster": (bool, "True or False"),
    "nodes": (_Nodes, _NODES),
    "sentinel": (
        _Sentinel,
        "{'service': 'mymaster', 'nodes': " + _NODES + "}, and in 'options' what the sentinels' "
        "connections need: username, password, ssl, protocol",
    ),
    **dict.fromkeys(_SSL, (Any, "")),
}

_LOGIN: Final = (
    *("username", "password", "credential_provider", "client_name", "protocol", "ssl"),
    *_SSL,
)
"""Options that connections to sentinels may need as well."""

_TIMEOUT: Final = "storage_timeout, beside storage, bounds every call: set that"
_RETRY: Final = "nothing that changes a record is sent twice, and reads are repeated as it is"
_POOL: Final = "the engine opens its connections itself: write host and port, or url"
_BYTES: Final = "records are bytes"
_NO_EFFECT: Final = {
    # name: why it cannot have an effect, and what to write instead
    "max_connections": "one connection per database carries all requests",
    "health_check_interval": "each reply is waited for with a timeout, and keepalive is on",
    "socket_keepalive": "keepalive is always on",
    "socket_timeout": _TIMEOUT,
    "socket_connect_timeout": _TIMEOUT,
    "timeout": _TIMEOUT,
    "retry": _RETRY,
    "retry_on_timeout": _RETRY,
    "retry_on_error": _RETRY,
    "cluster_error_retry_attempts": _RETRY,
    "connection_pool": _POOL,
    "connection_class": _POOL,
    "single_connection_client": _POOL,
    "decode_responses": _BYTES,
    "encoding": _BYTES,
    "encoding_errors": _BYTES,
    "db": "sessions and notifications are apart: write db_sessions and db_notifications",
    "read_from_replicas": "a replica may not have yet what was written before",
}


def flat(storage: Mapping[str, Any]) -> dict[str, Any]:
    """Return `storage` with the parts of its `url` in place of it. Raises `ValueError`."""
    options = dict(storage)
    if (url := options.pop("url", None)) is not None:
        parts: dict[str, Any] = dict(parse_url(url))
        if parts.pop("connection_class", None) is SSLConnection:
            parts["ssl"] = True
        if "path" in parts:
            parts["unix_socket_path"] = parts.pop("path")
        options |= parts
    return options


def faults(storage: Mapping[str, Any]) -> list[str]:
    """Return everything that is wrong with `storage`, a sentence each."""
    found = _unknown("storage", storage)
    options = dict(storage)
    if fits(storage.get("url"), _KNOWN["url"][0]):
        wrong = _url_faults(storage)
        found += wrong
        options = options if wrong else flat(storage)
    found += _misfits("storage", options) + _without_tls("storage", options)
    if fits(options.get("sentinel"), _Sentinel):
        own = options["sentinel"].get("options", {})
        found += _unknown(_OPTIONS, own, _LOGIN) + _misfits(_OPTIONS, own)
        found += _without_tls(_OPTIONS, own)
    found += [
        f"storage has {' and '.join(map(repr, both))}: {sentence}"
        for both, sentence in _APART.items()
        if all(options.get(name) for name in both)
    ]
    if options.get("cluster") and any(options.get(name) for name in _DATABASES):
        found.append("storage names a database, and a cluster has number 0 only: leave it out")
    if options.get("nodes") and not options.get("cluster"):
        found.append("storage['nodes'] is for a cluster: add 'cluster': True, or write 'sentinel'")
    return found or _refusals(options)


_OPTIONS: Final = "storage['sentinel']['options']"
_DATABASES: Final = ("db", "db_sessions", "db_notifications")
_APART: Final = {
    ("sentinel", "cluster"): "a server has one of them: keep that one",
    ("sentinel", "host"): "Sentinel says where the server is: leave the host out",
    ("sentinel", "port"): "Sentinel says where the server is: leave the port out",
    ("sentinel", "unix_socket_path"): "Sentinel says where the server is: leave the socket out",
    ("cluster", "unix_socket_path"): "the nodes of a cluster are reached by host and port",
    ("host", "unix_socket_path"): "keep the one that leads to the server",
    ("port", "unix_socket_path"): "keep the one that leads to the server",
    ("ssl", "unix_socket_path"): "TLS is for host and port: leave 'ssl' out",
    ("nodes", "host"): "write all hosts in 'nodes'",
    ("nodes", "port"): "write all hosts and their ports in 'nodes'",
    ("credential_provider", "password"): "keep the one that knows the password",
    ("credential_provider", "username"): "keep the one that knows the password",
}


def _unknown(where: str, names: Mapping[str, Any], known: Iterable[str] = _KNOWN) -> list[str]:
    idle = [f"{where} has {n!r}, in vain: {_NO_EFFECT[n]}" for n in names if n in _NO_EFFECT]
    return idle + unknown_names(where, [n for n in names if n not in _NO_EFFECT], known)


def _misfits(where: str, options: Mapping[str, Any]) -> list[str]:
    found = []
    for name, value in options.items():
        kind, example = _KNOWN.get(name, (Any, ""))
        hides = name in ("password", "url", "sentinel", "credential_provider") or "@" in repr(value)
        shown = f"of type {type(value).__name__}" if hides else repr(value)
        if not fits(value, kind):
            found.append(f"{where}[{name!r}] is {shown}: write {example}")
    return found


def _url_faults(storage: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with `url`; its password is not shown."""
    where, url, form = "storage['url']", storage["url"], _KNOWN["url"][1]
    try:
        parts = urlsplit(url)
        query = parse_qs(parts.query, keep_blank_values=True)
        found = _unknown(where, {name: value for name, value in query.items() if name != "db"})
        found += [
            f"{where} has {name!r} after the question mark: {form} is the form"
            for name in query.keys() & {"host", "port", "username", "password", "ssl"}
        ]
        database = parts.path.strip("/") if parts.scheme != "unix" else ""
        if parts.scheme not in ("redis", "rediss", "unix"):
            found.append(f"{where} begins with {parts.scheme!r}: write {form}")
        elif database and not database.isdecimal():
            shown = "" if "@" in url.rpartition("://")[2].partition("/")[2] else f" {database!r}"
            number = "write a number such as /0, and a / in a password as %2F"
            found.append(f"{where} names the database{shown}: {number}")
        elif parts.scheme == "unix" and not parts.path:
            found.append(f"{where} names no socket: write unix:///path")
        elif database and "db" in query:
            found.append(f"{where} names two databases: keep one")
        elif parts.port == 0:
            raise ValueError
        elif not found:
            taken = flat({"url": url})
            names = {*taken, *_DATABASES} if "db" in taken else taken
            both = [name for name in storage if name in names]
            found = [f"{where} and storage[{name!r}] say the same: keep one" for name in both]
    except ValueError:  # without its text, which may hold a part of a password
        found = [
            f"{where} cannot be read: write {form}, a number as port, the special characters of a "
            "password as %40 and the like, and a number where redis-py wants one behind the '?'"
        ]
    return found


def _without_tls(where: str, options: Mapping[str, Any]) -> list[str]:
    names = [] if options.get("ssl") else [name for name in options if name in _SSL]
    return [f"{where}[{name!r}] needs TLS: add 'ssl': True, or leave it out" for name in names]


_REFUSALS: Final = (RedisError, OSError, ValueError, TypeError, AttributeError, OverflowError)


def _refusals(options: Mapping[str, Any]) -> list[str]:
    """Return what redis-py and the TLS library say to the values."""
    found, sentinel = [], options.get("sentinel") or {}
    for where, given in (("storage", options), (_OPTIONS, sentinel.get("options", {}))):
        try:
            tls_of(given)
        except _REFUSALS as error:
            names = ", ".join(name for name in given if name in _SSL)
            found.append(f"{where} cannot work: {error}: correct {names}")
    if sentinel and not found:
        try:
            Sentinels(sentinel, timeout_s=1)
        except _REFUSALS as error:
            found.append(f"storage['sentinel'] cannot work: {error}")
    return found
