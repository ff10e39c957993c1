"""Where the master is, according to Redis Sentinel.

During a fail-over the sentinels do not agree, and the old master still takes writes, which are lost
when it becomes a replica of the new one, 10 to 20 seconds later. The sentinel that leads the
fail-over knows first: the view with the highest epoch counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any, Final, TypeVar

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.utils import str_if_bytes

from ..errors import StoreUnavailable

T = TypeVar("T")
Node = tuple[str, int]

_GRACE_S: Final = 0.1
"""How long the other sentinels may take, once one of them has answered."""


class Sentinels:
    """The sentinels of one service. Belongs to an event loop; await `close` at the end."""

    def __init__(self, settings: Mapping[str, Any], timeout_s: float) -> None:
        """`settings` are storage["sentinel"]; see redis_settings.py."""
        bounds: Any = {"socket_timeout": timeout_s, "retry": Retry(NoBackoff(), 0)}
        self._service, options = settings["service"], settings.get("options", {})
        self._clients = [
            Redis(host=host, port=port, **bounds, **options) for host, port in settings["nodes"]
        ]

    async def master(self) -> Node:
        """Ask all at once, as some may be dead or frozen. Raises `RedisError` or `OSError`."""
        try:
            return max(await answers(map(self._view, self._clients), _GRACE_S))[1]
        except (RedisError, OSError) as error:
            raise MasterNotFoundError(f"No master found: {error}") from error

    async def close(self) -> None:
        await asyncio.gather(*(each.aclose() for each in self._clients), return_exceptions=True)

    async def _view(self, client: Redis) -> tuple[int, Node]:
        """Return the epoch of a sentinel's view, and the master in it."""
        # In this order: an address that is newer than the epoch does no harm.
        masters: Any = await client.sentinel_masters()
        state, name = masters.get(self._service), self._service
        address: Any = state and await client.sentinel_get_master_addr_by_name(name)
        if not address:
            raise MasterNotFoundError(f"No master found for {self._service!r}")
        replaced = (str_if_bytes(address[0]), address[1]) != (state["ip"], state["port"])
        if not replaced and (state["is_sdown"] or state["is_odown"]):
            raise MasterNotFoundError(f"No master found for {self._service!r}: it is down")
        return state["config-epoch"], address


async def answers(questions: Iterable[Coroutine[Any, Any, T]], grace_s: float = 0) -> list[T]:
    """Return the first result and those that come within `grace_s` of it; raise if all fail."""
    tasks = [asyncio.ensure_future(each) for each in questions]
    failed: Exception | None = None
    try:
        for done in asyncio.as_completed(tasks):
            try:
                await done
                break
            except (StoreUnavailable, RedisError, OSError) as error:
                failed = error
        await asyncio.wait(tasks, timeout=grace_s)
        found = [each.result() for each in tasks if each.done() and not each.exception()]
        if failed is not None and not found:
            raise failed
        return found
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
