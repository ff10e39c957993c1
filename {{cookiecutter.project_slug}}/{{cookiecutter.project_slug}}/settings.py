"""The app's settings: read once at start, from the command line, a config file and the environment.

`__main__` calls `read_settings`; everything else is handed a `Settings`. To add a setting, add a field to `Settings`, a row to
`OPTIONS`, and, if it can be wrong, a check to `_faults`.
"""

from __future__ import annotations

import difflib
import ipaddress
import logging
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import argon2
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from tornado.options import Error, OptionParser

from .accounts import PASSWORD_COST
from .sessions import ConfigurationError

min_secret_characters = 32
MEMORY_ENGINE = "memory"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """What the app was told. All defaults are here, and nowhere else."""

    port: int = 8888
    address: str = "127.0.0.1"
    """Address to listen on; "" is every address of the machine."""
    debug: bool = False
    session_engine: str = "{{cookiecutter.engine}}"
    redis_url: str = field(default="redis://localhost:6379", repr=False)  # engine: redis
    memcached_servers: tuple[str, ...] = ("localhost:11211",)  # engine: memcached
    cookie_secret: str | Mapping[int, str] = field(default="", repr=False)
    """One secret, or secrets by version during a rotation; `key_version` is the one that signs."""
    key_version: int | None = None
    database_url: str = field(default="sqlite+aiosqlite:///app.db", repr=False)
    trusted_proxies: tuple[str, ...] = ()
    processes: int = 1

    # Not options: fixed for an app, varied by its tests.
    key_prefix: str = "{{cookiecutter.project_slug}}"
    """What the store's keys begin with. Two apps that share a server must differ here."""
    password_cost: argon2.Parameters = PASSWORD_COST

    @property
    def secure(self) -> bool:
        """Whether people reach the app through HTTPS: always, but for development."""
        return not self.debug

    @property
    def pycket(self) -> dict[str, Any]:
        """settings["pycket"], as sessions/config.py describes it."""
        storage: dict[str, dict[str, Any]] = {
            "redis": {"url": self.redis_url},  # engine: redis
            "memcached": {"servers": list(self.memcached_servers)},  # engine: memcached
        }
        return {
            "engine": self.session_engine,
            "storage": storage.get(self.session_engine, {}),
            "key_prefix": self.key_prefix,
        }


@dataclass(frozen=True)
class _Option:
    """A setting people can give. The default is that of the field with the same name."""

    name: str
    type: type
    help: str
    convert: Callable[[str], Any] | None = None
    """Turns the text into the field's value; raises ValueError with a sentence for people."""


def read_settings(args: Sequence[str], environ: Mapping[str, str]) -> Settings:
    """Return the settings from a command line (`args[0]` is the program) and an environment.

    A flag wins over the config file, the file over the environment, the environment over the default. An empty
    variable counts as absent. Raises ConfigurationError with every fault, one line each; `--help` exits.
    """
    parser, faults = _parser(), []
    arguments = list(_expand_flags(args[1:], parser))
    faults += _read_environment(parser, environ)
    config = next((arg.partition("=")[2] for arg in reversed(arguments) if re.match(r"--?config=", arg)), parser.config)
    if config:
        faults += _read_file(parser, config)
    for argument in arguments:
        faults += _read_argument(parser, argument)

    values: dict[str, Any] = {}
    for option in OPTIONS:
        given = parser[option.name]
        if given is None or option.name == "config":
            continue
        try:
            values[option.name] = option.convert(given) if option.convert else given
        except ValueError as error:
            faults.append(f"{_sources(option.name)}: {error}")
    if isinstance(secret := values.get("cookie_secret"), dict):
        values["key_version"] = next(iter(secret))
    settings = Settings(**values)
    faults += _faults(settings, secret_given="cookie_secret" in values or any("COOKIE_SECRET" in fault for fault in faults))
    if faults:
        raise ConfigurationError(faults)
    return settings if settings.cookie_secret else _with_random_secret(values)


# --- The checks -------------------------------------------------------------------------------------------------------


