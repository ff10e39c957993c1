"""What the app does not do: work for clients that have gone, and more work at once than it can bear.

handlers/plain.py says who is served; code that is about to do something expensive asks
`check_client`, wherever it is.
"""

from __future__ import annotations

from contextvars import ContextVar

from tornado.web import HTTPError


class Client:
    """Who waits for the answer to a request."""

    gone = False
    """Whether the connection was closed before the answer."""


client: ContextVar[Client] = ContextVar("client", default=Client())  # noqa: B039 - never changed
"""The client this context works for. Outside of a request it is one that never goes."""


def check_client() -> None:
    """Raise ClientGone if nobody waits any more for what is about to be done."""
    if client.get().gone:
        raise ClientGone


class ClientGone(HTTPError):
    """The client has hung up. The 499 is for the log alone."""

    def __init__(self) -> None:
        super().__init__(499, reason="Client Closed Request")


class Busy(HTTPError):
    """There is more to do than can be done soon. Left alone it becomes a 503."""

    retry_after_s = 2

    def __init__(self, what: str) -> None:
        super().__init__(503, "%s", f"busy: {what}")
