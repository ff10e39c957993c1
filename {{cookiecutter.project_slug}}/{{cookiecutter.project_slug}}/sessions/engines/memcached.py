"""Records as MessagePack maps in Memcached, through python-memcached.

Memcached knows whole values, so every step is read, change, compare-and-swap, and again if another
process was faster. python-memcached blocks; it runs in a few threads, each with connections of its
own, and a trip is one hop to a thread and back.
"""

from __future__ import annotations

import asyncio
import math
import select
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ClassVar, Final, NamedTuple

import memcache
import msgspec

from ..errors import BadRecord, SessionTooLarge, StoreUnavailable
from .base import Engine, Fields, SharedTrips, log, unknown_names

_THREADS: Final = 2
"""Trips under way at once. Python's threads take turns: a second one hides the waiting of the
first, more would only wait for each other."""

_DEAD_RETRY_S: Final = 0.5
"""How long a server that did not answer is left alone; python-memcached's own default is 30."""

_ITEM_BYTES: Final = 1024 * 1024
"""memcached's default limit (-I) for an item, which is key, value and header together."""
_HEADER_BYTES: Final = 512

_RELATIVE_S: Final = 30 * 24 * 60 * 60
"""memcached reads a longer time to live as a date."""

_KNOWN: Final = ("servers", "max_connections", "failover", "max_item_bytes")

Change = Callable[[Fields | None], tuple[Fields, Any] | None]
"""From a record, or None where there is none, to the record to write and what to return; None
leaves all as it is."""


class _Load(NamedTuple):
    key: str
    ttl: float | None


class _Change(NamedTuple):
    key: str
    ttl: float | None
    change: Change


class _Delete(NamedTuple):
    key: str


class _Ping(NamedTuple):
    pass


_Request = _Load | _Change | _Delete | _Ping


class MemcachedEngine(Engine):
    name: ClassVar[str] = "memcached"

    def __init__(
        self,
        servers: Sequence[str],
        timeout_s: float,
        *,
        threads: int = _THREADS,
        failover: bool = False,
        max_item_bytes: int = _ITEM_BYTES,
    ) -> None:
        self.address = f"memcached://{','.join(servers)}"
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="memcached")
        self._connect = partial(
            _Servers, servers, self.address, timeout_s, failover, max_item_bytes
        )
        self._of_thread = threading.local()
        self._connected: list[_Servers] = []
        self._trips: SharedTrips[_Request] = SharedTrips(
            self._send, address=self.address, limit=threads, timeout_s=timeout_s
        )

    @classmethod
    def faults(cls, storage: Mapping[str, Any]) -> list[str]:
        faults = unknown_names("storage", storage, _KNOWN)
        servers = storage.get("servers", ("localhost:11211",))
        if isinstance(servers, str) or not isinstance(servers, Sequence) or not servers:
            faults.append(
                f"storage['servers'] is {servers!r}: write a list such as ['localhost:11211']"
            )
        else:
            faults += [fault for server in servers if (fault := _server_fault(server))]
        for name in ("max_connections", "max_item_bytes"):
            value = storage.get(name, 1)
            if type(value) is not int or value < 1:
                faults.append(f"storage[{name!r}] is {value!r}: write a number, at least 1")
        failover = storage.get("failover", False)
        if type(failover) is not bool:
            faults.append(f"storage['failover'] is {failover!r}: write True or False")
        return faults

    @classmethod
    def open(cls, storage: Mapping[str, Any], role: str, timeout_s: float) -> MemcachedEngine:
        """Return an engine. Sessions and notifications lie apart by the prefixes of their keys."""
        return cls(
            tuple(storage.get("servers", ("localhost:11211",))),
            timeout_s,
            threads=storage.get("max_connections", _THREADS),
            failover=storage.get("failover", False),
            max_item_bytes=storage.get("max_item_bytes", _ITEM_BYTES),
        )

    async def load(self, key: str, ttl: float | None = None) -> Fields:
        fields: Fields = await self._trips.ask(_Load(key, ttl))
        return fields

    async def save(
        self, key: str, changes: Mapping[str, bytes | None], ttl: float, *, create: bool
    ) -> bool:
        def merge(fields: Fields | None) -> tuple[Fields, bool] | None:
            if fields is None and not create:
                return None
            merged = {**(fields or {}), **changes}
            return {name: value for name, value in merged.items() if value is not None}, True

        return await self._trips.ask(_Change(key, ttl, merge)) is not None

    async def take(self, key: str, *fields: str) -> Fields:
        def remove(record: Fields | None) -> tuple[Fields, Fields] | None:
            wanted = fields or tuple(record or ())
            taken = {name: record[name] for name in wanted if name in record} if record else {}
            if not record or not taken:
                return None
            return {name: value for name, value in record.items() if name not in taken}, taken

        return await self._trips.ask(_Change(key, None, remove)) or {}

    async def swap(
        self,
        key: str,
        field: str,
        old: bytes | None,
        new: bytes | None,
        ttl: float,
        *,
        create: bool,
    ) -> bool:
        def exchange(fields: Fields | None) -> tuple[Fields, bool] | None:
            if fields is None and not create:
                return None
            kept = dict(fields or {})
            if kept.pop(field, None) != old:
                return None
            return (kept if new is None else {**kept, field: new}), True

        return await self._trips.ask(_Change(key, ttl, exchange)) is not None

    async def delete(self, key: str) -> None:
        await self._trips.ask(_Delete(key))

    async def ping(self) -> None:
        await self._trips.ask(_Ping())

    async def close(self) -> None:
        await self._trips.finish()
        self._threads.shutdown(wait=False, cancel_futures=True)
        for servers in self._connected:
            servers.disconnect()

    async def _send(self, requests: list[_Request]) -> list[Any]:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, requests)

    def _run(self, requests: list[_Request]) -> list[Any]:
        """Runs in a thread, which connects on its first trip: clients are bound to threads."""
        servers: _Servers | None = getattr(self._of_thread, "servers", None)
        if servers is None:
            servers = self._of_thread.servers = self._connect()
            self._connected.append(servers)
        return servers.run(requests)