def _faults(settings: Settings, *, secret_given: bool) -> list[str]:
    """Everything that is wrong with values that could be read, one sentence each."""
    faults = []
    if not 0 < settings.port < 65536:
        faults.append(f"PORT {settings.port} is no TCP port: use a number from 1 to 65535, for example 8888")
    if settings.session_engine not in ENGINES:
        faults.append(f"SESSION_ENGINE {settings.session_engine!r} is unknown: use {' or '.join(map(repr, ENGINES))}")
    if settings.processes < 1:
        faults.append(f"PROCESSES {settings.processes} serves nobody: use 1 or more")
    elif settings.processes > 1 and settings.session_engine == MEMORY_ENGINE:
        faults.append(
            f"PROCESSES {settings.processes} cannot share the memory engine, each would know only its own sessions: "
            f"use PROCESSES=1, or SESSION_ENGINE={Settings.session_engine}"
        )
    elif settings.processes > 1 and settings.debug:
        faults.append(f"PROCESSES {settings.processes} cannot reload in debug mode: use PROCESSES=1, or DEBUG=false")
    if not settings.cookie_secret and not settings.debug and not secret_given:
        faults.append(
            "COOKIE_SECRET is missing: write one to .env, made with "
            'python -c "import secrets; print(secrets.token_urlsafe(48))"'
        )
    return faults


ENGINES = (
    "redis",  # engine: redis
    "memcached",  # engine: memcached
    MEMORY_ENGINE,
)


# --- From text to values ----------------------------------------------------------------------------------------------


def _secret(text: str) -> str | dict[int, str]:
    """One secret, or `1:new,0:old` during a rotation: the first signs, the others are still accepted."""
    if not re.match(r"\d+:", text):
        return _checked_secret(text)
    versions: dict[int, str] = {}
    for part in text.split(","):
        version, colon, secret = part.strip().partition(":")
        if not colon or not version.isdecimal():
            raise ValueError("a rotation has the form 1:new-secret,0:old-secret, and one part of it has no number")
        if int(version) in versions:
            raise ValueError(f"a rotation has the form 1:new-secret,0:old-secret, and version {int(version)} is there twice")
        versions[int(version)] = _checked_secret(secret)
    return versions


def _checked_secret(secret: str) -> str:
    # The value itself is in no message: these lines end up in logs.
    if re.search(r"change[-_ ]?me|place[-_ ]?holder|replace[-_ ]|your[-_ ]?(cookie[-_ ]?)?secret|insert[-_ ]", secret, re.IGNORECASE):
        raise ValueError("this is a placeholder that everybody knows; write a random secret of your own")
    if len(secret) < min_secret_characters:
        raise ValueError(f"{len(secret)} characters are too few; write at least {min_secret_characters}, at random")
    return secret


def _database_url(text: str) -> str:
    """The URL with an asynchronous driver: `postgres://` and `postgresql://` become asyncpg, `sqlite://` aiosqlite."""
    scheme, _, rest = text.partition("://")
    text = f"{_DRIVERS.get(scheme, scheme)}://{rest}"
    try:
        url = make_url(text)
        is_async = url.get_dialect().is_async
    except (ArgumentError, NoSuchModuleError, ImportError):
        # Not the text, nor the cause: both may hold a password.
        raise ValueError(
            "this is no database URL the app knows; write sqlite+aiosqlite:///app.db or postgresql://user:password@host/name"
        ) from None
    if not is_async:
        raise ValueError(
            f"{url.drivername} would block the event loop; write sqlite+aiosqlite://... or postgresql+asyncpg://..."
        )
    if url.drivername == "postgresql+asyncpg" and "sslmode" in url.query:
        # libpq's name, in the URLs that most hosts hand out; asyncpg's is "ssl".
        query = dict(url.query)
        url = url.set(query={**{k: v for k, v in query.items() if k != "sslmode"}, "ssl": query["sslmode"]})
    return url.render_as_string(hide_password=False)


_DRIVERS = {"postgres": "postgresql+asyncpg", "postgresql": "postgresql+asyncpg", "sqlite": "sqlite+aiosqlite"}


def _proxies(text: str) -> tuple[str, ...]:
    addresses = _list(text)
    for address in addresses:
        try:
            ipaddress.ip_address(address)
        except ValueError:
            raise ValueError(
                f"{address!r} is no IP address; write each proxy's own, for example 127.0.0.1,::1 (no names, no networks)"
            ) from None
    return addresses


def _redis_url(text: str) -> str:  # engine: redis
    if urlsplit(text).scheme not in ("redis", "rediss", "unix"):  # engine: redis
        raise ValueError("this is no Redis URL; write redis://host:6379, rediss://... or unix:///path")  # engine: redis
    return text  # engine: redis


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _with_random_secret(values: dict[str, Any]) -> Settings:
    log.warning("COOKIE_SECRET is not set: using a random one until the next start, when everybody is logged out")
    return Settings(**{**values, "cookie_secret": secrets.token_urlsafe(48)})


