"""Records as Redis hashes.

Each step is one short script on one key, so it is atomic and works in a cluster. Scripts travel
with EVAL: there is no cache of scripts that a restart or a fail-over could lose.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from hiredis import pack_command
from redis.crc import key_slot
from redis.exceptions import AskError, ResponseError

from ..errors import StoreUnavailable
from .base import TOMBSTONE_S, Changes, Engine, Fields, Snapshot, log
from .connection import Connections
from .redis_connection import RedisConnection, unavailable
from .redis_sentinel import Node, answers
from .redis_settings import faults, flat

_ENDED: Final = b"\xff"
"""The one field of a tombstone: no text encodes to it."""

# The scripts travel with every request: what is short here is quick.
# ARGV: create, ttl in ms, number of expected fields, of removed fields; then for each expected one
# its name, '1' and its value or '0' and ''; then the removed names; then name, value, ...
# Removal comes first, so that a full Redis lets a message be read: it refuses a script whose first
# change takes memory.
_WRITE: Final = rb"""
local call, key, at, removed = redis.call, KEYS[1], 5, {}
local kind = call('TYPE', key).ok
local hash = kind == 'hash'
if not hash and ARGV[1] == '0' then
 return kind ~= 'none' and redis.error_reply('WRONGTYPE ' .. kind)
end
if hash and call('HEXISTS', key, '\255') == 1 then return false end
for _ = 1, ARGV[3] do
 local held = hash and call('HGET', key, ARGV[at])
 if held ~= (ARGV[at + 1] == '1' and ARGV[at + 2]) then return false end
 at = at + 3
