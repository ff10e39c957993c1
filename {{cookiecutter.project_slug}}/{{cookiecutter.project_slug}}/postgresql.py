"""PostgreSQL's URLs as hosts hand them out, for the driver asyncpg.

They are written for libpq, PostgreSQL's own client library: asyncpg takes some of their parameters by
other ways, and fails on the rest. settings.py checks a URL with `translate` at start, and database.py
connects with what it returns. To accept another parameter, add it to a table or a case below.
"""

from __future__ import annotations

import ssl
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from sqlalchemy.engine import URL

# Parameters that asyncpg understands as libpq does, in a URL of its own; with the values that it
# takes, or () for any.
_SAME: dict[str, tuple[str, ...]] = {
    "application_name": (),
    "options": (),
    "passfile": (),
    "sslcert": (),
    "sslcrl": (),
    "sslkey": (),
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslpassword": (),
    "sslrootcert": (),
    "target_session_attrs": (
        "any", "primary", "standby", "prefer-standby", "read-write", "read-only"
    ),
}  # fmt: skip

# Parameters that can be left out when they have these values, or () any value: asyncpg works in that
# way already.
_WITHOUT_EFFECT: dict[str, tuple[str, ...]] = {
    "channel_binding": ("disable", "prefer"),
    "client_encoding": ("auto", "utf8", "UTF8"),
    "gssencmode": ("disable", "prefer"),
    "pgbouncer": ("false",),
    "sslcompression": ("0",),
    "sslsni": ("1",),
    "supa": (),  # Supabase's, about the URL itself
    "uselibpqcompat": (),  # for a driver of Node.js
}

_FILES = ("sslcert", "sslcrl", "sslkey", "sslrootcert")

# A pooler may run each transaction on another connection of its own, so that a statement prepared in
# one is unknown in the next, or there twice: see "Prepared Statement Name with PGBouncer" in
# SQLAlchemy's documentation of asyncpg.
_BEHIND_A_POOLER: dict[str, Any] = {
    "statement_cache_size": 0,
    "prepared_statement_cache_size": 0,
    "prepared_statement_name_func": lambda: f"__asyncpg_{uuid.uuid4()}__",
}


def translate(url: URL) -> tuple[URL, dict[str, Any]]:
    """Return the URL without its parameters (but for `host` and `port`, which SQLAlchemy knows), and
    the arguments for asyncpg.connect in their place.

    Raises ValueError: which parameter cannot be kept, and what to write instead. It holds no value,
    which may be a secret.
    """
    parameters: dict[str, str] = {}
    arguments: dict[str, Any] = {}
    must_verify = False
    place = {name: url.query[name] for name in ("host", "port") if name in url.query}
    for name, value in url.difference_update_query(place).query.items():
        if not isinstance(value, str):
            raise ValueError(f"{name} is there more than once; write it once")
        match name, value:
            case "ssl", _:  # SQLAlchemy's name, and Java's
                parameters["sslmode"] = "require" if value == "true" else value
            case "connect_timeout", _ if value.isdecimal() and int(value) > 0:
                arguments["timeout"] = int(value)
            case "pgbouncer", "true":
                arguments |= _BEHIND_A_POOLER
            case ("channel_binding", "require") | ("sslrootcert", "system"):
                must_verify = True
            case _ if name in _SAME:
                parameters[name] = value
            case _ if name in _WITHOUT_EFFECT and value in (_WITHOUT_EFFECT[name] or (value,)):
                pass
            case _:
                raise ValueError(f"the driver cannot keep {name} with this value; leave it out")
    for name, value in parameters.items():
        if _SAME[name] and value not in _SAME[name]:
            raise ValueError(f"{name} has an unknown value; write {' or '.join(_SAME[name])}")
        if name in _FILES and not Path(value).is_file():
            raise ValueError(f"{name} names a file that is not there; write the path of one")
    if must_verify:
        arguments["ssl"] = _verifying(parameters)
    if parameters:
        arguments["dsn"] = f"postgresql://?{urlencode(parameters)}"
    return url.set(query=place), arguments


def _verifying(parameters: dict[str, str]) -> ssl.SSLContext:
    """Take the parameters of TLS, and return a context that lets nobody between app and server.

    That is what channel binding is for, which asyncpg does not have; verifying the certificate and
    the host's name, against the system's authorities or those of sslrootcert, does the same.
    """
    tls = {name: parameters.pop(name) for name in list(parameters) if name.startswith("ssl")}
    if tls.get("sslmode") in ("disable", "allow"):
        raise ValueError("sslmode contradicts what else is asked for; write sslmode=verify-full")
    try:
        context = ssl.create_default_context(cafile=tls.get("sslrootcert"))
        if "sslcrl" in tls:
            context.load_verify_locations(cafile=tls["sslcrl"])
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
        if "sslcert" in tls:
            context.load_cert_chain(tls["sslcert"], tls.get("sslkey"), tls.get("sslpassword", ""))
    except OSError as error:
        raise ValueError(f"a file of certificates cannot be used ({error})") from None
    return context
