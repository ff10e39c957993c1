"""From the text of a setting to its value, for the table `OPTIONS` in settings.py.

Each function raises ValueError: what is wrong, and what to write instead. No message holds a secret
or a URL, which may have a password: it may end up in a log.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
from urllib.parse import urlsplit

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from . import postgresql
from .csp import content_security_policy
from .mail import KEPT, options

min_secret_characters = 32

_DRIVERS = {
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "sqlite": "sqlite+aiosqlite",
}
_PLACEHOLDER = re.compile(
    r"change[-_ ]?(me|this)|place[-_ ]?holder|replace[-_ ]|insert[-_ ]|your[-_ ].*secret",
    re.IGNORECASE,
)


def listed(text: str) -> tuple[str, ...]:
    """Split a list with commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def secret(text: str) -> str | dict[int, str]:
    """Return one secret; or secrets by number, the first of which signs, for `1:new,0:old`."""
    if not re.match(r"\d+:", text):
        if re.search(r",\s*\d+:", text):
            raise ValueError("the first one has no number: write 0:old,1:new")
        return _good_secret(text)
    versions: dict[int, str] = {}
    for part in text.split(","):
        number, _, value = part.strip().partition(":")
        if not number.isdecimal() or int(number) in versions:
            raise ValueError("a rotation needs a number of its own for each: write 0:old,1:new")
        versions[int(number)] = _good_secret(value)
    return versions


def _good_secret(text: str) -> str:
    if _PLACEHOLDER.search(text):
        raise ValueError("this is a placeholder that everybody knows; write a random one")
    if len(text) < min_secret_characters:
        raise ValueError(
            f"{len(text)} characters are too few; write at least {min_secret_characters}, random"
        )
    return text


def database_url(text: str) -> str:
    """Return the URL with an asynchronous driver, whatever the host's control panel calls it."""
    scheme, _, rest = text.partition("://")
    try:
        url = make_url(f"{_DRIVERS.get(scheme, scheme)}://{rest}")
        dialect = url.get_dialect()
        dialect.import_dbapi()
    except ImportError as error:
        raise ValueError(
            f"its driver {error.name} is not installed; for PostgreSQL install the extra: "
            "pip install '.[postgresql]'"
        ) from None
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise ValueError(
            "the app cannot use this; write sqlite+aiosqlite:///app.db or "
            "postgresql://user:password@host/name"
        ) from None
    if not dialect.is_async:
        raise ValueError(
            f"{url.drivername} would block the event loop; "
            "write sqlite+aiosqlite://... or postgresql+asyncpg://..."
        )
    if url.drivername == "postgresql+asyncpg":
        postgresql.translate(url)
    if url.drivername == "sqlite+aiosqlite" and url.database in (None, "", ":memory:"):
        raise ValueError(
            "a database in memory is a new one for each connection; write sqlite+aiosqlite:///app.db"
        )
    return url.render_as_string(hide_password=False)


def base_url(text: str) -> str:
    scheme, _, rest = text.partition("://")
    host = rest.removesuffix("/").lower()
    with contextlib.suppress(ValueError):  # a port that is no number
        url = urlsplit(f"{scheme}://{host}")
        plain = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
        usual = host == (plain if url.port is None else f"{plain}:{url.port}")
        if scheme in ("http", "https") and usual and re.fullmatch(r"[a-z0-9.:\[\]_-]+", host):
            return f"{scheme}://{host}"
    raise ValueError(
        "write scheme and host alone, for example https://www.example.com; a name with other letters "
        "than a to z in its xn-- form"
    )


def hosts(text: str) -> tuple[str, ...]:
    for host in (found := listed(text.lower())):
        if not re.fullmatch(r"[a-z0-9_.*-]+|\[[0-9a-f:.]+\]", host):
            raise ValueError(
                f"{host!r} is no host name; write names without scheme and port, and those with other "
                "letters than a to z in their xn-- form"
            )
    return found


def smtp_url(text: str) -> str:
    if text != KEPT:
        options(text)
    return text


def networks(text: str) -> tuple[str, ...]:
    """Return addresses and networks, for example `127.0.0.1,10.0.0.0/8`."""
    for each in (found := listed(text)):
        try:
            network = ipaddress.ip_network(each, strict=False)
        except ValueError:
            raise ValueError(
                f"{each!r} is neither an IP address nor a network; write the proxies' own, for "
                "example 127.0.0.1,::1,10.0.0.0/8 (names do not count)"
            ) from None
        if network.prefixlen == 0:
            raise ValueError(f"{each} is everybody, and any visitor could pretend to be another")
    return found


def csp_sources(text: str) -> str:
    content_security_policy(text)
    return text
