"""The app's settings: read once, at start, from command line, config file and environment.

`__main__` calls `read_settings`; everything else is handed a `Settings`. To add a setting, add a
field to `Settings`, a row to `OPTIONS` with a function of settings_values.py where text is not
enough, and a check to settings_faults.py where it depends on others.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import argon2
from tornado.httputil import split_host_and_port

# Lines that end in a mark belong to one answer alone.  # without hooks
from . import settings_memcached  # engine: memcached
from . import settings_redis  # engine: redis
from . import settings_values as values
from .logs import FORMATS, LEVELS
from .mail import KEPT, check_email
from .passwords import PASSWORD_COST
from .sessions import ConfigurationError, SessionConfig
from .sessions.engines import ENGINES
from .settings_faults import faults_of, memory_engine
from .settings_sources import Option, Reader

STORES: dict[str, ModuleType] = {
    "memcached": settings_memcached,  # engine: memcached
    "redis": settings_redis,  # engine: redis
}
"""How each engine is set up; the memory engine needs nothing."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """What the app was told. All defaults are here, and nowhere else."""

    port: int = 8888
    address: str = "127.0.0.1"
    debug: bool = False
    session_engine: str = "{{cookiecutter.engine}}"
    redis_url: str = field(default=settings_redis.usual_url, repr=False)  # engine: redis
    redis_sentinels: str = field(default="", repr=False)  # engine: redis
    redis_service: str = settings_redis.usual_service  # engine: redis
    redis_cluster: bool = False  # engine: redis
    memcached_servers: settings_memcached.Servers = ("localhost:11211",)  # engine: memcached
    idle_timeout: float = SessionConfig.idle_timeout
    """Seconds after its last use that a session ends."""
    absolute_timeout: float = SessionConfig.absolute_timeout
    """Seconds after its beginning that a session ends, however much it is used."""
    remember_days: int = 30
    """How long a session lives without use when somebody asked to stay logged in."""
    cookie_domain: str = ""
    """The domain whose other hosts get the session's cookie too; "" for none."""
    csp_sources: str = ""
    """Other sites that pages may load something from: see csp.py."""
    storage_timeout: float = SessionConfig.storage_timeout
    """Seconds after which a page is a 503 that waits for the store of the sessions."""
    cookie_secret: str | Mapping[int, str] = field(default="", repr=False)
    """One secret, or secrets by version during a rotation."""
    key_version: int | None = None
    """Which secret of a rotation signs; the others are still accepted."""
    database_url: str = field(default="sqlite+aiosqlite:///app.db", repr=False)
    database_pool_size: int = 15
    """The most connections to the database that a process opens; the next request waits."""
    base_url: str = f"http://localhost:{port}"
    """The address that people use: links in mails begin with it. By default it has the port's."""
    allowed_hosts: tuple[str, ...] = ()
    """Host names that are answered beside that of base_url; `*` stands for anything."""
    smtp_url: str = field(default="", repr=False)
    mail_from: str = ""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses and networks."""
    max_body_bytes: int = 1024 * 1024
    """The largest body of a request; a handler can take more: see bodies.py."""
    processes: int = 1
    grace: int = 0
    """Seconds: how long to go on serving after SIGTERM, with /readyz at 503."""
    uvloop: bool = False
    hashing_threads: int = 2
    """How many passwords a process hashes at once. Each takes a core and 19 MiB meanwhile."""
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
        prefix = "__Secure-" if self.cookie_domain else "__Host-"
        return prefix + name if self.secure else name

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
        host = urlsplit(self.base_url).hostname or ""
        return self.mail_from or f"noreply@{f'[IPv6:{host}]' if ':' in host else host}"

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
        store = STORES.get(self.session_engine)
        return {
            "engine": self.session_engine,
            "storage": store.storage(self) if store else {},
            "idle_timeout": self.idle_timeout,
            "absolute_timeout": self.absolute_timeout,
            "storage_timeout": self.storage_timeout,
            "cookies": {"domain": self.cookie_domain or None},
            "key_prefix": self.key_prefix,
            "cookie_name": self.cookie_name,
        }


OPTIONS = (
    Option("port", int, "TCP port to listen on"),
    Option("address", str, "address to listen on; 0.0.0.0 is every one of the machine"),
    Option("debug", bool, "for development: reloads, shows tracebacks, works without HTTPS"),
    Option("session_engine", str, f"where sessions are kept: {' or '.join(ENGINES)}"),
    *settings_memcached.OPTIONS,  # engine: memcached
    *settings_redis.OPTIONS,  # engine: redis
    Option("idle_timeout", float, "seconds without use after which a session ends"),
    Option("absolute_timeout", float, "seconds after which every session ends"),
    Option("remember_days", int, "days without use for who asked to stay logged in"),
    Option("cookie_domain", str, "domain whose other hosts get the session's cookie"),
    Option("csp_sources", str, "other sites that pages may load from", values.csp_sources),
    Option("storage_timeout", float, "seconds that the session store has to answer"),
    Option(
        "cookie_secret", str, "signs cookies; 0:old,1:new to rotate", values.secret, is_secret=True
    ),
    Option(
        "database_url", str, "SQLAlchemy URL of the accounts", values.database_url, is_secret=True
    ),
    Option("database_pool_size", int, "connections to the database, at most"),
    Option("base_url", str, "address that people use, for links in mails", values.base_url),
    Option("allowed_hosts", str, "further host names that are answered", values.hosts),
    Option(
        "smtp_url",
        str,
        "smtp://user:password@host:587, sends mail",
        values.smtp_url,
        is_secret=True,
    ),
    Option("mail_from", str, "sender of mails", check_email),
    Option("trusted_proxies", str, "whose X-Forwarded-* headers are believed", values.networks),
    Option("max_body_bytes", int, "largest request, in bytes, where a handler takes no more"),
    Option("processes", int, "how many processes serve"),
    Option("grace", int, "seconds to go on serving when told to stop, while /readyz says 503"),
    Option("uvloop", bool, "serve with uvloop's event loop, which is faster"),
    Option("hashing_threads", int, "passwords that a process hashes at once"),
    Option("metrics_port", int, "TCP port of /metrics, for Prometheus; 0 for none"),
    Option("log_level", str, f"least level that is logged: {', '.join(LEVELS)}", str.lower),
    Option("log_format", str, f"{' or '.join(FORMATS)}, one object a line", str.lower),
    Option("config", str, "Python file that sets options by name; it is executed"),
)

_SUBSTITUTES: dict[str, Any] = {"cookie_secret": "-"}


def read_settings(args: Sequence[str], environ: Mapping[str, str]) -> Settings:
    """Return the settings from a command line (`args[0]` is the program) and an environment.

    A flag wins over the config file, the file over the environment, the environment over the
    default. An empty variable counts as absent. Raises ConfigurationError with every fault, one
    line each; `--help` exits.
    """
    reader = Reader(OPTIONS, Settings)
    texts = reader.read(args[1:], environ)
    faults, given = reader.faults, dict(texts)
    for option in OPTIONS:
        if option.convert and option.name in texts:
            try:
                given[option.name] = option.convert(texts[option.name])
            except ValueError as error:
                faults.append(f"{option.both_names}: {error}")
                # Substitute a valid value so that the remaining checks can run; the app will not
                # start anyway.
                given[option.name] = _SUBSTITUTES.get(
                    option.name, getattr(Settings, option.name, "")
                )
    if any(fault.startswith("COOKIE_SECRET_FILE") for fault in faults):
        given.setdefault("cookie_secret", _SUBSTITUTES["cookie_secret"])  # it is not missing
    # What was not set, here or by a default of one's own, follows the port.
    has_base_url = "base_url" in texts or Settings.base_url != f"http://localhost:{Settings.port}"
    port = given.get("port", Settings.port)
    given.setdefault("base_url", Settings.base_url if has_base_url else f"http://localhost:{port}")
    if isinstance(secret := given.get("cookie_secret"), dict):
        given["key_version"] = next(iter(secret))
    settings = Settings(**given)
    faults += faults_of(settings)
    if settings.session_engine in ENGINES:
        faults += _session_faults(settings)
    host, domain = urlsplit(given["base_url"]).hostname or "", texts.get("cookie_domain", "")
    if domain and has_base_url and not f".{host}".endswith(f".{domain.lstrip('.')}"):
        faults.append(
            f"COOKIE_DOMAIN {domain} is not that of BASE_URL, {host}, and browsers would drop the "
            "cookie: write a domain that the host is in, or leave it out"
        )
    if settings.smtp_url and not settings.debug and not has_base_url:
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


def _session_faults(settings: Settings) -> list[str]:
    """Return what the sessions package finds: it knows best what its engine takes."""
    faults: list[str] = []
    try:
        sessions = settings.sessions
    except ConfigurationError as error:
        faults += error.faults
        sessions = replace(settings, session_engine=memory_engine).sessions
    try:
        SessionConfig.from_settings({**sessions, "cookie_secret": "-"})
    except ConfigurationError as error:
        faults += [in_variables(settings.session_engine, fault) for fault in error.faults]
    return faults


def in_variables(engine: str, message: str) -> str:
    """Return a message of sessions/ with the variables that people set in place of `storage`."""
    store = STORES.get(engine)
    message = store.in_variables(message) if store else message
    for name, variable in _VARIABLES.items():
        message = message.replace(name, variable)
    return message


_VARIABLES = {
    "'absolute_timeout': ": "ABSOLUTE_TIMEOUT=",
    "absolute_timeout": "ABSOLUTE_TIMEOUT",
    "idle_timeout": "IDLE_TIMEOUT",
    "storage_timeout": "STORAGE_TIMEOUT",
    "cookies['domain']": "COOKIE_DOMAIN",
}
"""What settings are called in messages of sessions/, and by people."""
