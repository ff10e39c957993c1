"""Records as Redis hashes, through redis.asyncio.

Each step is one short script on one key, so it is atomic and works in a cluster. Scripts travel
with EVAL: there is no cache of scripts that a restart or a fail-over could lose.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, ClassVar, Final

from hiredis import pack_command
from redis.asyncio import ConnectionPool, Redis, RedisCluster
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.maint_notifications import MaintNotificationsConfig

from ..errors import StoreUnavailable
from .base import Engine, Extensions, Fields, log, unknown_names
from .redis_wire import RedisWire

# ARGV: create, ttl in ms, number of fields to remove, those fields, then field, value, ...
_SAVE: Final = """\
if ARGV[1] == '0' and redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local from = 4 + ARGV[3]
for i = from, #ARGV, 1000 do
  redis.call('HSET', KEYS[1], unpack(ARGV, i, math.min(i + 999, #ARGV)))
end
for i = 4, from - 1 do redis.call('HDEL', KEYS[1], ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1"""

# ARGV: the fields; none stands for all
_TAKE: Final = """\
if #ARGV == 0 then
  local all = redis.call('HGETALL', KEYS[1])
  redis.call('DEL', KEYS[1])
  return all
end
local taken = {}
for _, field in ipairs(ARGV) do
  local value = redis.call('HGET', KEYS[1], field)
  if value then
    redis.call('HDEL', KEYS[1], field)
    taken[#taken + 1] = field
    taken[#taken + 1] = value
  end
end
return taken"""

# ARGV: create, ttl in ms, field, '1' and the old value or '0' and '', the same for the new one
_SWAP: Final = """\
if ARGV[1] == '0' and redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local held = redis.call('HGET', KEYS[1], ARGV[3])
if ARGV[4] == '1' then
  if held ~= ARGV[5] then return 0 end
elseif held then return 0 end
if ARGV[6] == '1' then redis.call('HSET', KEYS[1], ARGV[3], ARGV[7])
else redis.call('HDEL', KEYS[1], ARGV[3]) end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1"""

_Command = tuple[Any, ...]

_OURS: Final = ("db_sessions", "db_notifications", "url", "sentinel", "cluster")
_CLIENTS: Final = tuple(
    name for name in inspect.signature(Redis.__init__).parameters if name not in ("self", "db")
)


class RedisEngine(Engine):
    name: ClassVar[str] = "redis"

    def __init__(
        self, client: Any, address: str, timeout_s: float, sentinels: Sequence[Redis] = ()
    ) -> None:
        self.address = address
        self._client: Redis = client  # a RedisCluster in the subclass, which is used like it
        self._sentinels = sentinels
        self._timeout_s = timeout_s
        self._wire: RedisWire | None = None
        self._extensions = Extensions()

    @classmethod
    def faults(cls, storage: Mapping[str, Any]) -> list[str]:
        return _faults(storage)

    @classmethod
    def open(cls, storage: Mapping[str, Any], role: str, timeout_s: float) -> RedisEngine:
        """Return an engine on database `db_sessions` (0) or `db_notifications` (1).

        A `url` that names a database keeps both there; a cluster has but database 0.
        """
        options = dict(storage)
        databases = {
            "sessions": options.pop("db_sessions", None),
            "notifications": options.pop("db_notifications", None),
        }
        # redis-py would retry ten times, a `take` whose answer was lost among them. How long an
        # answer may take is the wire's to watch.
        options.setdefault("retry", Retry(NoBackoff(), 0))
        options.setdefault("socket_timeout", None)
        options.setdefault("socket_connect_timeout", timeout_s)
        cluster = options.pop("cluster", False)
        sentinel = options.pop("sentinel", None)
        url = options.pop("url", None)
        if url is not None:
            options |= parse_url(url)
        database = databases[role]
        if database is None:
            database = options.pop("db", {"sessions": 0, "notifications": 1}[role])
        options.pop("db", None)
        address = _address(options)
        if cluster:
            nodes = RedisCluster(**_cluster_options(options))
            where = f"redis cluster at {address}"
            return RedisClusterEngine(nodes, where, timeout_s)
        # RESP3's notices of maintenance ask a server for something it may not know at each connect
        options.setdefault("maint_notifications_config", MaintNotificationsConfig(enabled=False))
        if sentinel is not None:
            sentinels = [(host, int(port)) for host, port in sentinel["nodes"]]
            service = sentinel["service"]
            watch = Sentinel(  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
                sentinels, socket_timeout=timeout_s, **sentinel.get("options", {})
            )
            client = watch.master_for(service, db=database, **options)
            return cls(client, f"redis service {service}", timeout_s, watch.sentinels)
        if "connection_class" in options or "path" in options:
            pool = ConnectionPool(db=database, **options)
            return cls(Redis.from_pool(pool), address, timeout_s)
        return cls(Redis(db=database, **options), address, timeout_s)

    async def load(self, key: str, ttl: float | None = None) -> Fields:
        commands: list[_Command] = [("HGETALL", key)]
        if ttl is not None and self._extensions.due(key, ttl):
            commands.append(("PEXPIRE", key, _ms(ttl)))
        fields = await self._ask(key, *commands)
        return _fields(fields) if fields else {}

    async def save(
        self, key: str, changes: Mapping[str, bytes | None], ttl: float, *, create: bool
    ) -> bool:
        removed: list[Any] = []
        written: list[Any] = []
        for name, value in changes.items():
            if value is None:
                removed.append(name)
            else:
                written += (name, value)
        self._extensions.done(key, ttl)
        arguments = (int(create), _ms(ttl), len(removed), *removed, *written)
        saved = await self._ask(key, ("EVAL", _SAVE, 1, key, *arguments))
        if saved is None and create:  # what was in the way is gone
            saved = await self._ask(key, ("EVAL", _SAVE, 1, key, *arguments))
        return bool(saved)

    async def take(self, key: str, *fields: str) -> Fields:
        taken = await self._ask(key, ("EVAL", _TAKE, 1, key, *fields))
        return _fields(taken) if taken else {}

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
        self._extensions.done(key, ttl)
        arguments = (int(create), _ms(ttl), field, *_optional(old), *_optional(new))
        return bool(await self._ask(key, ("EVAL", _SWAP, 1, key, *arguments)))

    async def delete(self, key: str) -> None:
        await self._ask(key, ("DEL", key))

    async def ping(self) -> None:
        await self._ask("", ("PING",))

    async def close(self) -> None:
        if self._wire is not None:
            await self._wire.close()
        for client in (self._client, *self._sentinels):
            await client.aclose()

    async def _ask(self, key: str, *commands: _Command) -> Any:
        """The answer to the first command, or None after `key` turned out to be no hash.

        The others go with it, whatever their answers.
        """
        answer = await self._send(commands)
        if not isinstance(answer, Exception):
            return answer
        reason = str(answer)
        if reason.startswith("WRONGTYPE"):
            log.warning("dropped a record that is not ours: %s", reason)
            await self._ask(key, ("DEL", key))
            return None
        if reason.startswith("READONLY") and self._wire is not None:
            # After a fail-over this server is a replica: who connects anew is led to the master.
            self._wire.lose(reason)
        # out of memory, still loading, no permission...
        raise StoreUnavailable(self.address, reason)

    def _send(self, commands: Sequence[_Command]) -> Awaitable[Any]:
        """The answer to the first command; where Redis has refused it, an exception as a value."""
        wire = self._wire
        if wire is None or wire.lost:
            pool = self._client.connection_pool
            connection = pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py's gap
            wire = self._wire = RedisWire(connection, self.address, self._timeout_s)
        answer = wire.ask(pack_command(commands[0]))
        for each in commands[1:]:
            wire.tell(pack_command(each))
        return answer


class RedisClusterEngine(RedisEngine):
    """The same on a cluster, where redis-py finds the node of each key."""

    async def _send(self, commands: Sequence[_Command]) -> Any:
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        try:
            async with asyncio.timeout(self._timeout_s):
                return (await pipeline.execute(raise_on_error=False))[0]
        except TimeoutError:
            reason = f"no answer within {self._timeout_s:g} s"
            raise StoreUnavailable(self.address, reason) from None
        except (RedisError, OSError) as error:
            raise StoreUnavailable(self.address, str(error) or type(error).__name__) from error


def _faults(storage: Mapping[str, Any]) -> list[str]:
    faults = unknown_names("storage", storage, (*_OURS, *_CLIENTS))
    for name in ("db_sessions", "db_notifications"):
        value = storage.get(name, 0)
        if type(value) is not int or value < 0:
            faults.append(f"storage[{name!r}] is {value!r}: write a database number such as 0")
    port = storage.get("port", 6379)
    if type(port) is not int or not 0 < port < 65536:
        faults.append(f"storage['port'] is {port!r}: write a port such as 6379")
    most = storage.get("max_connections")
    if most is not None and (type(most) is not int or most < 1):
        faults.append(f"storage['max_connections'] is {most!r}: write how many, at least 1")
    if "url" in storage:
        try:
            parse_url(storage["url"])
        except (ValueError, TypeError, AttributeError):
            faults.append(
                "storage['url'] is no address of a Redis: write "
                "redis://host:6379, rediss://host:6379 or unix:///path"
            )
    sentinel = storage.get("sentinel")
    if sentinel is not None and not (
        isinstance(sentinel, Mapping) and {"service", "nodes"} <= set(sentinel)
    ):
        faults.append("storage['sentinel'] must be {'service': name, 'nodes': [(host, port), ...]}")
    if sentinel is not None and storage.get("cluster"):
        faults.append("storage has both 'sentinel' and 'cluster': keep one")
    return faults


def _address(options: Mapping[str, Any]) -> str:
    """Where the server is, without its password."""
    path = options.get("path") or options.get("unix_socket_path")
    if path:
        return f"unix://{path}"
    secure = options.get("ssl") or "SSL" in getattr(options.get("connection_class"), "__name__", "")
    return (
        f"{'rediss' if secure else 'redis'}://"
        f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
    )


def _cluster_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """RedisCluster takes `ssl` where a pool takes a class of connections."""
    rest = dict(options)
    if rest.pop("connection_class", None) is not None:
        rest["ssl"] = True
    rest.pop("maint_notifications_config", None)
    return rest


def _ms(ttl: float) -> int:
    return max(1, round(ttl * 1000))


def _optional(value: bytes | None) -> tuple[int, bytes]:
    return (0, b"") if value is None else (1, value)


def _fields(answer: Mapping[bytes, bytes] | Sequence[bytes]) -> Fields:
    """A hash, as RESP3 or as RESP2 and scripts answer it."""
    if isinstance(answer, Mapping):
        return {name.decode(errors="replace"): value for name, value in answer.items()}
    names, values = answer[::2], answer[1::2]
    return {n.decode(errors="replace"): value for n, value in zip(names, values, strict=True)}