class _Servers:
    """The blocking side: one thread's connections to all servers.

    Without failover there is a client for each server, and a key has one place. python-memcached
    with several servers would move the keys of a dead one to another, where an old session that
    was logged out long ago may be waiting.
    """

    def __init__(
        self,
        servers: Sequence[str],
        address: str,
        timeout_s: float,
        failover: bool,
        max_item_bytes: int,
    ) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._most_bytes = max_item_bytes - _HEADER_BYTES
        self._clients = [
            _Client(
                group,
                dead_retry=_DEAD_RETRY_S,
                socket_timeout=timeout_s,
                cache_cas=True,  # without it `cas` would be a plain `set`
                unpickler=_Refused,
                decompressor=_refuse,
                server_max_value_length=0,  # we check it, python-memcached would drop it silently
            )
            for group in ([list(servers)] if failover else [[server] for server in servers])
        ]
        self._hosts = [host for client in self._clients for host in client.servers]

    def run(self, requests: Sequence[_Request]) -> list[Any]:
        """Return the results in order, an exception where one has failed."""
        found = self._get_all([request.key for request in requests if isinstance(request, _Load)])
        results: list[Any] = []
        for request in requests:
            try:
                results.append(self._result(request, found))
            except (StoreUnavailable, SessionTooLarge) as error:
                results.append(error)
        return results

    def disconnect(self) -> None:
        """Close the connections. Works from any thread, when no trip is under way."""
        for host in self._hosts:
            host.close_socket()

    def _result(self, request: _Request, found: Mapping[str, object]) -> Any:
        match request:
            case _Load(key, ttl):
                return self._loaded(key, ttl, found.get(key))
            case _Change(key, ttl, change):
                return self._change(key, ttl, change)
            case _Delete(key):
                return self._delete(key)
            case _Ping():
                return self._ping()

    def _get_all(self, keys: Sequence[str]) -> dict[str, object]:
        """The values by key, with one trip to each server."""
        by_client: dict[memcache.Client, list[str]] = {}
        for key in dict.fromkeys(keys):
            by_client.setdefault(self._client(key), []).append(key)
        found: dict[str, object] = {}
        for client, keys_there in by_client.items():
            try:
                found |= client.get_multi(keys_there)
            except Exception:
                # A value with flags that python-memcached does not know leaves the rest of the
                # answer unread: whoever reads next would get another's session.
                client.disconnect_all()
                found |= {key: self._gets(client, key) for key in keys_there}
        return found

    def _loaded(self, key: str, ttl: float | None, value: object) -> Fields:
        client = self._client(key)
        if value is None:
            self._check(client)
            return {}
        record = self._record(client, key, value)
        if record is None:
            return {}
        if ttl is not None:
            client.touch(key, _exptime(ttl), noreply=True)
        return record.fields

    def _change(self, key: str, ttl: float | None, change: Change) -> Any:
        client = self._client(key)
        due = time.monotonic() + self._timeout_s
        while time.monotonic() < due:
            client.reset_cas()
            value = self._gets(client, key)
            self._check(client)
            record = None if value is None else self._record(client, key, value)
            changed = change(record.fields if record else None)
            if changed is None:
                return None
            fields, outcome = changed
            if not fields:  # an item that has expired already is gone: a delete that compares
                done = record is None or client.cas(key, b"", time=-1)
            else:
                # Without a ttl the rest of a record lives on as long as it would have.
                expires = record.expires if ttl is None and record else time.time() + (ttl or 0)
                data = self._data(key, _Record(expires, fields))
                store = client.add if record is None else client.cas
                done = store(key, data, time=_exptime(expires - time.time()))
            if done:
                return outcome
            # Not stored: another process was faster, which is worth another try, or the answer was
            # lost, which is not: what was sent may have been carried out.
            self._check(client)
        raise StoreUnavailable(self._address, "others kept changing the record for too long")

    def _delete(self, key: str) -> None:
        client = self._client(key)
        client.delete(key)
        self._check(client)

    def _ping(self) -> None:
        for client in self._clients:
            client.get("ping")
            self._check(client)

    def _gets(self, client: memcache.Client, key: str) -> object:
        try:
            value: object = client.gets(key)
        except Exception as error:  # flags that python-memcached does not know
            client.disconnect_all()
            return error
        return value

    def _record(self, client: memcache.Client, key: str, value: object) -> _Record | None:
        """The record in `value`; what is none of ours is removed and logged."""
        try:
            if not isinstance(value, bytes):
                raise BadRecord(f"a value of type {type(value).__name__}")
            return _decoder.decode(value)
        except (BadRecord, msgspec.DecodeError, ValueError, RecursionError) as error:
            log.warning("dropped a record that is not ours: %s", error)
            client.delete(key)
            self._check(client)
            return None

    def _data(self, key: str, record: _Record) -> bytes:
        data = _encoder.encode(record)
        size = len(key) + len(data)
        if size > self._most_bytes:
            raise SessionTooLarge(size, self._most_bytes)
        return data

    def _place(self, key: str) -> int:
        return int(memcache.serverHashFunction(key.encode())) % len(self._clients)

    def _client(self, key: str) -> memcache.Client:
        return self._clients[self._place(key)]

    def _check(self, client: memcache.Client) -> None:
        """Raise where python-memcached took a dead server for a miss."""
        if all(server.deaduntil for server in client.servers):
            where = ", ".join(f"{server.address}" for server in client.servers)
            raise StoreUnavailable(self._address, f"no answer from {where}")


