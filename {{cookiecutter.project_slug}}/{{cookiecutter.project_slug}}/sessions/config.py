"""`settings["pycket"]` to a `SessionConfig`, with every fault reported at once.

The form is pycket's, so that the settings of its users move here unchanged where they can take
effect; what cannot is refused, with what to write instead.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from http.cookies import Morsel
from typing import Annotated, Any, Final

from msgspec import Meta

from .engines import ENGINES, Engine
from .engines.base import fits, unknown_names
from .errors import ConfigurationError

DAY_S: Final = 24 * 60 * 60

_Time = Annotated[float, Meta(gt=0, le=10**10)]
_Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")]
_Prefix = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,100}\Z")]
_Path = Annotated[str, Meta(pattern=r"^/[!-:<-~]*\Z")]
_LABEL: Final = r"[A-Za-z0-9]+(-+[A-Za-z0-9]+)*"
_Domain = Annotated[str, Meta(pattern=rf"^\.?{_LABEL}(\.{_LABEL})*\Z")]

_SECONDS: Final = (_Time, "write seconds, more than 0 and at most 10**10")
_LIFETIME: Final = (_Time | None, "write a number above 0, or nothing")
_SECTION: Final = (dict[str, Any], "write a dictionary")
_Known = dict[str, tuple[Any, str]]
"""By name: what it must be, and how to write it."""
_SETTINGS: Final[_Known] = {
    "engine": (Any, ""),
    "storage": _SECTION,
    "cookies": _SECTION,
    "cookie_name": (_Name, "write a short name such as 'sid'"),
    "idle_timeout": _SECONDS,
    "absolute_timeout": _SECONDS,
    "storage_timeout": _SECONDS,
    "key_prefix": (_Prefix, "write a short name such as 'myapp'"),
}
_COOKIE: Final[_Known] = {
    "domain": (_Domain | None, "write a host such as 'example.com'"),
    "expires": (None, "one date for all visitors; write 'expires_days'"),
    "expires_days": _LIFETIME,
    "httponly": (bool, "leave it out"),
    "max_age": _LIFETIME,
    "path": (_Path, "write a path such as '/' or '/shop'"),
    "samesite": (str | None, "write 'Lax', 'Strict' or 'None'"),
    "secure": (bool, "write True or False"),
}


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
        faults = _secret_faults(settings)
        values = _valid('settings["pycket"]', given, _SETTINGS, "{}", faults)
        name, storage = values.pop("engine", None), values.pop("storage", {})
        engine = ENGINES.get(name) if isinstance(name, str) else None
        if engine is not None:
            faults += engine.faults(storage)
        elif name is None:
            faults.append(f"engine is missing: write one of {', '.join(ENGINES)}")
        else:
            near = difflib.get_close_matches(str(name), ENGINES, n=1) or ENGINES
            faults.append(f"engine is {name!r}: write {' or '.join(map(repr, near))}")
        options, cookie_name = values.pop("cookies", {}), values.pop("cookie_name", None)
        cookie = _cookie(cookie_name, options, bool(settings.get("debug")), faults)
        limit = values.get("absolute_timeout", cls.absolute_timeout)
        times = {"idle_timeout": values.get("idle_timeout", 0)}
        times["the lifetime in cookies"] = cookie.lifetime_s or 0
        for name, time_s in times.items():
            if time_s > limit:
                faults.append(
                    f"{name} is {time_s:.15g} s, but absolute_timeout ends a session after "
                    f"{limit:.15g} s: write 'absolute_timeout': {time_s:.15g} as well, "
                    "or a shorter time"
                )
        if faults or engine is None:
            raise ConfigurationError(faults)
        return cls(engine, dict(storage), cookie, **values)


def _valid(
    where: str, given: Mapping[str, Any], known: _Known, form: str, faults: list[str]
) -> dict[str, Any]:
    """Return the settings that are what they must be, and add a fault for each other one."""
    faults += unknown_names(where, given, known)
    wrong = [name for name in given if name in known and not fits(given[name], known[name][0])]
    for name in wrong:  # a section that is a text may be a URL with a password
        is_section, kind = known[name] is _SECTION, type(given[name]).__name__
        shown = f"of type {kind}" if is_section else repr(given[name])
        faults.append(f"{form.format(name)} is {shown}: {known[name][1]}")
    return {name: given[name] for name in given if name in known and name not in wrong}


def _secret_faults(settings: Mapping[str, Any]) -> list[str]:
    secret, version = settings.get("cookie_secret"), settings.get("key_version")
    if not secret:
        return ["cookie_secret is missing: it signs the session's cookie"]
    if not isinstance(secret, str | bytes | Mapping):
        return [f"cookie_secret is of type {type(secret).__name__}: write a str"]
    keys = secret if isinstance(secret, Mapping) else {0: secret}
    if not all(fits(key, Any) for key in keys.values()):
        return ["cookie_secret is not UTF-8: write letters and digits"]
    if not all(type(n) is int and key and isinstance(key, str | bytes) for n, key in keys.items()):
        return ["cookie_secret has keys by number: write {1: 'a long random text', ...}"]
    if isinstance(secret, Mapping) and (type(version) is not int or version not in secret):
        which = f"write which key of cookie_secret signs, one of {sorted(secret)}"
        return [f"key_version is {version!r}: {which}"]
    return []


def _cookie(
    name: str | None, options: Mapping[str, Any], debug: bool, faults: list[str]
) -> CookieConfig:
    valid = _valid("cookies", options, _COOKIE, "cookies[{!r}]", faults)
    secure, path = valid.get("secure", not debug), valid.get("path", "/")
    domain, days, max_age = map(valid.get, ("domain", "expires_days", "max_age"))
    if not valid.get("httponly", True):
        faults.append("cookies['httponly'] is off: a script could steal the session; leave it out")
    samesite = (valid.get("samesite") or "Lax").capitalize()
    if samesite not in ("Lax", "Strict", "None"):
        faults.append(f"cookies['samesite'] is {samesite!r}: {_COOKIE['samesite'][1]}")
    elif samesite == "None" and not secure:
        faults.append("cookies['samesite'] is 'None' without 'secure': browsers refuse the cookie")
    host_only = secure and path == "/" and domain is None
    name = name or ("__Host-sid" if host_only else "sid")
    prefix = name.lower()  # browsers read it so
    if prefix.startswith("__host-") and not host_only:
        faults.append(f"cookie_name {name!r} needs secure, path '/' and no domain: write 'sid'")
    elif prefix.startswith(("__secure-", "__http-")) and not secure:
        faults.append(f"cookie_name {name!r} needs secure: write 'sid'")
    elif prefix in Morsel():
        faults.append(f"cookie_name {name!r} is the name of a cookie's attribute: write 'sid'")
    if options.get("expires_days") is not None and options.get("max_age") is not None:
        faults.append("cookies has both 'expires_days' and 'max_age': keep one")
    lifetime_s = max_age if days is None else days * DAY_S
    return CookieConfig(name, secure, samesite, path, domain, lifetime_s)
