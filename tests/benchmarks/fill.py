"""Fills a private store with copies of a session, and weighs them.

Knows the wire formats of both servers, so that a million sessions take seconds.
"""

from __future__ import annotations

import json
import secrets
import socket
from typing import Final
from urllib.parse import unquote

from servers import HOST, Store

_BATCH: Final = 10_000
_DAY_S: Final = 24 * 60 * 60

# KEYS: the session, or nothing; ARGV: how many, the keys' beginning, a seed, then fields for plain ones
_COPY: Final = """\
local fields = #KEYS == 1 and redis.call('HGETALL', KEYS[1]) or {unpack(ARGV, 4)}
for i = 1, ARGV[1] do
  local name = redis.sha1hex(ARGV[3] .. i)
  local key = ARGV[2] .. (name .. name):sub(1, #KEYS == 1 and 64 or 36)
  redis.call('HSET', key, unpack(fields))
  redis.call('EXPIRE', key, 86400)
end
return redis.status_reply('OK')"""

PLAIN: Final = {"name": "Ada Lovelace", "role": "editor", "visits": "0"}
"""What a session of the benchmark holds, for those who would keep it by hand."""


def copy_session(store: Store, count: int) -> float:
    """Add `count` copies of a session that is in the store; return the bytes that each takes."""
    before = _bytes_held(store)
    if store.engine == "redis":
        _copy_in_redis(store, count, b"session")
    else:
        key, flags, value = _memcached_session(store)
        prefix = key[: key.rindex(":") + 1]
        _set_in_memcached(store, count, prefix, 64, flags, value)
    return (_bytes_held(store) - before) / count


def add_plain(store: Store, count: int) -> float:
    """Add `count` plain hashes, or strings of JSON, with the data of a session; return as above."""
    before = _bytes_held(store)
    if store.engine == "redis":
        _copy_in_redis(store, count, None)
    else:
        _set_in_memcached(store, count, "plain:", 36, 0, json.dumps(PLAIN).encode())
    return (_bytes_held(store) - before) / count


def _bytes_held(store: Store) -> int:
    return store.count("used_memory" if store.engine == "redis" else "bytes")


def _copy_in_redis(store: Store, count: int, kind: bytes | None) -> None:
    with socket.create_connection((HOST, store.port), timeout=60) as connection:
        source: list[bytes] = []
        prefix = b"plain:"
        if kind is not None:
            keys = _ask(connection, b"KEYS", b"*:" + kind + b":*")
            source = [next(line for line in keys.split(b"\r\n") if b":" + kind in line)]
            prefix = source[0][: source[0].rindex(b":") + 1]
        plain = [] if source else [part.encode() for item in PLAIN.items() for part in item]
        for start in range(0, count, _BATCH):
            number = b"%d" % min(_BATCH, count - start)
            seed = secrets.token_hex(8).encode()
            script = (b"EVAL", _COPY.encode(), b"%d" % len(source), *source)
            answer = _ask(connection, *script, number, prefix, seed, *plain)
            if not answer.startswith(b"+"):
                raise RuntimeError(f"Redis refused: {answer!r}")


def _ask(connection: socket.socket, *command: bytes) -> bytes:
    parts = (b"$%d\r\n%s\r\n" % (len(part), part) for part in command)
    connection.sendall(b"*%d\r\n%s" % (len(command), b"".join(parts)))
    data = connection.recv(65536)
    # Of arrays only the beginning is of use; the rest is read, so that it is not in the way.
    while data.startswith(b"*") and data.count(b"\r\n") < 1 + 2 * int(data[1 : data.index(b"\r")]):
        data += connection.recv(65536)
    return data


def _memcached_session(store: Store) -> tuple[str, int, bytes]:
    with socket.create_connection((HOST, store.port), timeout=60) as connection:
        connection.sendall(b"lru_crawler metadump all\r\n")
        listed = b""
        while not listed.endswith(b"END\r\n"):
            listed += connection.recv(65536)
        keys = [
            unquote(line.split()[0].removeprefix("key="))
            for line in listed.decode().split("\n")[:-2]
        ]
        key = next(key for key in keys if ":session:" in key)
        connection.sendall(f"get {key}\r\n".encode())
        answer = b""
        while not answer.endswith(b"END\r\n"):
            answer += connection.recv(65536)
        head, _, rest = answer.partition(b"\r\n")
        return key, int(head.split()[2]), rest[: -len(b"\r\nEND\r\n")]


def _set_in_memcached(
    store: Store, count: int, prefix: str, length: int, flags: int, value: bytes
) -> None:
    tail = b" %d %d %d noreply\r\n%s\r\n" % (flags, _DAY_S, len(value), value)
    with socket.create_connection((HOST, store.port), timeout=60) as connection:
        for start in range(0, count, _BATCH):
            names = (secrets.token_hex(length // 2) for _ in range(min(_BATCH, count - start)))
            sets = (b"set %s%s" % (prefix.encode(), name.encode()) + tail for name in names)
            connection.sendall(b"".join(sets))
        connection.sendall(b"version\r\n")
        if not connection.recv(1000).startswith(b"VERSION"):
            raise RuntimeError("memcached refused")
