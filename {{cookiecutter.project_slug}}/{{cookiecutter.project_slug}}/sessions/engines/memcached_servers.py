"""One thread's connections to the memcached servers: blocking, many requests in one exchange.

`MemcachedEngine` runs `Servers.run` in its threads; nothing else uses this.
"""

from __future__ import annotations

import math
import select
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import memcache  # type: ignore[import-untyped]  # it has no types
import msgspec

from ..errors import BadRecord, SessionTooLarge, StoreUnavailable
from .base import Fields, log

ITEM_BYTES: Final = 1024 * 1024
"""memcached's default limit (-I) for an item, which is key, value and header together."""
_HEADER_BYTES: Final = 512

_DEAD_RETRY_S: Final = 0.5
"""How long a server that did not answer is left alone; python-memcached's own default is 30."""

_REMEMBERED: Final = 2000
"""How many loaded items are remembered, until they are written; with the next limit, 8 MB."""
_REMEMBERED_BYTES: Final = 4096

_RELATIVE_S: Final = 30 * 24 * 60 * 60
"""memcached reads a longer time to live as a date."""

Decision = Callable[[Fields | None], tuple[Fields, Any] | None]
"""From a record, or None where there is none, to the record to write and what to return; None
leaves all as it is."""


class Load(NamedTuple):
    key: str
    ttl: float | None


class Change(NamedTuple):
    key: str
    ttl: float | None
    change: Decision


class Delete(NamedTuple):
    key: str


class Ping(NamedTuple):
    key: str = "ping"


Request = Load | Change | Delete | Ping


