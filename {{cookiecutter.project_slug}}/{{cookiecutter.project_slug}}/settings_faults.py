"""Check settings that were read. `read_settings` reports every fault, one sentence each.

To check a setting of your own, add to `faults_of`: what was given, why it cannot be, what to write.
"""

from __future__ import annotations

from typing import Any

from .logs import FORMATS, LEVELS
from .mail import KEPT
from .sessions.config import DAY_S
from .sessions.engines import ENGINES

max_grace_s = 300
memory_engine = "memory"


def faults_of(settings: Any) -> list[str]:
    """Return everything that is wrong with a `Settings`, but for what the sessions find."""
    faults = []
    engine, processes, usual = settings.session_engine, settings.processes, type(settings)
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
            f"its own: write PROCESSES=1, or SESSION_ENGINE={usual.session_engine}"
        )
    elif processes > 1 and settings.debug:
        faults.append(
            f"PROCESSES {processes} cannot reload in debug mode: write PROCESSES=1 or DEBUG=false"
        )
    if settings.max_body_bytes < 1024:
        faults.append(
            f"MAX_BODY_BYTES {settings.max_body_bytes} is less than a login needs: write the number "
            f"of bytes, for example {usual.max_body_bytes}"
        )
    for name in ("database_pool_size", "hashing_threads"):
        if (number := getattr(settings, name)) < 1:
            faults.append(f"{name.upper()} {number} would let everybody wait: write 1 or more")
    if settings.uvloop and not _has_uvloop():
        faults.append(
            "UVLOOP is true, and uvloop is not installed: pip install '.[uvloop]', or write "
            "UVLOOP=false"
        )
    if not 0 <= settings.grace <= max_grace_s:
        faults.append(
            f"GRACE {settings.grace} is not a waiting time: write seconds, 0 to {max_grace_s}"
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
    if settings.remember_days < 1:
        faults.append(f"REMEMBER_DAYS {settings.remember_days} remembers nobody: write 1 or more")
    elif (needed := settings.remember_days * DAY_S) > settings.absolute_timeout:
        faults.append(
            f"REMEMBER_DAYS {settings.remember_days} is longer than ABSOLUTE_TIMEOUT "
            f"{settings.absolute_timeout:.15g}, which ends every session: write fewer days, or "
            f"ABSOLUTE_TIMEOUT={needed}"
        )
    return faults


def _has_uvloop() -> bool:
    try:
        import uvloop  # noqa: F401
    except ImportError:
        return False
    return True