end
if not hash and kind ~= 'none' then call('DEL', key) end
local set = at + ARGV[4]
for i = at, set - 1 do
 local held = call('HGET', key, ARGV[i])
 if held then
  call('HDEL', key, ARGV[i])
  removed[#removed + 1] = ARGV[i]
  removed[#removed + 1] = held
 end
end
for i = set, #ARGV, 1000 do call('HSET', key, unpack(ARGV, i, math.min(i + 999, #ARGV))) end
call('PEXPIRE', key, ARGV[2])
return removed"""

# ARGV: why, life of the tombstone in ms. DEL comes first: a full Redis refuses a script whose first
# change takes memory, and a logout must not fail for that.
_END: Final = rb"""
local call, key, held = redis.call, KEYS[1], {}
if call('TYPE', key).ok == 'hash' then
 if call('HEXISTS', key, '\255') == 1 then return held end
 held = call('HGETALL', key)
end
call('DEL', key)
call('HSET', key, '\255', ARGV[1])
call('PEXPIRE', key, ARGV[2])
return held"""

_RECORD: Final = (list, dict, ResponseError)
_SCRIPT: Final = (list, type(None), ResponseError)
"""The types of replies to a HGETALL and to an EVAL."""

_ASKING: Final = b"*1\r\n$6\r\nASKING\r\n"
_SLOTS: Final = b"*2\r\n$7\r\nCLUSTER\r\n$5\r\nSLOTS\r\n"
_REDIRECTS: Final = 4
"""How often a cluster may point to another node: twice, if two nodes disagree for a moment."""


class RedisEngine(Engine):
    def __init__(self, storage: Mapping[str, Any], role: str, timeout_s: float) -> None:
        options = flat(storage)
        usual = 0 if role == "sessions" or options.get("cluster") else 1
        database = options.get("db", options.get(f"db_{role}", usual))
        self._cluster = options.get("cluster", False)
        server = (options.get("host", "localhost"), options.get("port", 6379))
        self._given = [(host, int(port)) for host, port in options.get("nodes", [server])]
        self._nodes = self._given
        """Whom to ask for the slots: a node that the cluster names no more may be another's by now."""
        self._slots: list[tuple[int, Node]] = []
        self._options = {"protocol": 2, **options, "db": database}
        self._timeout_s = timeout_s
        self._connections = Connections(self._connect)
        self._scheme = "rediss" if options.get("ssl") else "redis"
        self.address = self._url_of(self._nodes[0])
        if "unix_socket_path" in options:
            self.address = f"unix://{options['unix_socket_path']}"
        if options.get("sentinel"):
            self.address = f"redis service {options['sentinel']['service']}"

    @classmethod
    def faults(cls, storage: Mapping[str, Any]) -> list[str]:
        return faults(storage)

    @classmethod
    def open(cls, storage: Mapping[str, Any], role: str, timeout_s: float) -> RedisEngine:
        """Return an engine on database `db_sessions` (0) or `db_notifications` (1).

        A `url` that names a database keeps both there; a cluster has database 0 only.
        """
        return cls(storage, role, timeout_s)

    async def load(self, key: str) -> Snapshot | None:
        reply = await self._request(key, _RECORD, _packed("HGETALL", key), repeatable=True)
        if not reply:
            return None
        if isinstance(reply, dict):  # RESP3
            reply = [part for pair in reply.items() for part in pair]
        if reply[0] == _ENDED:
            return Snapshot({}, ended=reply[1].decode(errors="replace"))
        return Snapshot(_fields(reply))

    async def write(
        self,
        key: str,
        changes: Changes,
        ttl: float,
        *,
        create: bool,
        expect: Changes | None = None,
        seen: Any = None,
    ) -> Fields | None:
        expected: list[Any] = []
        removed: list[Any] = []
        written: list[Any] = []
        for name, value in expect.items() if expect else ():
            expected += (name, int(value is not None), value or b"")
        for name, value in changes.items():
            if value is None:
                removed.append(name)
            else:
                written += (name, value)
        counts = int(create), max(1, round(ttl * 1000)), len(expected) // 3, len(removed)
        command = _packed("EVAL", _WRITE, 1, key, *counts, *expected, *removed, *written)
        reply = await self._request(key, _SCRIPT, command)
        return None if reply is None else _fields(reply)

    async def end(self, key: str, why: str) -> Fields:
        command = _packed("EVAL", _END, 1, key, why, round(TOMBSTONE_S * 1000))
        return _fields(await self._request(key, _SCRIPT, command))

    async def _weights(self, within_s: float) -> Mapping[str, float]:
        """See `Engine`: each master of a cluster weighs as much as it has slots."""
        if not self._cluster:
            return await super()._weights(within_s)
        if not self._slots:
            await self._find_slots(asyncio.get_running_loop().time() + within_s)
        weights = Counter[str]()
        for (before, _), (last, node) in pairwise([(-1, self._nodes[0]), *self._slots]):
            weights[self._url_of(node)] += last - before
        return weights

    def _address_of(self, key: str) -> str:
        return self._url_of(self._node(key)) if self._cluster else self.address

    async def close(self) -> None:
        await self._connections.close()

    async def _request(
        self, key: str, question: Any, command: bytes, *, repeatable: bool = False
    ) -> Any:
        """Return the reply of the node that keeps `key`; None if there is something else there."""
        due = asyncio.get_running_loop().time() + self._timeout_s
        connections = self._connections
        try:
            if self._cluster and not self._slots:
                await self._find_slots(due)
            node = self._node(key)
            reply = await connections.request(node, command, question, due, repeatable=repeatable)
            redirects = _REDIRECTS if self._cluster else 0
            while redirects and isinstance(reply, ResponseError):
                kind, _, where = str(reply).partition(" ")
                if kind not in ("ASK", "MOVED"):
                    break
                redirects -= 1
                host, port = AskError(where).node_addr
                node = (node[0] if host in ("", "?") else host, port)
                if kind == "MOVED":
                    self._slots = []
                asking = connections.request(node, _ASKING, (bytes, ResponseError), due)
                answer = connections.request(node, command, question, due)
                _, reply = await asyncio.gather(asking, answer)
            if not isinstance(reply, ResponseError):
                return reply
            if str(reply).startswith("WRONGTYPE"):
                log.warning("ignored a record that this package did not write: %s", reply)
                return None
            error = unavailable(self.address, reply)
            if re.search("read only replica|NOREPLICAS", str(reply)):
                # This server was the master before a fail-over: connect to the one that is now.
                connections.to(node).retire()
            raise error
        except StoreUnavailable:
            self._slots = []  # another node may have taken over: ask which
            raise

    def _node(self, key: str) -> Node:
        """Return the node that keeps `key`, as far as known."""
        if not self._cluster:
            return self._nodes[0]
        slot = key_slot(key.encode())
        return next((node for last, node in self._slots if slot <= last), self._nodes[0])

    async def _find_slots(self, due: float) -> None:
        """Ask all known nodes of the cluster at once which of them keeps which keys."""

        async def ask(node: Node) -> tuple[Node, Any]:
            question, command = (list, ResponseError), _SLOTS
            reply = await self._connections.request(node, command, question, due)
            if isinstance(reply, ResponseError):
                raise unavailable(self.address, reply)
            if not reply:  # it is in no cluster yet, or no more
                raise unavailable(self._url_of(node), ResponseError("CLUSTERDOWN it has no slots"))
            return node, reply

        ((asked, ranges), *_) = await answers(ask(node) for node in self._nodes)
        found = [(last, [_address(each, asked) for each in owners]) for _, last, *owners in ranges]
        self._slots = sorted((last, owners[0]) for last, owners in found)
        known = [*self._given, *(node for _, owners in found for node in owners)]
        self._nodes = list(dict.fromkeys(known))

    def _url_of(self, node: Node) -> str:
        return f"{self._scheme}://{node[0]}:{node[1]}"

    def _connect(self, node: Node) -> RedisConnection:
        options = {**self._options, "host": node[0], "port": node[1]}
        return RedisConnection(self.address, self._timeout_s, options)


def _address(owner: Sequence[Any], asked: Node) -> Node:
    """Return a node as CLUSTER SLOTS names it: no host means the one that was asked."""
    host = owner[0].decode() if owner[0] else asked[0]
    return (asked[0] if host == "?" else host), int(owner[1])


def _packed(*command: Any) -> bytes:
    packed: bytes = pack_command(command)
    return packed


def _fields(reply: Sequence[bytes]) -> Fields:
    """Return the fields in a reply: name, value, name, value, ..."""
    parts = iter(reply)
    return {str(name, "utf-8", "replace"): value for name, value in zip(parts, parts, strict=True)}
