"""A small browser: it keeps cookies and sends them, to one process of an app or to another."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlencode

from tornado.httpclient import HTTPResponse
from tornado.simple_httpclient import SimpleAsyncHTTPClient


class Page:
    """An answer."""

    def __init__(self, response: HTTPResponse) -> None:
        if response.code == 599:
            raise response.error or AssertionError("no answer")
        self.status = response.code
        self.headers = response.headers
        self.seconds = response.request_time or 0.0
        self.body = response.body
        self.text = response.body.decode("utf-8", "replace") if response.body else ""
        self.cookies: dict[str, str] = {}
        """What the answer set, by name; "" where it cleared one."""
        for header in response.headers.get_list("Set-Cookie"):
            for name, morsel in SimpleCookie(header).items():
                assert name not in self.cookies, "one cookie is set twice"
                self.cookies[name] = morsel.value

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class Browser:
    """One visitor. Requests go to the addresses in turn."""

    def __init__(self, client: SimpleAsyncHTTPClient, *urls: str) -> None:
        self.jar: dict[str, str] = {}
        self.headers: dict[str, str] = {}
        """What it sends with every request."""
        self._client = client
        self._urls = itertools.cycle(urls)

    async def get(self, path: str, **query: object) -> Page:
        """Open a page, and take over its cookies."""
        return await self._fetch("GET", f"{path}?{urlencode(query)}" if query else path, None)

    async def post(self, path: str, *pairs: tuple[str, object], **form: object) -> Page:
        """Send a form, and take over the cookies of the answer. Redirects are not followed."""
        return await self._fetch("POST", path, urlencode([*pairs, *form.items()]))

    async def _fetch(self, method: str, path: str, body: str | None) -> Page:
        cookies = "; ".join(f"{name}={value}" for name, value in self.jar.items())
        page = Page(
            await self._client.fetch(
                next(self._urls) + path,
                method=method,
                body=body,
                headers=self.headers | ({"Cookie": cookies} if cookies else {}),
                raise_error=False,
                follow_redirects=False,
                connect_timeout=60,  # the wait for one of the connections counts as well
                request_timeout=60,
            )
        )
        for name, value in page.cookies.items():
            if value:
                self.jar[name] = value
            else:
                self.jar.pop(name, None)
        return page


@asynccontextmanager
async def client(connections: int = 64) -> AsyncIterator[SimpleAsyncHTTPClient]:
    """An HTTP client with so many connections at once."""
    client = SimpleAsyncHTTPClient(force_instance=True, max_clients=connections)
    try:
        yield client
    finally:
        client.close()
