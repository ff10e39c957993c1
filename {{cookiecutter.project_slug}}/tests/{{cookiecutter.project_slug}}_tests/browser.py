"""A small browser for the tests: it keeps cookies, posts forms and follows redirects, and shows
what a person sees.

Cookies are really parsed and really sent, attributes and expiry included; nothing is stubbed.
`Secure` cookies are sent to http://localhost as browsers do. There is no JavaScript, as none of the
pages needs any.
"""

from __future__ import annotations

import html
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from urllib.parse import urlencode, urljoin, urlsplit

from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.httputil import HTTPHeaders

MAX_REDIRECTS = 5
# The app's own, and the one of an application that does not name its cookie: tests/sessions/.
SESSION_COOKIES = ("{{cookiecutter.project_slug}}", "sid")
_PREFIXES = ("", "__Host-", "__Secure-")
_FLASH = re.compile(r'<p class="flash flash-([\w-]+)" role="status">(.*?)</p>', re.DOTALL)
_TAG = re.compile(r"<[^>]+>")


@dataclass
class Cookie:
    """A cookie as the browser holds it. `expires` is in seconds since the epoch; None: until the
    browser is closed.
    """

    name: str
    value: str
    expires: float | None
    attributes: dict[str, str]

    @classmethod
    def parse(cls, header: str, now: float) -> Cookie:
        """Read a Set-Cookie header. Attribute names are lower-case; one without a value has ""."""
        pair, *rest = header.split(";")
        name, _, value = pair.strip().partition("=")
        attributes = {
            key.strip().lower(): text.strip()
            for key, _, text in (part.partition("=") for part in rest)
        }
        expires: float | None = None
        if "max-age" in attributes:
            expires = now + float(attributes["max-age"])
        elif "expires" in attributes:
            expires = parsedate_to_datetime(attributes["expires"]).timestamp()
        return cls(name, value.strip('"'), expires, attributes)


@dataclass(frozen=True)
class Page:
    """An answer, after redirects. `url` is the path it came from; `set_cookies` are those of this
    answer alone.
    """

    status: int
    url: str
    headers: HTTPHeaders
    text: str
    set_cookies: list[Cookie] = field(default_factory=list)

    @property
    def location(self) -> str:
        """Where a redirect leads ("" when it is none)."""
        return str(self.headers.get("Location", ""))

    @property
    def flashes(self) -> list[tuple[str, str]]:
        """The flash messages on the page: (category, text), in order."""
        return [(category, _plain(text)) for category, text in _FLASH.findall(self.text)]

    @property
    def plain(self) -> str:
        """The text of the page without tags."""
        return _plain(self.text)

    def error_of(self, name: str) -> str:
        """The message that belongs to the form field `name` by aria-describedby ("" when there is
        none).
        """
        tag = re.search(rf'<(?:input|textarea)[^>]*\bname="{re.escape(name)}"[^>]*>', self.text)
        described = re.search(r'aria-describedby="([^"]+)"', tag.group()) if tag else None
        for ident in described.group(1).split() if described else ():
            found = re.search(
                rf'<p id="{re.escape(ident)}" class="field-error">(.*?)</p>',
                self.text,
                re.DOTALL,
            )
            if found:
                return _plain(found.group(1))
        return ""


class Browser:
    """One person's browser. Two of them share nothing."""

    def __init__(
        self,
        client: AsyncHTTPClient,
        base_url: str,
        *,
        headers: dict[str, str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.cookies: dict[str, Cookie] = {}
        self.headers = headers or {}
        self._client = client
        self.base_url = base_url
        self._clock = clock

    async def get(
        self, path: str, *, follow: bool = True, headers: dict[str, str] | None = None
    ) -> Page:
        """Open a page. `follow=False` returns a redirect itself."""
        return await self._send("GET", path, None, follow, headers)

    async def head(self, path: str) -> Page:
        """Ask for the headers alone."""
        return await self._send("HEAD", path, None, False, None)

    async def post(
        self,
        path: str,
        *,
        follow: bool = True,
        headers: dict[str, str] | None = None,
        **fields: str,
    ) -> Page:
        """Send a form. `follow=False` returns a redirect itself."""
        return await self._send("POST", path, urlencode(fields), follow, headers)

    def close(self) -> None:
        """Close the browser: cookies without a lifetime are forgotten."""
        self.cookies = {
            name: cookie for name, cookie in self.cookies.items() if cookie.expires is not None
        }

    @property
    def session_cookie(self) -> Cookie | None:
        """The cookie that carries the session id; None when there is none."""
        names = (prefix + name for name in SESSION_COOKIES for prefix in _PREFIXES)
        return next((self.cookies[name] for name in names if name in self.cookies), None)

    @property
    def session_token(self) -> str:
        """The value of the session's cookie, which must be there."""
        assert self.session_cookie is not None
        return self.session_cookie.value

    async def register(self, username: str = "ada", password: str = "correct horse") -> Page:
        """Make an account and be logged in."""
        return await self.post("/register", username=username, password=password)

    async def login(
        self,
        username: str = "ada",
        password: str = "correct horse",
        *,
        next: str = "",
        remember: bool = False,
        follow: bool = True,
    ) -> Page:
        """Log in with an account that exists."""
        fields = {"username": username, "password": password, "next": next}
        if remember:
            fields["remember"] = "1"  # browsers leave out a box that is not checked
        return await self._send("POST", "/login", urlencode(fields), follow, None)

    async def _send(
        self, method: str, path: str, body: str | None, follow: bool, headers: dict[str, str] | None
    ) -> Page:
        for _ in range(MAX_REDIRECTS + 1):
            page = await self._once(method, path, body, headers)
            if not (follow and 300 <= page.status < 400 and page.location):
                return page
            target = urlsplit(urljoin(self.base_url + path, page.location))
            assert f"{target.scheme}://{target.netloc}" == self.base_url, (
                f"redirected away, to {page.location}"
            )
            path = target.path + (f"?{target.query}" if target.query else "")
            if page.status != 307:
                method, body = "GET", None
        raise AssertionError(f"more than {MAX_REDIRECTS} redirects, the last one to {path}")

    async def _once(
        self, method: str, path: str, body: str | None, headers: dict[str, str] | None
    ) -> Page:
        now = self._clock()
        sent = {**self.headers, **(headers or {})}
        cookies = [
            f"{cookie.name}={cookie.value}"
            for cookie in self.cookies.values()
            if (cookie.expires or now) >= now
        ]
        if cookies and "Cookie" not in sent:
            sent["Cookie"] = "; ".join(cookies)
        if body is not None:
            sent.setdefault("Content-Type", "application/x-www-form-urlencoded")
        request = HTTPRequest(
            self.base_url + path, method=method, body=body, headers=sent, follow_redirects=False
        )
        response = await self._client.fetch(request, raise_error=False)
        if response.code == 599:
            raise response.error or AssertionError("no answer")
        received = [Cookie.parse(header, now) for header in response.headers.get_list("Set-Cookie")]
        for cookie in received:
            if cookie.expires is not None and cookie.expires <= now:
                self.cookies.pop(cookie.name, None)
            else:
                self.cookies[cookie.name] = cookie
        text = response.body.decode("utf-8", "replace") if response.body else ""
        return Page(response.code, path, response.headers, text, received)


def _plain(text: str) -> str:
    return " ".join(html.unescape(_TAG.sub(" ", text)).split())
