"""The app's settings: read once, at start, from command line, config file and environment.

`__main__` calls `read_settings`; everything else is handed a `Settings`. To add a setting, add a
field to `Settings`, a row to `OPTIONS`, and, if it can be wrong, a check to `_faults`.
"""

from __future__ import annotations

import difflib
import ipaddress
import logging
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

import argon2
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from tornado.httputil import split_host_and_port
from tornado.options import Error, OptionParser

from . import postgresql
from .environment import BOOLEANS
from .logs import FORMATS, LEVELS
from .mail import KEPT, check_email
from .mail import options as smtp_options
from .passwords import PASSWORD_COST
from .sessions import ConfigurationError, SessionConfig
from .sessions.engines import ENGINES

min_secret_characters = 32
memory_engine = "memory"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """What the app was told. All defaults are here, and nowhere else."""

    port: int = 8888
    address: str = "127.0.0.1"
    debug: bool = False
    # Lines that end in a mark belong to one answer alone.  # without hooks
    session_engine: str = "{{cookiecutter.engine}}"
    redis_url: str = field(default="redis://localhost:6379", repr=False)  # engine: redis
    memcached_servers: tuple[str, ...] = ("localhost:11211",)  # engine: memcached
    cookie_secret: str | Mapping[int, str] = field(default="", repr=False)
    """One secret, or secrets by version during a rotation."""
    key_version: int | None = None
    """Which secret of a rotation signs; the others are still accepted."""
    database_url: str = field(default="sqlite+aiosqlite:///app.db", repr=False)
    base_url: str = "http://localhost:8888"
    """The address that people use: links in mails begin with it. By default it has the port's."""
    allowed_hosts: tuple[str, ...] = ()
    """Host names that are answered beside that of base_url; `*` stands for anything."""
    smtp_url: str = field(default="", repr=False)
    mail_from: str = ""
    trusted_proxies: tuple[str, ...] = ()
    processes: int = 1
    metrics_port: int = 0
    """0: nobody can ask for /metrics."""
    log_level: str = "info"
    log_format: str = "text"

    # Not options: fixed for an app, varied by its tests.
    key_prefix: str = "{{cookiecutter.project_slug}}"
    """What the store's keys begin with. Two apps that share a server must differ here."""
    password_cost: argon2.Parameters = field(default_factory=lambda: PASSWORD_COST)

    @property
    def secure(self) -> bool:
        """Whether people reach the app through HTTPS: always, but for development."""
        return not self.debug

    @property
    def cookie_name(self) -> str:
        """Cookies ignore ports: with one name, two apps on localhost would log each other out."""
        name = "{{cookiecutter.project_slug}}"
        return f"__Host-{name}" if self.secure else name

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names that requests may be for, outside of debug. This machine's own are among them:
        no other site can have them.
        """
        own, _ = split_host_and_port(urlsplit(self.base_url).netloc)
        return (own, *self.allowed_hosts, "localhost", "127.0.0.1", "[::1]")

    @property
    def mail_url(self) -> str:
        """What mail.py is given: in development, mails are kept and can be looked at."""
        return self.smtp_url or (KEPT if self.debug else "")

    @property
    def sender(self) -> str:
        return self.mail_from or f"noreply@{urlsplit(self.base_url).hostname}"

    @property
    def sessions(self) -> dict[str, Any]:
        """What sessions/ reads of the settings of a Tornado application."""
        return {
            "pycket": self.pycket,
            "cookie_secret": self.cookie_secret or None,
            "key_version": self.key_version,
            "debug": self.debug,
        }

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
            "cookie_name": self.cookie_name,
        }


def read_settings(args: Sequence[str], environ: Mapping[str, str]) -> Settings:
    """Return the settings from a command line (`args[0]` is the program) and an environment.

    A flag wins over the config file, the file over the environment, the environment over the
    default. An empty variable counts as absent. Raises ConfigurationError with every fault, one
    line each; `--help` exits.
    """
    parser = _parser()
    arguments = list(_with_values(args[1:]))
    faults = _read_environment(parser, environ)
    if config := _config_path(arguments):
        faults += _read_file(parser, config)
    for argument in arguments:
        faults += _read_argument(parser, argument)

    values: dict[str, Any] = {}
    for option in OPTIONS:
        text = parser[option.name]
        if text is None or option.name == "config":
            continue
        try:
            values[option.name] = option.convert(text) if option.convert else text
        except ValueError as error:
            faults.append(f"{_both_names(option.name)}: {error}")
            # Anything will do: it only has to pass the checks that follow, not to be used.
            values[option.name] = _placeholders.get(option.name, getattr(Settings, option.name))
    given = set(values)
    values.setdefault("base_url", f"http://localhost:{values.get('port', Settings.port)}")
    if isinstance(secret := values.get("cookie_secret"), dict):
        values["key_version"] = next(iter(secret))
    settings = Settings(**values)
    faults += _faults(settings)
    if settings.smtp_url and not settings.debug and "base_url" not in given:
        faults.append(
            "BASE_URL is missing, and links in mails begin with it: write the address that people "
            "use, for example https://www.example.com"
        )
    if faults:
        raise ConfigurationError(faults)
    if not settings.cookie_secret:
        log.warning(
            "COOKIE_SECRET is not set: using a random one, so that a restart logs everybody out"
        )
        settings = replace(settings, cookie_secret=secrets.token_urlsafe(48))
    return settings


def _faults(settings: Settings) -> list[str]:
    """Everything that is wrong with values that could be read, one sentence each."""
    faults = []
    engine, processes = settings.session_engine, settings.processes
    if not 0 < settings.port < 65536:
        faults.append(f"PORT {settings.port} is no TCP port: write 1 to 65535, for example 8888")
    if settings.metrics_port and not 0 < settings.metrics_port < 65536:
        faults.append(
            f"METRICS_PORT {settings.metrics_port} is no TCP port: write 1 to 65535, for example 9100"
        )
    elif settings.metrics_port == settings.port:
        faults.append(
            f"METRICS_PORT {settings.metrics_port} is the port of the pages: write another one"
        )
    for name, known in (("log_level", LEVELS), ("log_format", FORMATS)):
        if (given := getattr(settings, name)) not in known:
            faults.append(f"{name.upper()} {given!r} is unknown: write {' or '.join(known)}")
    if engine not in ENGINES:
        faults.append(f"SESSION_ENGINE {engine!r} is unknown: write {' or '.join(ENGINES)}")
    if processes < 1:
        faults.append(f"PROCESSES {processes} would serve nobody: write 1 or more")
    elif processes > 1 and engine == memory_engine:
        faults.append(
            f"PROCESSES {processes} cannot share the memory engine, each would keep sessions of "
            f"its own: write PROCESSES=1, or SESSION_ENGINE={Settings.session_engine}"
        )
    elif processes > 1 and settings.debug:
        faults.append(
            f"PROCESSES {processes} cannot reload in debug mode: write PROCESSES=1 or DEBUG=false"
        )
    if not settings.cookie_secret and not settings.debug:
        faults.append(
            "COOKIE_SECRET is missing: put one into .env, made with "
            "python -c 'import secrets; print(secrets.token_urlsafe(48))'"
        )
    if settings.smtp_url == KEPT and not settings.debug:
        faults.append(
            f"SMTP_URL {KEPT} sends nothing: write smtp://user:password@host:587, or DEBUG=true"
        )
    if engine in ENGINES:
        # The sessions package knows best what its engine takes.
        probe = {"pycket": settings.pycket, "cookie_secret": "-", "debug": settings.debug}
        try:
            SessionConfig.from_settings(probe)
        except ConfigurationError as error:
            faults += error.faults
    return faults


# From text to values. Each function raises ValueError: what is wrong, and what to write instead.
# No message holds the value of a secret or of a URL, as it may end up in a log.


def _secret(text: str) -> str | dict[int, str]:
    """One secret, or `1:new,0:old` during a rotation: the first signs, the others still count."""
    if not re.match(r"\d+:", text):
        return _good_secret(text)
    versions: dict[int, str] = {}
    for part in text.split(","):
        number, _, secret = part.strip().partition(":")
        if not number.isdecimal() or int(number) in versions:
            raise ValueError("a rotation needs a number of its own for each: write 1:new,0:old")
        versions[int(number)] = _good_secret(secret)
    return versions


def _good_secret(secret: str) -> str:
    if _PLACEHOLDER.search(secret):
        raise ValueError("this is a placeholder that everybody knows; write a random one")
    if len(secret) < min_secret_characters:
        raise ValueError(
            f"{len(secret)} characters are too few; write at least {min_secret_characters}, random"
        )
    return secret


_PLACEHOLDER = re.compile(
    r"change[-_ ]?(me|this)|place[-_ ]?holder|replace[-_ ]|insert[-_ ]|your[-_ ].*secret",
    re.IGNORECASE,
)


def _database_url(text: str) -> str:
    """The URL with an asynchronous driver, whatever the host's control panel calls it."""
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
    return url.render_as_string(hide_password=False)


