"""What can go wrong with a session, as exceptions that carry their facts.

`SessionError` is the common base. A missing or expired session is not an error: it is an empty
session.
"""

from __future__ import annotations

from collections.abc import Sequence

from tornado.web import HTTPError

RETRY_AFTER_S = 1
"""What a 503 tells the client to wait: the engines find a store that is back within this time."""


class SessionError(Exception):
    """Base of every exception this package raises on purpose."""


class ConfigurationError(SessionError):
    """The settings cannot work. `faults` lists every reason, one sentence each."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = list(faults)
        super().__init__("\n".join(self.faults))


class StoreUnavailable(SessionError, HTTPError):
    """The session store did not answer, or not in time. Left alone it becomes a 503.

    `address` says which store, `cause` what happened. What was sent before may or may not have
    been carried out.
    """

    def __init__(self, address: str, reason: str) -> None:
        self.address = address
        HTTPError.__init__(self, 503, "%s", f"session store {address}: {reason}")
        self.reason = None  # HTTPError's own: the words of the status line
        self.cause = reason

    def __str__(self) -> str:
        return f"session store {self.address}: {self.cause}"


class SessionTooLarge(SessionError):
    """The record would not fit into the store. Nothing was written; the old record stays.

    `size_bytes` is what the record would have taken, `limit_bytes` what the store allows.
    """

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes
        super().__init__(
            f"the session's record takes {size_bytes} bytes, the store allows {limit_bytes}: "
            "keep large values elsewhere and their key in the session"
        )


class BadRecord(SessionError):
    """What lies in the store is not a record of ours: truncated, foreign or hostile."""
