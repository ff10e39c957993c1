"""A connection to Redis: redis-py finds the server, logs in, encrypts, and reads the replies.

Only public names of redis-py are used. Its own clients are not: each of their requests keeps a
connection to itself, and is sent again after an error.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
from collections.abc import Mapping
from typing import Any, Final

from redis.asyncio import Connection as TCPConnection
from redis.asyncio import SSLConnection, UnixDomainSocketConnection
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import InvalidResponse, RedisError, ResponseError

from ..errors import StoreUnavailable
from .connection import Connection
from .redis_sentinel import Node, Sentinels

_OURS: Final = ("cluster", "nodes", "sentinel", "db_sessions", "db_notifications")
"""Options that redis-py does not know."""
_FOLLOW_S: Final = 0.5
"""How often the sentinels are asked whether another server is the master by now."""


class RedisConnection(Connection):
    """The replies are as redis-py gives them; an error that Redis replies is a reply, too.

    A question is the types that may come in reply.
    """

    def __init__(self, address: str, timeout_s: float, options: Mapping[str, Any]) -> None:
        """`sentinel` in the options says where to ask for host and port."""
        super().__init__(address, timeout_s)
        self._options = options
        sentinel = options.get("sentinel")
        self._sentinels = Sentinels(sentinel, timeout_s) if sentinel else None
        self._following: asyncio.Task[None] | None = None
        self._connection: AbstractConnection | None = None

    async def _connect(self) -> None:
        try:
            options = dict(self._options)
            if self._sentinels:
                master = options["host"], options["port"] = await self._sentinels.master()
                self._following = self.loop.create_task(self._follow(self._sentinels, master))
            self._connection = to_connection(options)
            await self._connection.connect()  # type: ignore[no-untyped-call]  # redis-py's gap
        except RedisError as error:
            raise unavailable(self.address, error) from error

    async def _follow(self, sentinels: Sentinels, master: Node) -> None:
        """Retire when another server becomes the master: this one would go on taking writes."""
        found = master
        while found == master:
            await asyncio.sleep(_FOLLOW_S)
            with contextlib.suppress(RedisError, OSError):  # it may be that none of them answers
                found = await sentinels.master()
        if self._opened:
            self.retire()
        else:  # a master that is frozen lets nobody in: nothing was sent
            self.mark_down("another server has become the master")

    async def _write(self, data: bytes) -> None:
        assert self._connection is not None
        await self._connection.send_packed_command(data, check_health=False)

    async def _read(self) -> Any:
        """Return the next reply. A push of the server is not one; redis-py handles those."""
        assert self._connection is not None
        try:
            return await self._connection.read_response(timeout=math.inf, disconnect_on_error=False)
        except ResponseError as error:
            return error
        except InvalidResponse as error:
            raise ValueError(str(error)) from error
        except RedisError as error:
            if error.status_code is None:
                raise OSError(str(error)) from error
            # Loading, or no password: the same for all requests.
            raise unavailable(self.address, error) from error

    async def _disconnect(self) -> None:
        if self._following:
            self._following.cancel()
            await asyncio.wait([self._following])
        if self._sentinels:
            await self._sentinels.close()
        if self._connection is not None:
            # A server that takes no more data does not even let its connection be closed.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._timeout_s):
                    await self._connection.disconnect()

    def _answers(self, reply: Any, question: Any) -> bool:
        return isinstance(reply, question)


def to_connection(options: Mapping[str, Any]) -> AbstractConnection:
    """Return redis-py's connection, not open yet. Its timeouts are ours to watch."""
    rest = {name: value for name, value in options.items() if name not in _OURS}
    rest |= {"socket_timeout": None, "socket_connect_timeout": None}
    path, ssl = rest.pop("unix_socket_path", None), rest.pop("ssl", False)
    if path is None:
        return SSLConnection(**rest) if ssl else TCPConnection(**rest)
    rest = {name: value for name, value in rest.items() if name not in ("host", "port")}
    return UnixDomainSocketConnection(path=path, **rest)


_PERMIT: Final = (
    "permit the user: +@hash +@scripting +type +del +pexpire +select +client|setname ~*"
)
_CAUSES: Final = (
    # what Redis or redis-py says: what it means, and what to do. The first one in a text counts;
    # those that show a name of the settings come first, since a host may be called EVAL.
    ("No master found", "no sentinel knows a master", "correct 'sentinel' in storage, or wait"),
    (
        "CERTIFICATE_VERIFY_FAILED",
        "its certificate is not trusted",
        "write 'ssl_ca_certs' in storage, and the host that the certificate names",
    ),
    ("connecting to", "it is not there", "start redis-server, or correct the address in storage"),
    ("NOAUTH", "it wants a password", "write 'password' in storage, and 'username' if need be"),
    ("WRONGPASS", "it refuses the password", "correct 'username' and 'password' in storage"),
    ("invalid password", "it refuses the password", "correct 'password' in storage"),
    ("AUTH.* (any|no) password", "it has no password, and storage has one", "leave 'password' out"),
    ("HELLO", "it refuses HELLO, as Redis before 6 does", "write 'protocol': 2 in storage"),
    ("NOPROTO", "it refuses HELLO 3", "write 'protocol': 2 in storage"),
    ("DB index", "it has no such database", "write 'db_notifications': 0 in storage"),
    ("unknown command '(SELECT|HGETALL)'", "it is a sentinel", "write 'sentinel' in storage"),
    ("SELECT is not allowed|MOVED", "it is a cluster", "write 'cluster': True in storage"),
    ("cluster support disabled", "it is not a cluster", "leave 'cluster' out of storage"),
    ("NOPERM|user executing the script", "it does not permit what sessions need", _PERMIT),
    ("EVAL", "it forbids EVAL", "permit scripts: each change is one"),
    ("OOM", "it is full", "raise its maxmemory, or set maxmemory-policy to volatile-lru"),
    ("read only replica", "it is a read-only replica", "write the master's address, or 'sentinel'"),
    ("NOREPLICAS", "too few of its replicas are connected", "wait; see its min-replicas-to-write"),
    ("LOADING", "it is loading its data", "wait"),
    ("MISCONF", "it cannot write to its disk", "free its disk, see its log"),
    ("max number of clients", "it hung up: too many clients", "raise its maxclients"),
    ("Connection lost", "it hung up", "see its log: TLS missing, or maxclients reached"),
    (
        "certificate required",
        "it wants a certificate",
        "write 'ssl_certfile' and 'ssl_keyfile' in storage",
    ),
    ("reset by peer", "it hung up", "see its log: TLS missing, or maxclients reached"),
    ("closed by server", "it hung up", "see its log: TLS missing, or maxclients reached"),
    ("CLUSTERDOWN", "the cluster is down", "see CLUSTER INFO; it may be failing over"),
)


def unavailable(address: str, error: RedisError) -> StoreUnavailable:
    """Return what an error means, in words that end with its own, and what to do about it."""
    said = f"{error.status_code} {error}" if error.status_code else str(error)
    for pattern, cause, cure in _CAUSES:
        if re.search(pattern, said):
            return StoreUnavailable(address, f"{cause}: {said}", cure)
    return StoreUnavailable(address, said or type(error).__name__)