_DRIVERS = {
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "sqlite": "sqlite+aiosqlite",
}


def _base_url(text: str) -> str:
    url = urlsplit(text)
    if url.scheme not in ("http", "https") or not url.hostname or url.path.strip("/"):
        raise ValueError("write scheme and host alone, for example https://www.example.com")
    return f"{url.scheme}://{url.netloc.lower()}"


def _hosts(text: str) -> tuple[str, ...]:
    for host in (hosts := _list(text.lower())):
        if not re.fullmatch(r"[\w.*-]+|\[[0-9a-f:.]+\]", host):
            raise ValueError(f"{host!r} is no host name; write names without scheme and port")
    return hosts


def _smtp_url(text: str) -> str:
    if text != KEPT:
        smtp_options(text)
    return text


def _addresses(text: str) -> tuple[str, ...]:
    addresses = _list(text)
    for address in addresses:
        try:
            ipaddress.ip_address(address)
        except ValueError:
            raise ValueError(
                f"{address!r} is no IP address; write each proxy's own, for example "
                "127.0.0.1,::1 (neither names nor networks)"
            ) from None
    return addresses


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


# Where the values come from.


@dataclass(frozen=True)
class _Option:
    """A setting that people can give; the field of the same name has the default."""

    name: str
    type: type
    help: str
    convert: Callable[[str], Any] | None = None
    """Makes the field's value of the text."""


