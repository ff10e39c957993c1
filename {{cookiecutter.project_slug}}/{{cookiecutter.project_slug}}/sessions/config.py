"""`settings["pycket"]` to a `SessionConfig`, with every fault reported at once.

The form is pycket's, so that the settings of its users move here unchanged.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any, Final

from .engines import ENGINES, Engine
from .engines.base import unknown_names
from .errors import ConfigurationError

DAY_S: Final = 24 * 60 * 60

_COOKIE: Final = (
    "domain", "expires", "expires_days", "httponly", "max_age", "path", "samesite", "secure"
)  # fmt: skip
_KNOWN: Final = (
    "engine",
    "storage",
    "cookies",
    "idle_timeout",
    "absolute_timeout",
    "storage_timeout",
    "cookie_name",
    "key_prefix",
)


@dataclasses.dataclass(frozen=True)
class CookieConfig:
    """How the session's cookie is set. Without a lifetime it ends with the browser."""

    name: str
    secure: bool
    samesite: str = "Lax"
    path: str = "/"
    domain: str | None = None
    lifetime_s: float | None = None

    @property
    def attributes(self) -> dict[str, Any]:
        """What sets and what clears the cookie must agree on. It is always HttpOnly."""
        return {
            "domain": self.domain,
            "path": self.path,
            "secure": self.secure,
            "samesite": self.samesite,
            "httponly": True,
        }


@dataclasses.dataclass(frozen=True)
class SessionConfig:
    """What `settings["pycket"]` says, complete and checked. Times are in seconds."""

    engine: type[Engine]
    storage: Mapping[str, Any]
    cookie: CookieConfig
    idle_timeout: float = DAY_S
    """A session ends when it was not used for so long."""
    absolute_timeout: float = 30 * DAY_S
    """A session ends at this age, however much it is used."""
    storage_timeout: float = 2.0
    """A call to the store ends within this time."""
    key_prefix: str = __package__.partition(".")[0]
    """What the store's keys begin with, so that applications can share a server."""

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> SessionConfig:
        """Return the configuration in an application's settings, which stay as they are.

        Raises `ConfigurationError` that lists everything that is wrong.
        """
        given = settings.get("pycket")
        if not isinstance(given, Mapping):
            raise ConfigurationError(
                ['settings["pycket"] is missing: write {"engine": "memory"} or see the README']
            )
        faults = unknown_names('settings["pycket"]', given, _KNOWN)
        faults += _cookie_secret_faults(settings)
        engine = _engine(given, faults)
        storage = _section(given, "storage", faults)
        if engine is not None:
            faults += engine.faults(storage)
        cookie = _cookie(given, bool(settings.get("debug")), faults)
        times = {
            name: given[name]
            for name in ("idle_timeout", "absolute_timeout", "storage_timeout")
            if name in given
        }
        for name, value in times.items():
            if not _is_number(value) or value <= 0:
                faults.append(f"{name} is {value!r}: write seconds, more than 0")
        prefix = given.get("key_prefix", cls.key_prefix)
        if not isinstance(prefix, str) or not prefix.isascii() or not prefix.isidentifier():
            faults.append(f"key_prefix is {prefix!r}: write a short name such as 'myapp'")
        if faults or engine is None:
            raise ConfigurationError(faults)
        return cls(engine, dict(storage), cookie, key_prefix=prefix, **times)


def _engine(given: Mapping[str, Any], faults: list[str]) -> type[Engine] | None:
    name = given.get("engine")
    if name is None:
        faults.append(f"engine is missing: write one of {', '.join(ENGINES)}")
    elif not isinstance(name, str) or name not in ENGINES:
        near = difflib.get_close_matches(str(name), ENGINES, n=1) or ENGINES
        faults.append(f"engine is {name!r}: write {' or '.join(map(repr, near))}")
    else:
        return ENGINES[name]
    return None


def _section(given: Mapping[str, Any], name: str, faults: list[str]) -> Mapping[str, Any]:
    section = given.get(name, {})
    if isinstance(section, Mapping):
        return section
    faults.append(f"{name} is {section!r}: write a dictionary")
    return {}


def _cookie_secret_faults(settings: Mapping[str, Any]) -> list[str]:
    secret = settings.get("cookie_secret")
    if not secret:
        return ["cookie_secret is missing: it signs the session's cookie"]
    if isinstance(secret, Mapping) and settings.get("key_version") not in secret:
        return [
            f"key_version is {settings.get('key_version')!r}: "
            f"write which key of cookie_secret signs, one of {sorted(secret)}"
        ]
    return []


def _cookie(given: Mapping[str, Any], debug: bool, faults: list[str]) -> CookieConfig:
    options = _section(given, "cookies", faults)
    faults += unknown_names("cookies", options, _COOKIE)
    secure = options.get("secure", not debug)
    samesite = options.get("samesite", "Lax")
    if str(samesite).capitalize() not in ("Lax", "Strict", "None"):
        faults.append(f"cookies['samesite'] is {samesite!r}: write 'Lax', 'Strict' or 'None'")
    elif str(samesite).capitalize() == "None" and not secure:
        faults.append("cookies['samesite'] is 'None' without 'secure': browsers refuse the cookie")
    if not options.get("httponly", True):
        faults.append("cookies['httponly'] is off: a script could steal the session; leave it out")
    if options.get("expires") is not None:
        faults.append(
            f"cookies['expires'] is {options['expires']!r}, one date for all visitors: "
            "write 'expires_days'"
        )
    lifetime_s = _lifetime_s(options, faults)
    path, domain = options.get("path", "/"), options.get("domain")
    host_only = bool(secure) and path == "/" and domain is None
    name = given.get("cookie_name", "__Host-sid" if host_only else "sid")
    if not isinstance(name, str) or not name.isascii() or not name.replace("-", "_").isidentifier():
        faults.append(f"cookie_name is {name!r}: write a short name such as 'sid'")
    elif name.startswith("__Host-") and not host_only:
        faults.append(f"cookie_name {name!r} needs secure, path '/' and no domain: write 'sid'")
    return CookieConfig(
        str(name), bool(secure), str(samesite).capitalize(), path, domain, lifetime_s
    )


def _lifetime_s(options: Mapping[str, Any], faults: list[str]) -> float | None:
    days, seconds = options.get("expires_days"), options.get("max_age")
    for name, value in (("expires_days", days), ("max_age", seconds)):
        if value is not None and (not _is_number(value) or value <= 0):
            faults.append(f"cookies[{name!r}] is {value!r}: write a number above 0, or nothing")
            return None
    if days is not None:
        return float(days) * DAY_S
    return None if seconds is None else float(seconds)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
