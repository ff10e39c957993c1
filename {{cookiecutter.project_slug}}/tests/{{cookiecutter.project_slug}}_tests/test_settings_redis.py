"""REDIS_URL, REDIS_SENTINELS, REDIS_SERVICE, REDIS_CLUSTER: what the sessions make of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from {{cookiecutter.project_slug}}.sessions import ConfigurationError
from {{cookiecutter.project_slug}}.sessions.engines.redis_connection import (
    _CAUSES,
)
from {{cookiecutter.project_slug}}.settings import in_variables, read_settings

SECRET = "s3cret-" * 6
SENTINELS = "one:26379,two,[::1]:26380"
NODES = [("one", 26379), ("two", 26379), ("::1", 26380)]


def storage(**environ: str) -> dict[str, Any]:
    settings = read_settings(["app"], {"COOKIE_SECRET": SECRET, **environ})
    found: dict[str, Any] = settings.pycket["storage"]
    return found


def test_one_server_is_its_url() -> None:
    assert storage() == {"url": "redis://localhost:6379"}
    assert storage(REDIS_URL="rediss://u:p@db:1/2") == {"url": "rediss://u:p@db:1/2"}
    assert storage(REDIS_URL="unix:///run/redis.sock") == {"url": "unix:///run/redis.sock"}


def test_sentinels_say_where_the_server_is() -> None:
    found = storage(REDIS_SENTINELS=SENTINELS)
    assert found == {"url": "redis://", "sentinel": {"service": "mymaster", "nodes": NODES}}
    found = storage(REDIS_SENTINELS="one", REDIS_SERVICE="shop", REDIS_URL="rediss://u:p%40@/3")
    assert found["url"] == "rediss://u:p%40@/3"
    assert found["sentinel"]["service"] == "shop"


def test_sentinels_can_have_a_password_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "sentinels"
    file.write_text(f"rediss://:p%40ss@{SENTINELS}\n")
    sentinel = storage(REDIS_SENTINELS_FILE=str(file))["sentinel"]
    assert sentinel["nodes"] == NODES
    assert sentinel["options"] == {"password": "p@ss", "ssl": True}


@pytest.mark.parametrize(
    ("url", "nodes", "login"),
    [
        ("redis://localhost:6379", [("localhost", 6379)], "redis://"),
        ("redis://one:7000,two:7001", [("one", 7000), ("two", 7001)], "redis://"),
        ("redis://u:p,w@one,two/0", [("one", 6379), ("two", 6379)], "redis://u:p,w@/0"),
    ],
)
def test_a_cluster_is_reached_by_any_of_its_nodes(
    url: str, nodes: list[tuple[str, int]], login: str
) -> None:
    found = storage(REDIS_CLUSTER="true", REDIS_URL=url)
    assert found == {"cluster": True, "nodes": nodes, "url": login}


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"REDIS_URL": "redis://one:7000,two:7000"}, "write REDIS_CLUSTER=true if they are"),
        ({"REDIS_URL": "http://one"}, "REDIS_URL begins with 'http': write 'redis://host"),
        ({"REDIS_URL": "redis://one:x"}, "REDIS_URL: 'one:x' is not host:port"),
        ({"REDIS_URL": "redis://one?max_connections=5"}, "REDIS_URL has 'max_connections', in"),
        ({"REDIS_URL": "redis://:p/secret@one:1"}, "REDIS_URL: write a / in a password as %2F"),
        ({"REDIS_URL": "redis://redis://:secret@one:1"}, "REDIS_URL: write a / in a password"),
        ({"REDIS_URL": "redis://one?ssl=true"}, "REDIS_URL has 'ssl' after the question mark"),
        ({"REDIS_URL": "redis://one?protocol=5"}, "'protocol' in REDIS_URL is 5: write 2 or 3"),
        ({"REDIS_URL": "redis://one?ssl_ca_certs=/a"}, "in REDIS_URL needs TLS: write rediss://"),
        ({"REDIS_SENTINELS": "redis://:p/x@one:1"}, "REDIS_SENTINELS: write a / in a password"),
        ({"REDIS_SENTINELS": "redis://one?protocol=5"}, "'protocol' in REDIS_SENTINELS is 5"),
        ({"REDIS_SENTINELS": "one:0"}, "REDIS_SENTINELS: 'one:0' is not host:port"),
        ({"REDIS_SENTINELS": ","}, "REDIS_SENTINELS cannot be used"),
        ({"REDIS_SENTINELS": "http://one"}, "REDIS_SENTINELS cannot be used"),
        ({"REDIS_SENTINELS": "one", "REDIS_URL": "redis://two"}, "REDIS_URL names a host, and"),
        ({"REDIS_SENTINELS": "one", "REDIS_CLUSTER": "yes"}, "REDIS_SENTINELS and REDIS_CLUSTER"),
        ({"REDIS_SERVICE": "shop"}, "REDIS_SERVICE is for Sentinel"),
        ({"REDIS_CLUSTER": "yes", "REDIS_URL": "redis://one/1"}, "REDIS_URL names a database"),
        ({"REDIS_CLUSTER": "yes", "REDIS_URL": "unix:///s"}, "by host and port"),
        ({"REDIS_CLUSTER": "perhaps"}, "write true or false"),
    ],
)
def test_a_fault_names_the_variable_that_people_set(environ: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        storage(**environ)
    (fault,) = error.value.faults
    assert words in fault
    assert "storage" not in fault


def test_no_fault_shows_a_password() -> None:
    for name, value in {
        "REDIS_URL": "redis://me:hunter2@one:x,two",
        "REDIS_SENTINELS": "redis://me:hunter2@one:x",
    }.items():
        with pytest.raises(ConfigurationError) as error:
            storage(**{name: value})
        assert "hunter2" not in "\n".join(error.value.faults)


def test_every_cure_of_the_engine_speaks_of_variables() -> None:
    """At start, people see what they have set, and not what it was made into."""
    for _, cause, cure in _CAUSES:
        said = in_variables("redis", f"{cause}: {cure}")
        assert not re.search(r"storage|'\w+'", said), said
