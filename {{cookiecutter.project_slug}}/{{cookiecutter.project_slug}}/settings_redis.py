"""REDIS_URL and its companions: one server, one that Sentinel names, or a cluster.

Returns what sessions/engines/redis_settings.py describes. To set more than the variables can, add
it to what `storage` returns.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from .sessions import ConfigurationError
from .sessions.engines.redis_settings import flat
from .settings_sources import Option
from .settings_values import listed

usual_url = "redis://localhost:6379"
usual_service = "mymaster"

Node = tuple[str, int]


OPTIONS = (
    Option("redis_url", str, "address of the session store", is_secret=True),
    Option("redis_sentinels", str, "host:port of the sentinels, with commas", is_secret=True),
    Option("redis_service", str, "what the sentinels call the master"),
    Option("redis_cluster", bool, "whether redis_url names nodes of a cluster"),
)


def storage(settings: Any) -> dict[str, Any]:
    """Return settings["pycket"]["storage"] for a `Settings`. Raises ConfigurationError, listing
    every fault.
    """
    url, sentinels = settings.redis_url, settings.redis_sentinels
    service, cluster = settings.redis_service, settings.redis_cluster
    faults: list[str] = []
    if sentinels and cluster:
        faults.append("REDIS_SENTINELS and REDIS_CLUSTER: a cluster fails over by itself: keep one")
    if service != usual_service and not sentinels:
        faults.append(
            "REDIS_SERVICE is for Sentinel: write REDIS_SENTINELS as well, or leave it out"
        )
    if url.startswith("unix:") and (sentinels or cluster):
        faults.append(
            "REDIS_URL names a socket: Sentinel and clusters are reached by host and port"
        )
    wanted = "redis://" if sentinels and url == usual_url else url
    nodes, login = _taken_apart("REDIS_URL", wanted, 6379, faults)
    found: dict[str, Any] = {"url": login}
    if sentinels:
        if nodes:
            faults.append(
                "REDIS_URL names a host, and Sentinel says where the server is: write "
                "redis://user:password@ alone, or leave REDIS_URL out"
            )
        found["sentinel"] = _sentinel(sentinels, service, faults)
    elif cluster:
        found |= {"cluster": True, "nodes": nodes or [("localhost", 6379)]}
    elif len(nodes) > 1:
        faults.append(
            "REDIS_URL names several hosts: write REDIS_CLUSTER=true if they are a cluster, or "
            "REDIS_SENTINELS if they are sentinels"
        )
    else:
        found["url"] = url
    if faults:
        raise ConfigurationError(faults)
    return found


def _sentinel(text: str, service: str, faults: list[str]) -> dict[str, Any]:
    """Return the storage's part for `host1:26379,host2:26379`, with a URL's beginning if need be:
    `rediss://user:password@host1:26379,...`.
    """
    url = text if "://" in text else f"redis://{text}"
    before = len(faults)
    nodes, login = _taken_apart("REDIS_SENTINELS", url, 26379, faults)
    options: dict[str, Any] = {}
    try:
        options = flat({"url": login})
    except ValueError:
        nodes = []
    if not nodes and len(faults) == before:
        faults.append("REDIS_SENTINELS cannot be used; write host1:26379,host2:26379,host3:26379")
    found: dict[str, Any] = {"service": service, "nodes": nodes}
    return found | ({"options": options} if options else {})


def _taken_apart(name: str, url: str, port: int, faults: list[str]) -> tuple[list[Node], str]:
    """Return the hosts in a URL, which may be several, and the URL without them."""
    scheme, separator, rest = url.partition("://")
    if scheme == "unix" or not separator:
        return [], url
    end = min((rest.find(each) for each in "/?#" if each in rest), default=len(rest))
    if "@" in rest[end:]:
        faults.append(f"{name}: write a / in a password as %2F, and other special characters alike")
        return [], url
    login, at, hosts = rest[:end].rpartition("@")
    nodes: list[Node] = []
    for each in listed(hosts):
        try:
            parts = urlsplit(f"//{each}")
            if not parts.hostname or parts.port == 0:
                raise ValueError
            nodes.append((parts.hostname, parts.port or port))
        except ValueError:
            faults.append(f"{name}: {each!r} is not host:port; write for example host1:{port}")
    return nodes, f"{scheme}://{login}{at}{rest[end:]}"


_VARIABLES = (
    # what sessions/ says: what people have set
    ("correct 'sentinel' in storage", "correct REDIS_SENTINELS or REDIS_SERVICE"),
    ("the address in storage", "REDIS_URL"),
    (
        "write 'password' in storage, and 'username' if need be",
        "write REDIS_URL=redis://user:password@host:6379",
    ),
    ("correct 'username' and 'password' in storage", "correct user and password in REDIS_URL"),
    ("correct 'password' in storage", "correct the password in REDIS_URL"),
    ("leave 'password' out", "leave the password out of REDIS_URL"),
    ("it has no password, and storage has one", "it has no password, and REDIS_URL has one"),
    ("write 'protocol': 2 in storage", "write ?protocol=2 behind REDIS_URL"),
    ("write 'db_sessions': 0, 'db_notifications': 0", "write REDIS_URL=redis://host:6379/0"),
    ("write 'cluster': True in storage", "write REDIS_CLUSTER=true"),
    ("leave 'cluster' out of storage", "write REDIS_CLUSTER=false"),
    ("or 'sentinel'", "or REDIS_SENTINELS"),
    ("write 'sentinel' in storage", "write REDIS_SENTINELS"),
    ("write 'ssl_ca_certs' in storage", "write ?ssl_ca_certs=/path behind REDIS_URL"),
    (
        "write 'ssl_certfile' and 'ssl_keyfile' in storage",
        "write ?ssl_certfile=/path&ssl_keyfile=/path behind REDIS_URL",
    ),
    ("needs TLS: add 'ssl': True", "needs TLS: write rediss:// in place of redis://"),
    ("storage cannot work", "REDIS_URL cannot work"),
    ("storage names a database", "REDIS_URL names a database"),
    ("storage has", "REDIS_URL has"),
)


def in_variables(text: str) -> str:
    """Return a message of sessions/ with the variables that people set in place of `storage`."""
    for theirs, ours in _VARIABLES:
        text = text.replace(theirs, ours)
    text = text.replace("storage['url']", "REDIS_URL")
    sentinels = r"storage\['sentinel'\]\['options'\]\['(\w+)'\]"
    text = re.sub(sentinels, r"'\1' in REDIS_SENTINELS", text)
    return re.sub(r"storage\['(\w+)'\]", r"'\1' in REDIS_URL", text)