class Servers:
    """The blocking side: one thread's connections to all servers.

    python-memcached opens the connections, times them out and leaves a dead server alone for a
    while. Its commands are not used: they are one trip for each key, take a dead server for a
    miss, unpickle what they find, and turn a `cas` without a number into a plain `set`.
    """

    def __init__(
        self,
        servers: Sequence[str],
        address: str,
        timeout_s: float,
        failover: bool,
        max_item_bytes: int,
        loaded: dict[str, _Item],
    ) -> None:
        self._address = address
        self._loaded = loaded
        self._timeout_s = timeout_s
        self._failover = failover
        self._most_bytes = max_item_bytes - _HEADER_BYTES
        self._hosts = [
            _Host(server, dead_retry=_DEAD_RETRY_S, socket_timeout=timeout_s) for server in servers
        ]

    def run(self, requests: Sequence[Request]) -> list[Any]:
        """Return the results in order, an exception where one has failed."""
        results: dict[int, Any] = {}
        by_host: dict[Any, dict[int, Request]] = {}
        for number, request in enumerate(requests):
            host = self._host(request.key)
            by_host.setdefault(host, {})[number] = request
        for host, group in by_host.items():
            connection, fault = host.socket, "not reachable"
            # A server that is left alone is not marked again: under load it would stay dead for
            # ever.
            if host.connect():
                if host.socket is not connection:
                    self._loaded.clear()  # a restarted server begins to count from 1 again
                try:
                    self._exchange(host, group, results)
                except (OSError, memcache._Error) as error:
                    # What was sent may have been carried out: it is never sent again.
                    host.mark_dead(error)
                    fault = str(error)
            reason = f"no answer from {_place(host)} ({fault})"
            for number in group:
                if number not in results:
                    results[number] = StoreUnavailable(self._address, reason)
        return [results[number] for number in range(len(requests))]

    def disconnect(self) -> None:
        """Close the connections. Works from any thread, when no trip is under way."""
        for host in self._hosts:
            host.close_socket()

    def _host(self, key: str) -> Any:
        """The server that keeps `key`.

        The next one stands in for a dead one only with `failover`: it may still hold a session
        that was ended long ago.
        """
        first = int(memcache.serverHashFunction(key.encode())) % len(self._hosts)
        if self._failover:
            for host in self._hosts[first:] + self._hosts[:first]:
                if host.connect():
                    return host
        return self._hosts[first]

    def _exchange(self, host: Any, pending: dict[int, Request], results: dict[int, Any]) -> None:
        """Fill in the results of the requests to one server, in two trips if none is overtaken.

        In one, if they only change records that were loaded before: a page's own, most likely.
        """
        due = time.monotonic() + self._timeout_s
        changed_keys = {each.key for each in pending.values() if isinstance(each, Change)}
        loaded = {key: item for key in changed_keys if (item := self._loaded.pop(key, None))}
        while pending:
            items = self._get(host, [r for r in pending.values() if r.key not in loaded]) | loaded
            writes: list[tuple[bytes, dict[int, Any]]] = []
            changes: dict[str, dict[int, Change]] = {}
            for number, request in pending.items():
                match request:
                    case Load(key):
                        item = items.get(key)
                        results[number] = item.record.fields if item and item.record else {}
                        if item and item.record is None:
                            changes.setdefault(key, {})
                    case Change(key):
                        changes.setdefault(key, {})[number] = request
                    case Delete(key):
                        writes.append((f"delete {key}\r\n".encode(), {number: None}))
                    case Ping():
                        writes.append((b"version\r\n", {number: None}))
            for key, group in changes.items():
                command, outcomes = self._plan(key, items.get(key), group)
                if command:
                    writes.append((command, outcomes))
                elif key not in loaded:
                    results |= outcomes
            host.send_cmds(b"".join(command for command, _ in writes))
            for command, outcomes in writes:
                line = _line(host)
                if line == b"NOT_FOUND" and command.startswith(b"delete "):
                    line = b"DELETED"  # nothing was there: as good
                results |= self._stored(line, outcomes)
            pending = {n: request for n, request in pending.items() if n not in results}
            # What was loaded earlier is good for a write, which compares, and for nothing else.
            loaded = {}
            if time.monotonic() > due:
                overtaken = StoreUnavailable(self._address, "others kept changing the record")
                results |= dict.fromkeys(pending, overtaken)
                return

    def _get(self, host: Any, requests: Iterable[Request]) -> dict[str, _Item]:
        """The items by key. A malformed one has no record."""
        wanted = [request for request in requests if isinstance(request, Load | Change)]
        if not wanted:
            return {}
        command = b"".join(
            f"touch {request.key} {_exptime(request.ttl)} noreply\r\n".encode()
            for request in wanted
            if isinstance(request, Load) and request.ttl is not None
        )
        keys = dict.fromkeys(request.key for request in wanted)
        host.send_cmds(command + f"gets {' '.join(keys)}\r\n".encode())
        items = {}
        while (line := _line(host)) != b"END":
            match line.split():
                case [b"VALUE", key, flags, size, cas]:
                    value = host.recv(int(size) + 2)[:-2]
                    item = _Item(_record(value, flags), cas.decode())
                    items[key.decode()] = item
                    if len(value) <= _REMEMBERED_BYTES:
                        self._remember(key.decode(), item)
                case _:
                    raise OSError(f"an answer out of turn: {line!r:.60}")
        return items

    def _remember(self, key: str, item: _Item) -> None:
        if len(self._loaded) >= _REMEMBERED:
            self._loaded.clear()
        self._loaded[key] = item

    def _plan(
        self, key: str, item: _Item | None, changes: Mapping[int, Change]
    ) -> tuple[bytes, dict[int, Any]]:
        """The command that writes what the changes make of an item, and what they return.

        Changes that meet on one record are made one after the other and written once. The command
        is empty where there is nothing to write.
        """
        record = item.record if item else None
        data = b""
        written = item is not None and record is None  # what is malformed is removed
        outcomes: dict[int, Any] = {}
        for number, (_, ttl, change) in changes.items():
            changed = change(record.fields if record else None)
            if changed is None:
                outcomes[number] = None
                continue
            fields, outcome = changed
            # Without a ttl the rest of a record lives on as long as it would have.
            kept = record.expires if record else 0
            new = _Record(kept if ttl is None else time.time() + ttl, fields) if fields else None
            new_data = _encoder.encode(new) if new else b""
            if len(new_data) > self._most_bytes:
                outcomes[number] = SessionTooLarge(len(new_data), self._most_bytes)
                continue
            record, data, written, outcomes[number] = new, new_data, True, outcome
        if not written or (item is None and record is None):
            return b"", outcomes
        # An item that has expired already is gone: a delete that compares.
        life = _exptime(record.expires - time.time()) if record else -1
        verb, cas = ("add", "") if item is None else ("cas", f" {item.cas}")
        return f"{verb} {key} 0 {life} {len(data)}{cas}\r\n".encode() + data + b"\r\n", outcomes

    def _stored(self, line: bytes, outcomes: dict[int, Any]) -> dict[int, Any]:
        """The outcomes if the server has agreed, {} if another process was faster."""
        if line in (b"STORED", b"DELETED") or line.startswith(b"VERSION"):
            return outcomes
        if line in (b"EXISTS", b"NOT_FOUND", b"NOT_STORED"):
            # All of them are decided anew: what this record seemed to lack may be there by now.
            return {}
        if b"too large" in line:
            too_large = SessionTooLarge(self._most_bytes, self._most_bytes)
            return dict.fromkeys(outcomes, too_large)
        return dict.fromkeys(
            outcomes, StoreUnavailable(self._address, line.decode(errors="replace"))
        )