# --- Sources ----------------------------------------------------------------------------------------------------------

OPTIONS = (
    _Option("port", int, "TCP port to listen on"),
    _Option("address", str, "address to listen on; 0.0.0.0 for every one of the machine"),
    _Option("debug", bool, "for development: reloads, shows tracebacks, allows cookies without HTTPS"),
    _Option("session_engine", str, "where sessions are kept: " + " or ".join(ENGINES)),
    _Option("redis_url", str, "redis://, rediss:// or unix:// URL of the session store", _redis_url),  # engine: redis
    _Option("memcached_servers", str, "host:port of the session store, comma-separated", _list),  # engine: memcached
    _Option("cookie_secret", str, "signs cookies; 1:new,0:old while it is rotated. Better in the environment", _secret),
    _Option("database_url", str, "SQLAlchemy URL of the accounts", _database_url),
    _Option("trusted_proxies", str, "addresses whose X-Forwarded-* headers are believed, comma-separated", _proxies),
    _Option("processes", int, "how many processes serve"),
    _Option("config", str, "Python file that sets options by name; it is executed, so let nobody else write it"),
)


def _parser() -> OptionParser:
    """A parser of our own: tornado.options.options is global and cannot be defined twice in a process."""
    parser = OptionParser()
    for option in OPTIONS:
        default = getattr(Settings, option.name, None)
        shown = ",".join(default) if isinstance(default, tuple) else default
        about = f"{option.help} (default {shown})" if shown not in (None, "") else option.help
        parser.define(option.name, type=option.type, help=f"{about} [{option.name.upper()}]", group="application")
    return parser


def _expand_flags(arguments: Iterable[str], parser: OptionParser) -> Iterable[str]:
    """`--debug` is short for `--debug=true`."""
    flags = {option.name.replace("_", "-") for option in OPTIONS if option.type is bool}
    for argument in arguments:
        yield f"{argument}=true" if argument.lstrip("-").replace("_", "-") in flags else argument


def _read_environment(parser: OptionParser, environ: Mapping[str, str]) -> list[str]:
    faults = []
    for option in OPTIONS:
        if value := environ.get(option.name.upper(), "").strip():
            faults += _set(parser, option, value)
    return faults


def _read_file(parser: OptionParser, path: str) -> list[str]:
    try:
        parser.parse_config_file(path, final=False)
    except OSError as error:
        return [f"{_sources('config')}: {path} cannot be read ({error.strerror}); write the path of a file that exists"]
    except Exception as error:  # the file is a program: it can fail in any way
        return [f"{_sources('config')}: {path} failed with {type(error).__name__}: {error}"]
    return []


def _read_argument(parser: OptionParser, argument: str) -> list[str]:
    name, equals, value = argument.lstrip("-").partition("=")
    name = name.replace("-", "_")
    if name == "help":
        parser.parse_command_line(["", "--help"])  # prints and exits
    option = next((option for option in OPTIONS if option.name == name), None)
    if not argument.startswith("-"):
        return [f"{argument!r} is no option: options have the form --port=8888"]
    if option is None:
        near = difflib.get_close_matches(name, [option.name for option in OPTIONS], n=1)
        hint = f"did you mean --{near[0].replace('_', '-')}?" if near else "see --help"
        return [f"{argument.partition('=')[0]} is no option: {hint}"]
    if not equals:
        return [f"{argument} needs a value: write {argument}=..."]
    return _set(parser, option, value)


def _set(parser: OptionParser, option: _Option, value: str) -> list[str]:
    # Tornado takes every word but "false", "f" and "0" for true, "off" included.
    if option.type is bool and value.lower() not in ("true", "t", "1", "yes", "on", "false", "f", "0", "no", "off"):
        return [f"{_sources(option.name)}: {value!r} is neither yes nor no; write true or false"]
    if option.type is bool:
        value = "true" if value.lower() in ("true", "t", "1", "yes", "on") else "false"
    try:
        parser.parse_command_line(["", f"--{option.name}={value}"], final=False)
    except (Error, ValueError):
        return [f"{_sources(option.name)}: {value!r} is no {_KINDS[option.type]}"]
    return []


_KINDS = {int: "whole number; write digits only, for example 8", str: "text", bool: "yes or no"}


def _sources(name: str) -> str:
    return f"{name.upper()} (--{name.replace('_', '-')})"
