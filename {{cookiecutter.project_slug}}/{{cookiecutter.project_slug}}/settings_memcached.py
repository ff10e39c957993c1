"""MEMCACHED_SERVERS: one server or several, each with its share of the visitors.

Returns what sessions/engines/memcached.py describes. To set more than the variable can, add it to
what `storage` returns.
"""

from __future__ import annotations

import re
from typing import Any

from .settings_sources import Option
from .settings_values import listed

Servers = tuple[str | tuple[str, int], ...]


def servers(text: str) -> Servers:
    """Return the servers in `host1:11211,host2:11211=2`: the second takes two shares of three."""
    found: list[str | tuple[str, int]] = []
    for each in listed(text):
        address, equals, weight = each.rpartition("=")
        if equals and not re.fullmatch(r"[1-9][0-9]{0,3}", weight):
            raise ValueError(f"{each!r} has no whole weight; write host:port=2 for two shares")
        found.append((address, int(weight)) if equals else each)
    return tuple(found)


OPTIONS = (Option("memcached_servers", str, "host:port of the servers, with commas", servers),)


def storage(settings: Any) -> dict[str, Any]:
    """Return settings["pycket"]["storage"] for a `Settings`."""
    return {"servers": list(settings.memcached_servers)}


def in_variables(text: str) -> str:
    """Return a message of sessions/ with the variable that people set in place of `storage`."""
    text = text.replace("storage['servers']", "MEMCACHED_SERVERS")
    text = text.replace("'servers' in storage", "MEMCACHED_SERVERS")
    return re.sub(r"\('([^']*)', (\d+)\)", r"\1=\2", text)
