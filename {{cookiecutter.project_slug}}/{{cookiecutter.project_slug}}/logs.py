"""Log lines, for people or for a machine that collects them. Each has the id of its request.

`__main__` calls `configure`; handlers/plain.py sets `request_id`, sends it as X-Request-ID and shows
it on error pages, so that a person can tell you which lines to look for.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import partial

from tornado.log import LogFormatter, access_log
from tornado.web import RequestHandler

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json")

request_id: ContextVar[str] = ContextVar("request_id", default="-")
"""The id of the request this context serves; "-" outside of one."""

_FORMAT = "%(color)s%(levelname)1.1s %(asctime)s %(request_id)s %(name)s%(end_color)s %(message)s"


# What a proxy's id may look like. Anything else could forge a log line, or fill the disk.
_REQUEST_ID = re.compile(r"[\w.:=+/-]{1,128}", re.ASCII)


def configure(
    *,
    debug: bool,
    level: str = "info",
    form: str = "text",
    in_variables: Callable[[str], str] = str,
) -> None:
    """Log to stderr from this level on, in debug everything of this package. The level is one of
    `LEVELS`, the form one of `FORMATS`; `in_variables` puts the variables that people set in place
    of what warnings of this package call them.
    """
    handler = logging.StreamHandler()
    text = LogFormatter(fmt=_FORMAT, datefmt="%Y-%m-%d %H:%M:%S")
    handler.setFormatter(JsonFormatter() if form == "json" else text)
    handler.addFilter(_add_request_id)
    handler.addFilter(_drop_quoted_headers)
    handler.addFilter(partial(_name_variables, in_variables))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("alembic").setLevel(logging.WARNING)  # migrations/ logs what it did
    logging.getLogger(__package__).setLevel(logging.DEBUG if debug else logging.NOTSET)


def new_request_id(given: str | None) -> str:
    """Return the id that a trusted proxy has given a request, or a random one."""
    return given if given and _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)


def log_request(handler: RequestHandler) -> None:
    """Log a request that was answered: Tornado's `log_function`.

    A handler with `logs_requests = False` is left out. To log more of each request, add it to
    `fields`, which LOG_FORMAT=json writes as names of their own.
    """
    if not getattr(handler, "logs_requests", True):
        return
    request, status = handler.request, handler.get_status()
    fields = {
        "handler": type(handler).__name__,
        "method": request.method,
        "uri": request.uri,
        "status": status,
        "duration_ms": round(1000 * request.request_time(), 2),
        "address": request.remote_ip,
    }
    level = logging.INFO if status < 400 else logging.WARNING if status < 500 else logging.ERROR
    message = "%(status)d %(method)s %(uri)s (%(address)s) %(duration_ms).2fms"
    access_log.log(level, message, fields, extra={"fields": fields})


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "request_id": request_id.get(),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False, default=str)


def _add_request_id(record: logging.LogRecord) -> bool:
    record.request_id = request_id.get()
    return True


def _name_variables(in_variables: Callable[[str], str], record: logging.LogRecord) -> bool:
    if record.levelno >= logging.WARNING and record.name.startswith(__package__):
        record.msg, record.args = in_variables(record.getMessage()), ()
    return True


def _drop_quoted_headers(record: logging.LogRecord) -> bool:
    # Tornado quotes the header that it refuses: a Cookie header with one odd character in it, and
    # with it a session id that is still good.
    if record.name == "tornado.general" and str(record.msg).startswith("Malformed HTTP message"):
        record.msg, record.args = re.split("b?['\"]", record.getMessage(), maxsplit=1)[0], ()
    return True
