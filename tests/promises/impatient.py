"""A client that closes its connection while the handler runs."""

from __future__ import annotations

import asyncio

from .browser import Browser
from .site import Gate, Page, Site


class Impatient:
    """Asks once, as the visitor of a browser. The handler sets `page`, and waits at `gate`."""

    def __init__(self, running: Site, browser: Browser) -> None:
        self.gate = Gate()
        self.page: Page | None = None
        """The server's side of it."""
        self._running = running
        self._browser = browser
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, act: str) -> None:
        """Send the request."""
        host, port = self._running.url.removeprefix("http://").split(":")
        _, self._writer = await asyncio.open_connection(host, int(port))
        cookie = "; ".join(f"{name}={value}" for name, value in self._browser.jar.items())
        request = f"GET /?act={act} HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n\r\n"
        self._writer.write(request.encode())

    async def leave(self) -> None:
        """Close the connection, and return when the server has noticed."""
        assert self._writer is not None
        assert self.page is not None
        self._writer.transport.abort()
        async with asyncio.timeout(10):
            await self.page.left.wait()

    async def let_it_end(self) -> None:
        """Open the gate, and return when the response is finished."""
        assert self.page is not None
        self.gate.open()
        async with asyncio.timeout(10):
            await self.page.ended.wait()
