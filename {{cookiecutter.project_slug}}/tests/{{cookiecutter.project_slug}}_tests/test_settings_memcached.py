"""MEMCACHED_SERVERS: what the sessions make of it."""

from __future__ import annotations

import pytest

from {{cookiecutter.project_slug}}.sessions import ConfigurationError
from {{cookiecutter.project_slug}}.settings import Settings, read_settings

SECRET = "s3cret-" * 6


def read(servers: str) -> Settings:
    return read_settings(["app"], {"COOKIE_SECRET": SECRET, "MEMCACHED_SERVERS": servers})


def test_several_servers_share_the_visitors_by_weight() -> None:
    settings = read("one:11211, two:11211=2,unix:/run/m.sock=3")
    assert settings.pycket["storage"] == {
        "servers": ["one:11211", ("two:11211", 2), ("unix:/run/m.sock", 3)]
    }


@pytest.mark.parametrize(
    ("servers", "words"),
    [
        ("one:11211=0", "'one:11211=0' has no whole weight; write host:port=2"),
        ("one:11211=", "has no whole weight"),
        ("one:11211=1.5", "has no whole weight"),
        ("one:x", "MEMCACHED_SERVERS names 'one:x': write 'host:port'"),
        ("one:0=2", "MEMCACHED_SERVERS names one:0=2: write"),
        ("one:1,one:1", "MEMCACHED_SERVERS names 'one:1' twice: write one:1=2 for a larger share"),
        (",", "MEMCACHED_SERVERS"),
    ],
)
def test_a_fault_names_the_variable_that_people_set(servers: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        read(servers)
    (fault,) = error.value.faults
    assert words in fault
    assert "storage" not in fault
