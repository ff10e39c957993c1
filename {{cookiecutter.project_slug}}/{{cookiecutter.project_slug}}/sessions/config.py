"""`settings["pycket"]` to a `SessionConfig`, with every fault reported at once.

The form is pycket's, so that the settings of its users move here unchanged where they can take
effect; what cannot is refused, with what to write instead.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Mapping
from typing import Any, Final

from .engines import ENGINES, Engine
from .engines.base import unknown_names
from .errors import ConfigurationError

DAY_S: Final = 24 * 60 * 60

_FOR_EVER_S: Final = 1e12
_COOKIE: Final = ("domain", "expires_days", "httponly", "max_age", "path", "samesite", "secure")
_DOMAIN: Final = re.compile(r"\.?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_PATH: Final = re.compile(r"/[!-:<-~]*")
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_PREFIX: Final = re.compile(r"[A-Za-z0-9_.-]{1,100}")


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
        """Attributes that must be the same when the cookie is set and when it is cleared."""
        return {
            "domain": self.domain,
            "path": self.path,
            "secure": self.secure,
            "samesite": self.samesite,
            "httponly": True,
        }


@dataclasses.dataclass(frozen=True)
class SessionConfig:
    """`settings["pycket"]`, complete and checked. Times are in seconds."""

    engine: type[Engine]
    storage: Mapping[str, Any]
    cookie: CookieConfig
    idle_timeout: float = DAY_S
    """A session ends when it was not used for this long."""
    absolute_timeout: float = 30 * DAY_S
    """A session ends at this age, however much it is used."""
    storage_timeout: float = 2.0
    """Each call to the store ends within this time."""
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
        known = (
            "engine", "storage", "cookies", "cookie_name", "idle_timeout", "absolute_timeout",
            "storage_timeout", "key_prefix",
        )  # fmt: skip
        faults = unknown_names('settings["pycket"]', given, known)
        faults += _cookie_secret_faults(settings)
        engine = _engine(given, faults)
        storage = _section(given, "storage", faults)
        if engine is not None:
            faults += engine.faults(storage)
        cookie = _cookie(given, bool(settings.get("debug")), faults)
        values: dict[str, Any] = _times(given, cookie, faults)
        if "key_prefix" in given:
            prefix = values["key_prefix"] = given["key_prefix"]
            if not isinstance(prefix, str) or not _PREFIX.fullmatch(prefix):
                faults.append(f"key_prefix is {prefix!r}: write a short name such as 'myapp'")
        if faults or engine is None:
            raise ConfigurationError(faults)
        return cls(engine, dict(storage), cookie, **values)


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
    if not isinstance(secret, str | bytes | Mapping):
        return [f"cookie_secret is of type {type(secret).__name__}: write a str"]
    if isinstance(secret, Mapping) and settings.get("key_version") not in secret:
        return [
            f"key_version is {settings.get('key_version')!r}: "
            f"write which key of cookie_secret signs, one of {sorted(secret)}"
        ]
    return []


def _times(given: Mapping[str, Any], cookie: CookieConfig, faults: list[str]) -> dict[str, float]:
    """Return the times that are given. One that the absolute limit cuts short is a fault."""
    times = {
        name: given[name]
        for name in ("idle_timeout", "absolute_timeout", "storage_timeout")
        if name in given
    }
    for name, value in list(times.items()):
        if not _is_positive(value):
            faults.append(f"{name} is {value!r}: write seconds, more than 0")
            del times[name]
    limit = times.get("absolute_timeout", SessionConfig.absolute_timeout)
    for name, value in (
        ("idle_timeout", times.get("idle_timeout")),
        ("the lifetime in cookies", cookie.lifetime_s),
    ):
        if value is not None and value > limit:
            faults.append(
                f"{name} is {value:.15g} s, but absolute_timeout ends a session after "
                f"{limit:.15g} s: write 'absolute_timeout': {value:.15g} as well, or a shorter time"
            )
    return times


def _cookie(given: Mapping[str, Any], debug: bool, faults: list[str]) -> CookieConfig:
    options = _section(given, "cookies", faults)
    if "expires" in options:
        faults.append(
            f"cookies['expires'] is {options['expires']!r}, one date for all visitors: "
            "write 'expires_days'"
        )
    faults += unknown_names("cookies", {**options, "expires": 0}, (*_COOKIE, "expires"))
    secure, path, domain = (
        options.get("secure", not debug), options.get("path", "/"), options.get("domain")
    )  # fmt: skip
    if not isinstance(secure, bool):
        faults.append(f"cookies['secure'] is {secure!r}: write True or False")
    if options.get("httponly", True) is not True:
        faults.append("cookies['httponly'] is off: a script could steal the session; leave it out")
    samesite = str(options.get("samesite") or "Lax").capitalize()
    if samesite not in ("Lax", "Strict", "None"):
        faults.append(f"cookies['samesite'] is {samesite!r}: write 'Lax', 'Strict' or 'None'")
    elif samesite == "None" and not secure:
        faults.append("cookies['samesite'] is 'None' without 'secure': browsers refuse the cookie")
    if not isinstance(path, str) or not _PATH.fullmatch(path):
        faults.append(f"cookies['path'] is {path!r}: write a path such as '/' or '/shop'")
    if domain is not None and not (isinstance(domain, str) and _DOMAIN.fullmatch(domain)):
        faults.append(f"cookies['domain'] is {domain!r}: write a host such as 'example.com'")
    host_only = bool(secure) and path == "/" and domain is None
    name = given.get("cookie_name", "__Host-sid" if host_only else "sid")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        faults.append(f"cookie_name is {name!r}: write a short name such as 'sid'")
    elif name.startswith("__Host-") and not host_only:
        faults.append(f"cookie_name {name!r} needs secure, path '/' and no domain: write 'sid'")
    elif name.startswith("__Secure-") and not secure:
        faults.append(f"cookie_name {name!r} needs secure: write 'sid'")
    return CookieConfig(
        str(name), bool(secure), samesite, path, domain, _lifetime_s(options, faults)
    )


def _lifetime_s(options: Mapping[str, Any], faults: list[str]) -> float | None:
    given = {
        name: options[name] for name in ("expires_days", "max_age") if options.get(name) is not None
    }
    if len(given) == 2:
        faults.append("cookies has both 'expires_days' and 'max_age': keep one")
    for name, value in list(given.items()):
        if not _is_positive(value):
            faults.append(f"cookies[{name!r}] is {value!r}: write a number above 0, or nothing")
            del given[name]
    if "expires_days" in given:
        return float(given["expires_days"]) * DAY_S
    return float(given["max_age"]) if given else None


def _is_positive(value: object) -> bool:
    return type(value) in (int, float) and 0 < value < _FOR_EVER_S  # type: ignore[operator]