OPTIONS = (
    _Option("port", int, "TCP port to listen on"),
    _Option("address", str, "address to listen on; 0.0.0.0 is every one of the machine"),
    _Option("debug", bool, "for development: reloads, shows tracebacks, works without HTTPS"),
    _Option("session_engine", str, f"where sessions are kept: {' or '.join(ENGINES)}"),
    _Option("redis_url", str, "address of the session store"),  # engine: redis
    _Option("memcached_servers", str, "host:port of the store", _list),  # engine: memcached
    _Option("cookie_secret", str, "signs cookies; 1:new,0:old during a rotation", _secret),
    _Option("database_url", str, "SQLAlchemy URL of the accounts", _database_url),
    _Option("base_url", str, "address that people use, for links in mails", _base_url),
    _Option("allowed_hosts", str, "further host names that are answered", _hosts),
    _Option("smtp_url", str, "smtp://user:password@host:587, sends mail", _smtp_url),
    _Option("mail_from", str, "sender of mails", check_email),
    _Option("trusted_proxies", str, "whose X-Forwarded-* headers are believed", _addresses),
    _Option("processes", int, "how many processes serve"),
    _Option("metrics_port", int, "TCP port of /metrics, for Prometheus; 0 for none"),
    _Option("log_level", str, f"least level that is logged: {', '.join(LEVELS)}", str.lower),
    _Option("log_format", str, f"{' or '.join(FORMATS)}, one object a line", str.lower),
    _Option("config", str, "Python file that sets options by name; it is executed"),
)

_placeholders: dict[str, Any] = {"cookie_secret": "-"}


def _parser() -> OptionParser:
    """A parser of our own: tornado.options.options is global and can be defined only once."""
    parser = OptionParser()
    for option in OPTIONS:
        default = getattr(Settings, option.name, None)
        shown = ",".join(default) if isinstance(default, tuple) else default
        about = f"{option.help} [{option.name.upper()}]"
        if shown not in (None, ""):
            about += f" (default {shown})"
        parser.define(option.name, type=option.type, help=about, group="settings")
    return parser


def _with_values(arguments: Iterable[str]) -> Iterable[str]:
    """`--debug` is short for `--debug=true`."""
    flags = {option.name for option in OPTIONS if option.type is bool}
    for argument in arguments:
        bare_flag = _option_name(argument) in flags and "=" not in argument
        yield f"{argument}=true" if bare_flag else argument


def _config_path(arguments: Sequence[str]) -> str | None:
    paths = [a.partition("=")[2] for a in arguments if _option_name(a) == "config"]
    return paths[-1] if paths else None


def _option_name(argument: str) -> str:
    return argument.lstrip("-").partition("=")[0].replace("-", "_")


def _read_environment(parser: OptionParser, environ: Mapping[str, str]) -> list[str]:
    faults = []
    for option in OPTIONS:
        # CONFIG means the kind of build to many a tool: the path of a file is a flag alone.
        if option.name != "config" and (value := environ.get(option.name.upper(), "").strip()):
            faults += _set(parser, option, value)
    return faults


def _read_file(parser: OptionParser, path: str) -> list[str]:
    try:
        parser.parse_config_file(path, final=False)
    except OSError as error:
        return [f"{_both_names('config')}: {path} cannot be read ({error.strerror})"]
    except Exception as error:  # the file is a program, and can fail in any way
        return [f"{_both_names('config')}: {path} failed: {type(error).__name__}: {error}"]
    return []


def _read_argument(parser: OptionParser, argument: str) -> list[str]:
    name = _option_name(argument)
    if argument.startswith("-") and name in ("help", "h"):
        parser.parse_command_line(["", "--help"])  # prints and exits
    if not argument.startswith("-"):
        return [f"{argument!r} is no option: options have the form --port=8888"]
    option = next((option for option in OPTIONS if option.name == name), None)
    if option is None:
        near = difflib.get_close_matches(name, [option.name for option in OPTIONS], n=1)
        hint = f"did you mean --{near[0].replace('_', '-')}?" if near else "--help lists all"
        return [f"{argument.partition('=')[0]} is no option: {hint}"]
    if "=" not in argument:
        return [f"{argument} needs a value: write {argument}=..."]
    return _set(parser, option, argument.partition("=")[2])


def _set(parser: OptionParser, option: _Option, value: str) -> list[str]:
    if option.type is bool:
        # Tornado takes every word but "false", "f" and "0" for true, "off" included.
        if value.lower() not in BOOLEANS:
            return [f"{_both_names(option.name)}: {value!r} is unclear; write true or false"]
        value = str(BOOLEANS[value.lower()])
    try:
        parser.parse_command_line(["", f"--{option.name}={value}"], final=False)
    except (Error, ValueError):
        return [f"{_both_names(option.name)}: {value!r} is no whole number; write digits only"]
    return []


def _both_names(name: str) -> str:
    return f"{name.upper()} (--{name.replace('_', '-')})"
