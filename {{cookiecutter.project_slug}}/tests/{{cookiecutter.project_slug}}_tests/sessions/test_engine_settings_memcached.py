"""What `settings["pycket"]["storage"]` may say about Memcached, and what is refused, in words."""

from __future__ import annotations

from typing import Any

import pytest

from {{cookiecutter.project_slug}}.sessions.engines import ENGINES

FAULTS = ENGINES["memcached"].faults


@pytest.mark.parametrize(
    ("storage", "address"),
    [
        ({}, "memcached://localhost:11211"),
        ({"servers": ["store"]}, "memcached://store:11211"),
        ({"servers": ("one:1", "inet:two:2")}, "memcached://one:1,two:2"),
        ({"servers": ["inet6:[::1]:3", "unix:/run/m.sock"]}, "memcached://::1:3,/run/m.sock"),
        ({"servers": [("one:1", 2), ["two:2", 1]]}, "memcached://one:1,two:2"),
        ({"max_item_bytes": 8 * 1024 * 1024}, "memcached://localhost:11211"),
    ],
)
def test_what_works_is_accepted(storage: dict[str, Any], address: str) -> None:
    assert FAULTS(storage) == []
    assert ENGINES["memcached"].open(storage, "sessions", 2.0).address == address


@pytest.mark.parametrize(
    ("storage", "words"),
    [
        # what is written, and what the sentence about it must say
        ({"server": []}, ["'server'", "'servers'"]),
        ({"failover": True}, ["'failover'"]),
        ({"host": "store"}, ["'host'"]),
        ({"servers": "store:11211"}, ["'store:11211'", "list"]),
        ({"servers": []}, ["[]", "list"]),
        ({"servers": None}, ["None", "list"]),
        ({"servers": [""]}, ["''", "host:port"]),
        ({"servers": ["store:"]}, ["'store:'", "host:port"]),
        ({"servers": ["store:port"]}, ["'store:port'", "host:port"]),
        ({"servers": ["store:0"]}, ["'store:0'", "host:port"]),
        ({"servers": ["store:70000"]}, ["'store:70000'", "host:port"]),
        ({"servers": ["unix:"]}, ["'unix:'", "unix:/path"]),
        ({"servers": ["inet6:::1"]}, ["'inet6:::1'", "inet6:[host]:port"]),
        ({"servers": [5]}, ["5", "host:port"]),
        ({"servers": [("store:1", 0)]}, ["0", "weight"]),
        ({"servers": [("store:1", "2")]}, ["'2'", "weight"]),
        ({"servers": [("store:1", 1, 2)]}, ["weight"]),
        ({"servers": [("store", 11212)]}, ["11212", "weight"]),
        ({"servers": ["one:1", " two:2"]}, ["' two:2'", "host:port"]),
        ({"servers": ["/run/m.sock"]}, ["'/run/m.sock'", "unix:/path"]),
        ({"servers": ["ada@store:1"]}, ["host:port"]),
        ({"max_item_bytes": 1000}, ["1000", "-I"]),
        ({"servers": ["store:1", "store:1"]}, ["'store:1'", "twice"]),
        ({"servers": ["store:1", ("store:1", 2)]}, ["'store:1'", "twice"]),
        ({"max_item_bytes": "1m"}, ["'1m'", "-I"]),
        ({"max_item_bytes": 100}, ["100", "-I"]),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(
    storage: dict[str, Any], words: list[str]
) -> None:
    faults = FAULTS(storage)
    assert len(faults) == 1
    for word in words:
        assert word in faults[0]


def test_all_faults_are_reported_at_once() -> None:
    storage = {"failover": True, "servers": ["a:b", "c:d"], "max_item_bytes": 1}
    assert len(FAULTS(storage)) == 4
