"""The engines: where records are kept. All honour one contract, `base.Engine`."""

from .base import Engine, Fields
from .memcached import MemcachedEngine  # engine: memcached
from .memory import MemoryEngine
from .redis import RedisEngine  # engine: redis

ENGINES: dict[str, type[Engine]] = {
    "memcached": MemcachedEngine,  # engine: memcached
    "memory": MemoryEngine,
    "redis": RedisEngine,  # engine: redis
}

__all__ = ["ENGINES", "Engine", "Fields"]
