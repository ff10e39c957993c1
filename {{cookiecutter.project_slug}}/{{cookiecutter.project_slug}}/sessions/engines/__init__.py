"""Engines keep records: one contract, `base.Engine`, and one module for each store.

To add a store: subclass `Engine`, list the class in `ENGINES`, and run tests/sessions/test_engines.py
on it.
"""

from .base import Changes, Engine, Fields, Snapshot
from .memcached import MemcachedEngine  # engine: memcached
from .memory import MemoryEngine
from .redis import RedisEngine  # engine: redis

ENGINES: dict[str, type[Engine]] = {
    # Lines that end in a mark belong to one answer alone.  # without hooks
    "memcached": MemcachedEngine,  # engine: memcached
    "memory": MemoryEngine,
    "redis": RedisEngine,  # engine: redis
}

__all__ = ["ENGINES", "Changes", "Engine", "Fields", "Snapshot"]