class _Host(memcache._Host):  # type: ignore[misc]  # python-memcached is untyped
    """python-memcached's connection to one server."""

    socket: Any

    def _get_socket(self) -> Any:
        """The connection, opened where there is none; None if the server cannot be reached."""
        if self.socket is not None and _readable(self.socket):
            # Nothing was asked, so this is the end of a server that was restarted since: it would
            # fail a request that a new connection can answer. Or it is an answer out of turn.
            self.close_socket()
        if self._check_dead():
            return None
        if self.socket is None:  # as python-memcached does, but leaving no socket open
            connection = socket.socket(self.family, socket.SOCK_STREAM)
            try:
                connection.settimeout(self.socket_timeout)
                connection.connect(self.address)
            except OSError as error:
                connection.close()
                self.mark_dead(error)
                return None
            self.socket, self.buffer = connection, b""
        return self.socket


class _Record(msgspec.Struct, array_like=True):
    """What lies under a key."""

    expires: float
    """Seconds since the epoch: memcached does not tell an item's time to live."""
    fields: Fields


class _Item(NamedTuple):
    """A key's value, and the number that a `cas` must name. No record: the value is not ours."""

    record: _Record | None
    cas: str


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Record)


def _record(value: bytes, flags: bytes) -> _Record | None:
    """The record in a value; None, with a line in the log, for what is none of ours.

    Other flags than ours stand for pickled or compressed values, which are not looked into.
    """
    try:
        if flags != b"0":
            raise BadRecord(f"flags {flags!r}")
        return _decoder.decode(value)
    except (BadRecord, msgspec.DecodeError, ValueError, RecursionError) as error:
        log.warning("dropped a record that is not ours: %s", error)
        return None


def _line(host: Any) -> bytes:
    line: bytes = host.readline()
    if not line:
        raise OSError("the connection was closed")
    return line


def _readable(connection: socket.socket) -> bool:
    if not hasattr(select, "poll"):  # Windows
        return bool(select.select([connection], [], [], 0)[0])
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))


def _place(host: Any) -> str:
    return host.address if isinstance(host.address, str) else ":".join(map(str, host.address))


def _exptime(ttl: float) -> int:
    seconds = max(1, math.ceil(ttl))
    return seconds if seconds <= _RELATIVE_S else math.ceil(time.time() + ttl)
