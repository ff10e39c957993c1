"""What `settings["pycket"]["storage"]` may say about Redis, and what is refused, in words."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from redis import CredentialProvider
from redis.asyncio import Redis

from {{cookiecutter.project_slug}}.sessions.engines import ENGINES, Engine

NODES = [("one", 26379), ["two", 26379]]
FAULTS = ENGINES["redis"].faults


class Credentials(CredentialProvider):
    def get_credentials(self) -> tuple[str, str]:
        return "user", "secret"


def opened(storage: dict[str, Any], role: str = "sessions") -> Engine:
    assert FAULTS(storage) == []
    return ENGINES["redis"].open(storage, role, 2.0)


@pytest.mark.parametrize(
    ("storage", "address"),
    [
        ({}, "redis://localhost:6379"),
        ({"host": "store", "port": 6380, "db_sessions": 3}, "redis://store:6380"),
        ({"host": "s", "port": 1, "password": "p"}, "redis://s:1"),
        ({"host": "::1", "db_sessions": 100}, "redis://::1:6379"),
        ({"port": 65535, "db_sessions": 0, "db_notifications": 0}, "redis://localhost:65535"),
        ({"username": "ada", "password": "secret", "client_name": "app"}, "redis://localhost:6379"),
        ({"url": "redis://:secret@store:6380"}, "redis://store:6380"),
        ({"url": "redis://store/5"}, "redis://store:6379"),
        ({"url": "redis://store?db=5&protocol=3"}, "redis://store:6379"),
        ({"url": "rediss://store", "ssl_cert_reqs": "none"}, "rediss://store:6379"),
        ({"url": "rediss://store?ssl_check_hostname=false"}, "rediss://store:6379"),
        ({"url": "unix:///run/redis.sock"}, "unix:///run/redis.sock"),
        ({"unix_socket_path": "/run/redis.sock"}, "unix:///run/redis.sock"),
        ({"ssl": True, "protocol": 3}, "rediss://localhost:6379"),
        ({"credential_provider": Credentials()}, "redis://localhost:6379"),
        ({"sentinel": {"service": "mine", "nodes": NODES}}, "redis service mine"),
        (
            {
                "sentinel": {
                    "service": "mine",
                    "nodes": NODES,
                    "options": {"password": "secret"},
                },
                "password": "secret",
            },
            "redis service mine",
        ),
        ({"cluster": True, "host": "store"}, "redis://store:6379"),
        ({"cluster": True, "nodes": NODES}, "redis://one:26379"),
    ],
)
def test_what_works_is_accepted_and_the_address_has_no_password(
    storage: dict[str, Any], address: str
) -> None:
    for role in ("sessions", "notifications"):
        engine = opened(storage, role)
        assert engine.address == address
        assert b"secret" not in pickle.dumps(engine.address)


@pytest.mark.parametrize(
    ("storage", "words"),
    [
        # what is written, and what the sentence about it must say
        ({"hots": "store"}, ["'hots'", "'host'"]),
        ({"completely": 1}, ["'completely'"]),
        ({"host": ""}, ["'host'", "''"]),
        ({"host": None}, ["'host'", "None"]),
        ({"port": "6379"}, ["'port'", "'6379'"]),
        ({"port": 0}, ["'port'", "0"]),
        ({"port": True}, ["'port'", "True"]),
        ({"port": 65536}, ["'port'", "65536"]),
        ({"db_sessions": -1}, ["'db_sessions'", "-1"]),
        ({"db_notifications": "1"}, ["'db_notifications'", "'1'"]),
        ({"protocol": 4}, ["'protocol'", "2 or 3"]),
        ({"cluster": "yes"}, ["'cluster'", "True or False"]),
        ({"password": 5}, ["'password'", "int"]),
        ({"credential_provider": "x"}, ["'credential_provider'"]),
        ({"sentinel": {"service": "mine"}}, ["'sentinel'", "'nodes'"]),
        ({"sentinel": {"service": "mine", "nodes": ["one"]}}, ["'sentinel'", "6379"]),
        ({"sentinel": {"service": "mine", "nodes": NODES, "oops": 1}}, ["'sentinel'"]),
        (
            {"sentinel": {"service": "mine", "nodes": NODES, "options": {"socket_timeout": 1}}},
            ["'socket_timeout'", "storage_timeout"],
        ),
        (
            {"sentinel": {"service": "mine", "nodes": NODES, "options": {"pasword": "x"}}},
            ["'pasword'", "'password'"],
        ),
        (
            {"sentinel": {"service": "mine", "nodes": NODES, "options": {"protocol": 7}}},
            ["'sentinel'", "'protocol'", "2 or 3"],
        ),
        ({"sentinel": {"service": "mine", "nodes": NODES}, "port": 6380}, ["'port'"]),
        ({"host": "localhost:6380"}, ["'host'", "'port'"]),
        ({"host": "my store"}, ["'host'"]),
        ({"password": "half \ud800"}, ["'password'"]),
        ({"client_name": "my app"}, ["'client_name'", "blanks"]),
        ({"unix_socket_path": "/run/redis.sock", "ssl": True}, ["TLS"]),
        ({"unix_socket_path": "/run/redis.sock", "port": 6380}, ["'port'"]),
        ({"url": "unix://"}, ["no socket"]),
        ({"url": "redis://store?host=other"}, ["'host'", "question mark", "redis://host:6379"]),
        ({"url": "redis://store/1?db=2"}, ["two databases"]),
        ({"sentinel": {"service": "mine", "nodes": []}}, ["'sentinel'", "6379"]),
        ({"sentinel": {"service": "mine", "nodes": [("one", 65536)]}}, ["'sentinel'", "6379"]),
        ({"sentinel": {"service": "", "nodes": NODES}}, ["'sentinel'", "'mymaster'"]),
        ({"cluster": True, "nodes": []}, ["'nodes'", "6379"]),
        ({"nodes": NODES}, ["'nodes'", "'cluster': True"]),
        ({"max_connections": 10}, ["'max_connections'", "one connection"]),
        ({"health_check_interval": 30}, ["'health_check_interval'", "keepalive"]),
        ({"retry_on_timeout": True}, ["'retry_on_timeout'", "twice"]),
        ({"socket_timeout": 1}, ["'socket_timeout'", "storage_timeout"]),
        ({"connection_pool": object()}, ["'connection_pool'", "url"]),
        ({"decode_responses": True}, ["'decode_responses'", "bytes"]),
        ({"db": 1}, ["'db'", "db_sessions"]),
        ({"url": 5}, ["'url'", "redis://"]),
        ({"url": "store:6379"}, ["'url'", "redis://"]),
        ({"url": "http://store"}, ["'http'", "redis://"]),
        ({"url": "redis://store/abc"}, ["'abc'", "number"]),
        ({"url": "redis://store:port"}, ["'url'", "port", "redis://host:6379"]),
        ({"url": "redis://store:99999"}, ["'url'", "port"]),
        ({"url": "redis://store:0"}, ["'url'", "port"]),
        ({"url": "redis://store?nonsense=1"}, ["'nonsense'"]),
        ({"url": "redis://store?hots=1"}, ["'hots'", "'host'"]),
        ({"url": "redis://store?db=abc"}, ["'url'"]),
        ({"url": "redis://store?protocol=abc"}, ["'url'"]),
        ({"url": "redis://store?protocol=9"}, ["'protocol'", "9"]),
        ({"url": "redis://store?max_connections=5"}, ["'max_connections'", "one connection"]),
        ({"url": "redis://store?socket_timeout=5"}, ["'socket_timeout'", "storage_timeout"]),
        ({"url": "redis://store/1", "db_sessions": 2}, ["'db_sessions'", "keep one"]),
        ({"url": "redis://store?db=1", "db_notifications": 2}, ["'db_notifications'", "keep one"]),
        ({"url": "redis://store", "host": "other"}, ["'host'", "keep one"]),
        ({"url": "redis://:secret@store", "password": "secret"}, ["'password'", "keep one"]),
        ({"host": "store", "unix_socket_path": "/s"}, ["'host'", "'unix_socket_path'"]),
        (
            {"sentinel": {"service": "mine", "nodes": NODES}, "cluster": True},
            ["'sentinel'", "'cluster'"],
        ),
        ({"sentinel": {"service": "mine", "nodes": NODES}, "host": "store"}, ["'host'"]),
        ({"sentinel": {"service": "mine", "nodes": NODES}, "url": "redis://store"}, ["'host'"]),
        ({"cluster": True, "unix_socket_path": "/s"}, ["'cluster'", "host and port"]),
        ({"cluster": True, "db_notifications": 1}, ["database", "number 0 only"]),
        ({"cluster": True, "url": "redis://store/1"}, ["database", "number 0 only"]),
        ({"cluster": True, "nodes": NODES, "host": "store"}, ["'nodes'", "'host'"]),
        ({"ssl_ca_certs": "/ca.pem"}, ["'ssl_ca_certs'", "'ssl': True"]),
        ({"ssl": True, "ssl_ca_certs": "/no/such/file.pem"}, ["No such file", "ssl_ca_certs"]),
        ({"ssl": True, "ssl_cert_reqs": "maybe"}, ["maybe"]),
        ({"ssl": True, "ssl_min_version": "TLSv1.2"}, ["ssl_min_version"]),
        (
            {"sentinel": {"service": "mine", "nodes": NODES, "options": {"ssl_ca_certs": "/x"}}},
            ["'sentinel'", "'ssl_ca_certs'", "'ssl': True"],
        ),
        (
            {
                "sentinel": {
                    "service": "mine",
                    "nodes": NODES,
                    "options": {"ssl": True, "ssl_ca_certs": "/no/such/file.pem"},
                }
            },
            ["'sentinel'", "No such file", "ssl_ca_certs"],
        ),
        ({"host": "[::1]"}, ["'host'", "'[::1]'"]),
        ({"unix_socket_path": "unix:///s"}, ["'unix_socket_path'", "/run/redis.sock"]),
        ({"url": "rediss://store?ssl=false"}, ["'ssl'", "question mark", "rediss://"]),
        ({"credential_provider": Credentials(), "password": "secret"}, ["'credential_provider'"]),
        ({"credential_provider": Credentials(), "username": "web"}, ["'username'"]),
        ({"ssl": True, "ssl_min_version": 10**12}, ["ssl_min_version"]),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(
    storage: dict[str, Any], words: list[str]
) -> None:
    faults = FAULTS(storage)
    assert len(faults) == 1
    for word in words:
        assert word in faults[0]
    assert "secret" not in faults[0]


@pytest.mark.parametrize(
    "url",
    [
        "redis://:secret#x@store",
        "redis://:sec/ret@store",
        "redis://:secret@[store",
        "redis://a:secret",
    ],
)
def test_url_that_is_broken_by_its_password_is_refused_without_showing_it(url: str) -> None:
    faults = FAULTS({"url": url})
    assert len(faults) == 1
    assert "sec" not in faults[0].replace("special", "")


def test_all_faults_are_reported_at_once() -> None:
    storage = {"prot": 1, "port": "x", "max_connections": 5, "url": "redis://store/abc?nonsense=1"}
    assert len(FAULTS(storage)) == 5
    both = {"host": "store", "unix_socket_path": "/s"}
    sentinel = {"service": "mine", "nodes": NODES, "options": {"protocol": 7}}
    assert len(FAULTS({**both, "max_connections": 5})) == 2
    assert len(FAULTS({"sentinel": sentinel, "port": 6380, "cluster": "yes"})) == 4


def test_what_is_given_is_not_changed() -> None:
    storage = {"url": "redis://store/2", "client_name": "app"}
    opened(storage)
    assert storage == {"url": "redis://store/2", "client_name": "app"}


@pytest.mark.gen_test
async def test_a_key_lives_for_as_long_as_was_said(storage: dict[str, Any], key: str) -> None:
    records = opened(storage)
    async with Redis(**storage) as client:
        for ttl, left_ms in ((3600, 3_600_000), (0.3, 300), (2.5, 2_500), (0.0001, 1)):
            await records.write(f"{key}{ttl}", {"a": b"1"}, ttl, create=True)
            assert left_ms - 250 <= await client.pttl(f"{key}{ttl}") <= left_ms
        await records.end(key, "ended")
        assert 59_750 <= await client.pttl(key) <= 60_000
    await records.close()


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("more", "databases"),
    [
        ({}, (0, 1)),
        ({"db_sessions": 2, "db_notifications": 3}, (2, 3)),
        ({"url": "/4"}, (4, 4)),
    ],
)
async def test_sessions_and_notifications_are_in_their_databases(
    storage: dict[str, Any], key: str, more: dict[str, Any], databases: tuple[int, int]
) -> None:
    if "url" in more:
        settings = {"url": f"redis://{storage['host']}:{storage['port']}{more['url']}"}
    else:
        settings = {**storage, **more}
    for role, database in zip(("sessions", "notifications"), databases, strict=True):
        records = opened(settings, role)
        await records.write(f"{key}:{role}", {"a": b"1"}, 60, create=True)
        await records.close()
        async with Redis(**storage, db=database) as client:
            assert await client.exists(f"{key}:{role}") == 1


@pytest.mark.parametrize(
    "storage",
    [
        {"url": "redis://:p/secret@store:6379/0"},
        {"host": "redis://:secret@store"},
        {"sentinel": {"service": "mine", "nodes": ["one:1"], "options": {"password": "secret"}}},
        {"credential_provider": ("user", "secret")},
    ],
)
def test_what_is_refused_shows_no_password(storage: dict[str, Any]) -> None:
    faults = FAULTS(storage)
    assert faults
    assert "secret" not in "".join(faults)