class _Client(memcache.Client):  # type: ignore[misc]  # python-memcached is untyped
    """python-memcached's client, on connections that are fit for use."""

    def set_servers(self, servers: Sequence[str]) -> None:
        self.servers = [
            _Host(server, dead_retry=self.dead_retry, socket_timeout=self.socket_timeout)
            for server in servers
        ]
        self._init_buckets()


class _Host(memcache._Host):  # type: ignore[misc]  # python-memcached is untyped
    """python-memcached's connection to one server."""

    def _get_socket(self) -> socket.socket | None:
        """The connection, opened where there is none. Called before every command."""
        if self._check_dead():
            return None
        if self.socket is not None and _readable(self.socket):
            # Nothing was asked, so this is the end of a server that has been restarted since: it
            # would fail a request that a new connection can answer. Or it is the answer to an
            # earlier command, which the next one must not take for its own.
            self.close_socket()
        if self.socket is None:
            connection = socket.socket(self.family, socket.SOCK_STREAM)
            try:
                connection.settimeout(self.socket_timeout)
                if self.family != socket.AF_UNIX:
                    # A `touch` expects no answer. The command after it would wait in this machine
                    # until the server acknowledges the `touch`, for 40 ms (Nagle's algorithm).
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.connect(self.address)
            except OSError as error:
                connection.close()
                self.mark_dead(error)
                return None
            self.socket, self.buffer = connection, b""
        return self.socket


def _readable(connection: socket.socket) -> bool:
    if not hasattr(select, "poll"):  # Windows
        return bool(select.select([connection], [], [], 0)[0])
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))


class _Record(msgspec.Struct, array_like=True):
    """What lies under a key."""

    expires: float
    """Seconds since the epoch: memcached does not tell an item's time to live."""
    fields: Fields


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Record)


class _Refused:
    """Stands where python-memcached would unpickle, which is to run what lies in the store."""

    def __init__(self, file: object) -> None:
        pass

    def load(self) -> _Refused:
        return self


def _refuse(data: bytes) -> bytes:
    """Stands where python-memcached would decompress. We store nothing compressed."""
    return b""


def _exptime(ttl: float) -> int:
    seconds = max(1, math.ceil(ttl))
    return seconds if seconds <= _RELATIVE_S else math.ceil(time.time() + ttl)


def _server_fault(server: object) -> str | None:
    if isinstance(server, str):
        if server.startswith(("unix:", "inet6:")):
            return None
        host, _, port = server.removeprefix("inet:").partition(":")
        if host and (not port or port.isdecimal() and 0 < int(port) < 65536):
            return None
    return f"storage['servers'] names {server!r}: write host:port, inet6:[host]:port or unix:/path"
