"""What can go wrong. A missing or expired session is not an error: it is an empty session."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class SessionError(Exception):
    """Base of every exception this package raises on purpose."""

    status: ClassVar[int] = 500
    """The HTTP status that the mixins answer with when a handler lets it pass."""
    reason: ClassVar[str | None] = None
    """The words of that status line; None: the usual ones."""


class ConfigurationError(SessionError):
    """The settings cannot work. `faults` lists every reason, one sentence each."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = list(faults)
        super().__init__("\n".join(self.faults))


class StoreUnavailable(SessionError):
    """The session store did not answer, not in time, or refused.

    `address` says which store, `cause` what happened, `cure` what to do where that is known ("").
    What was sent before may or may not have been carried out.
    """

    status = 503
    retry_after_s: ClassVar[int] = 1
    """The engines find a store that is back within this time."""

    def __init__(self, address: str, cause: str, cure: str = "") -> None:
        self.address, self.cause, self.cure = address, cause, cure
        super().__init__(f"session store {address}: {cause}")


class SessionLost(SessionError):
    """The session was ended, or its id was changed, by another request: nothing was saved.

    Saving under a new id would put the data where the person never sees it, or log them out.
    """

    status = 409
    reason = "The session has ended or changed its id; load the page again"

    def __init__(self) -> None:
        super().__init__("another request has ended this session or changed its id")


class SessionTooLarge(SessionError):
    """The record would not fit into the store. Nothing was written; the old record stays.

    `size_bytes` is what the record would have taken, `limit_bytes` what the store allows at most.
    """

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        self.size_bytes, self.limit_bytes = size_bytes, limit_bytes
        super().__init__(
            f"the session's record takes {size_bytes} bytes, the store allows at most {limit_bytes}: "
            "keep large values elsewhere and their key in the session"
        )


class BadRecord(SessionError):
    """What lies in the store was not written by this package: truncated, foreign or hostile."""
