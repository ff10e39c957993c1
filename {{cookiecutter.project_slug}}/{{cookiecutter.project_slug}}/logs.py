"""Log lines that can be told apart: each carries the id of the request it belongs to.

`__main__` calls `configure`; handlers/base.py sets `request_id`, sends it as X-Request-ID and shows
it on error pages, so that a person can tell you which lines to look for.
"""

from __future__ import annotations

import logging
import re
from contextvars import ContextVar

from tornado.log import LogFormatter

request_id: ContextVar[str] = ContextVar("request_id", default="-")
"""The id of the request this context serves; "-" outside of one."""

_FORMAT = "%(color)s%(levelname)1.1s %(asctime)s %(request_id)s %(name)s%(end_color)s %(message)s"


def configure(*, debug: bool) -> None:
    """Log to stderr: everything from INFO, in debug from DEBUG for this package."""
    handler = logging.StreamHandler()
    handler.setFormatter(LogFormatter(fmt=_FORMAT, datefmt="%Y-%m-%d %H:%M:%S"))
    handler.addFilter(_add_request_id)
    handler.addFilter(_drop_quoted_headers)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.getLogger("alembic").setLevel(logging.WARNING)  # migrations/ logs what it did
    logging.getLogger(__package__).setLevel(logging.DEBUG if debug else logging.INFO)


def _add_request_id(record: logging.LogRecord) -> bool:
    record.request_id = request_id.get()
    return True


def _drop_quoted_headers(record: logging.LogRecord) -> bool:
    # Tornado quotes the header that it refuses: a Cookie header with one odd character in it, and
    # with it a session id that is still good.
    if record.name == "tornado.general" and str(record.msg).startswith("Malformed HTTP message"):
        record.msg, record.args = re.split("b?['\"]", record.getMessage(), maxsplit=1)[0], ()
    return True
