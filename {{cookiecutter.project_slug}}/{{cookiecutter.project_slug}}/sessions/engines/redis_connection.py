"""A connection to Redis: hiredis reads the replies, redis-py has the passwords and the TLS.

redis-py's own clients are not used: each of their requests keeps a connection to itself, and is
sent again after an error.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import deque
from collections.abc import Iterator, Mapping
from ssl import SSLContext
from typing import Any, Final

from hiredis import PushNotification, Reader, pack_command
from redis import CredentialProvider, UsernamePasswordCredentialProvider
from redis.asyncio import SSLConnection
from redis.exceptions import RedisError, ResponseError

from ..errors import StoreUnavailable
from .connection import Connection
from .redis_sentinel import Node, Sentinels

_FOLLOW_S: Final = 0.5
"""How often the sentinels are asked whether another server is the master by now."""
_INCOMPLETE: Final = object()


class RedisConnection(Connection):
    """The replies are as hiredis gives them; an error that Redis replies is a reply, too.

    A question is the types that may come in reply.
    """

    def __init__(self, address: str, timeout_s: float, options: Mapping[str, Any]) -> None:
        """`sentinel` in the options says where to ask for host and port."""
        super().__init__(address, timeout_s)
        self._options = options
        sentinel = options.get("sentinel")
        self._sentinels = Sentinels(sentinel, timeout_s) if sentinel else None
        self._following: asyncio.Task[None] | None = None
        self._reader = Reader(ValueError, ResponseError, notEnoughData=_INCOMPLETE)
        self._login: deque[asyncio.Future[Any]] = deque()
        """The replies that logging in waits for."""

    async def _connect(self) -> None:
        options = self._options
        server = options["host"], options["port"]
        if self._sentinels:
            try:
                server = await self._sentinels.master()
            except RedisError as error:
                raise unavailable(self.address, error) from error
            self._following = self.loop.create_task(self._follow(self._sentinels, server))
        if "unix_socket_path" in options:
            transport = await self._open(options["unix_socket_path"])
        else:
            transport = await self._open(*server, tls=tls_of(options))
        commands = await _login(options)
        replies: list[asyncio.Future[Any]] = [self.loop.create_future() for _ in commands]
        self._login += replies
        transport.writelines(map(pack_command, commands))
        for each in replies:
            if isinstance(reply := await each, ResponseError):
                raise unavailable(self.address, reply)

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

    async def _disconnect(self) -> None:
        if self._following:
            self._following.cancel()
            await asyncio.wait([self._following])
        if self._sentinels:
            await self._sentinels.close()

    def _refused(self, error: OSError) -> StoreUnavailable:
        return unavailable(self.address, error)

    def _replies(self, data: bytes) -> Iterator[Any]:
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not _INCOMPLETE:
            if self._login:
                self._login.popleft().set_result(reply)
            elif not isinstance(reply, PushNotification):  # which is a reply to nothing
                yield reply

    def _answers(self, reply: Any, question: Any) -> bool:
        return isinstance(reply, question)


def tls_of(options: Mapping[str, Any]) -> SSLContext | None:
    """Return how to encrypt the connection, made by redis-py; None if it is not to be encrypted."""
    # Without a password for the key, OpenSSL would ask for one, on the terminal.
    given = {name: value for name, value in options.items() if name.startswith("ssl_")}
    settings = {"ssl_password": "", **given}
    return SSLConnection(**settings).ssl_context.get() if options.get("ssl") else None


async def _login(options: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Return the commands that log in, and choose protocol and database."""
    user = UsernamePasswordCredentialProvider(options.get("username"), options.get("password"))
    provider: CredentialProvider = options.get("credential_provider") or user
    credentials = await provider.get_credentials_async()
    commands: list[tuple[Any, ...]] = []
    if any(credentials):
        commands.append(("AUTH", *credentials))
    if options["protocol"] == 3:
        commands.append(("HELLO", 3))
    if "client_name" in options:
        commands.append(("CLIENT", "SETNAME", options["client_name"]))
    return [*commands, ("SELECT", options["db"])]


_PERMIT: Final = (
    "permit the user: +@hash +@scripting +type +del +pexpire +select +client|setname ~*, and in a "
    "cluster +cluster|slots +asking"
)
_CAUSES: Final = (
    # what Redis or the system says: what it means, and what to do. The first one in a text counts.
    ("No master found", "no sentinel knows a master", "correct 'sentinel' in storage, or wait"),
    (
        "CERTIFICATE_VERIFY_FAILED",
        "its certificate is not trusted",
        "write 'ssl_ca_certs' in storage, and the host that the certificate names",
    ),
    ("NOAUTH", "it wants a password", "write 'password' in storage, and 'username' if need be"),
    ("WRONGPASS", "it refuses the password", "correct 'username' and 'password' in storage"),
    ("invalid password", "it refuses the password", "correct 'password' in storage"),
    ("AUTH.* (any|no) password", "it has no password, and storage has one", "leave 'password' out"),
    ("HELLO", "it refuses HELLO, as Redis before 6 does", "write 'protocol': 2 in storage"),
    ("NOPROTO", "it refuses HELLO 3", "write 'protocol': 2 in storage"),
    ("DB index", "it has no such database", "write 'db_sessions': 0, 'db_notifications': 0"),
    (
        "unknown command '(SELECT|HGETALL)'",
        "it is a sentinel, or its commands are renamed",
        "write 'sentinel' in storage, or let it have its commands",
    ),
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
    (
        "certificate required",
        "it wants a certificate",
        "write 'ssl_certfile' and 'ssl_keyfile' in storage",
    ),
    (
        "reset by peer|ConnectionResetError|was closed",
        "it hung up",
        "see its log: TLS or a certificate is missing, or maxclients is reached",
    ),
    ("CLUSTERDOWN", "the cluster is down", "see CLUSTER INFO; it may be failing over"),
    ("Too many open files", "this process has too many open", "raise its limit of files"),
    ("Errno", "it is not there", "start redis-server, or correct the address in storage"),
)


def unavailable(address: str, error: RedisError | OSError) -> StoreUnavailable:
    """Return what an error means, in words that end with its own, and what to do about it."""
    said = str(error) or repr(error)
    for pattern, cause, cure in _CAUSES:
        if re.search(pattern, said):
            return StoreUnavailable(address, f"{cause}: {said}", cure)
    return StoreUnavailable(address, said)
