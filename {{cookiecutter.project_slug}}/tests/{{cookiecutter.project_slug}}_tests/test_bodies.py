"""How much a request may carry: the page for what is larger, and handlers that take more."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tornado.iostream import IOStream, StreamClosedError
from tornado.tcpclient import TCPClient
from tornado.web import RequestHandler, stream_request_body

from {{cookiecutter.project_slug}} import bodies
from {{cookiecutter.project_slug}}.app import App
from {{cookiecutter.project_slug}}.handlers.base import BaseHandler
from {{cookiecutter.project_slug}}.handlers.plain import PlainHandler
from {{cookiecutter.project_slug}}.settings import Settings

from .browser import Browser

LIMIT = 4096
MORE = 10 * LIMIT
FORM = "Content-Type: application/x-www-form-urlencoded"
FILE = "Content-Type: multipart/form-data; boundary=x"

pytestmark = pytest.mark.gen_test


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return replace(settings, max_body_bytes=LIMIT)


class Large(PlainHandler):
    max_body_bytes = MORE

    def post(self) -> None:
        self.write(str(len(self.request.body)))


@stream_request_body
class Stream(BaseHandler):
    """Answers what it has seen; `seen` shows it to the test while the body is on its way."""

    max_body_bytes = MORE
    seen: list[str]
    sizes: list[int]

    async def prepare(self) -> None:
        await super().prepare()
        self.seen.append("prepared")

    def data_received(self, chunk: bytes) -> None:
        self.sizes.append(len(chunk))

    def post(self) -> None:
        self.session["uploaded"] = True
        self.write(str(sum(self.sizes)))

    def on_connection_close(self) -> None:
        super().on_connection_close()
        self.seen.append("closed")


@stream_request_body
class Foreign(RequestHandler):
    """One that is no handler of this app."""

    def data_received(self, chunk: bytes) -> None:
        pass


@pytest.fixture
def app(app: App) -> App:
    Stream.seen, Stream.sizes = [], []
    app.add_handlers(".*", [("/large", Large), ("/stream", Stream), ("/foreign", Foreign)])
    return app


class Client:
    """Speaks HTTP by hand, as it must send less, more or later than it says."""

    def __init__(self, stream: IOStream) -> None:
        self.stream = stream

    @classmethod
    async def send(cls, browser: Browser, path: str, *headers: str, body: bytes = b"") -> Client:
        host, port = browser.base_url.removeprefix("http://").split(":")
        client = cls(await TCPClient().connect(host, int(port)))
        head = "\r\n".join([f"POST {path} HTTP/1.1", f"Host: {host}", *headers, "", ""])
        await client.stream.write(head.encode() + body)
        return client

    async def answer(self) -> tuple[int, str]:
        """Return status and body."""
        head = (await self.stream.read_until(b"\r\n\r\n")).decode()
        length = int(head.partition("Content-Length: ")[2].split()[0])
        return int(head.split()[1]), (await self.stream.read_bytes(length)).decode()


def chunks(size: int, count: int) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (size, b"x" * size) for _ in range(count)) + b"0\r\n\r\n"


@pytest.mark.parametrize("path", ["/", "/nothing-here", "/healthz", "/static/app.js", "/foreign"])
@pytest.mark.parametrize("headers", [(FORM,), (FILE,), ()])
async def test_a_body_over_the_limit_gets_the_apps_own_page(
    browser: Browser, path: str, headers: tuple[str, ...]
) -> None:
    for length in (LIMIT + 1, 100 * LIMIT):
        client = await Client.send(
            browser, path, *headers, f"Content-Length: {length}", body=b"x" * length
        )
        status, page = await client.answer()
        assert status == 413
        assert "That was too much" in page
        assert "at most 4 kB" in page
    # The body was read to its end: the connection goes on.
    await client.stream.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (await client.answer())[0] == 200


async def test_a_body_of_the_limit_is_taken(browser: Browser) -> None:
    text = "x" * (LIMIT - len("text="))
    assert (await browser.post("/", text=text)).status == 422  # too long for a note, and read
    assert (await browser.post("/", text=text + "x")).status == 413


@pytest.mark.parametrize("path", ["/", "/stream", "/foreign"])
async def test_a_body_in_chunks_is_counted_as_it_comes(browser: Browser, path: str) -> None:
    header = "Transfer-Encoding: chunked"
    client = await Client.send(browser, path, FORM, header, body=chunks(1000, 1000))
    status, page = await client.answer()
    assert (status, "That was too much" in page) == (413, True)
    client = await Client.send(browser, path, FORM, header, body=chunks(1000, 2))
    assert (await client.answer())[0] != 413
    if path == "/stream":
        # The first time, its client went away; it never got more than it takes.
        assert Stream.seen == ["prepared", "closed", "prepared"]
        assert sum(Stream.sizes) <= MORE


async def test_a_client_that_asks_first_need_not_send(browser: Browser) -> None:
    for path in ("/", "/stream"):
        client = await Client.send(
            browser, path, FORM, "Expect: 100-continue", f"Content-Length: {MORE + 1}"
        )
        assert (await client.answer())[0] == 413
    assert Stream.seen == []
    client = await Client.send(browser, "/", FORM, "Expect: 100-continue", "Content-Length: 6")
    assert b" 100 " in await client.stream.read_until(b"\r\n\r\n")
    await client.stream.write(b"text=x")
    assert (await client.answer())[0] == 303


@pytest.mark.parametrize("header", ["Content-Length: 1000000", "Transfer-Encoding: chunked"])
async def test_what_never_ends_is_answered_and_cut_off(
    browser: Browser, monkeypatch: pytest.MonkeyPatch, header: str
) -> None:
    monkeypatch.setattr(bodies, "max_discarded_bytes", 100_000)
    body = b"" if "Length" in header else chunks(1000, 200)[:-5]
    client = await Client.send(browser, "/", FORM, header, body=body)
    assert (await client.answer())[0] == 413
    with pytest.raises(StreamClosedError):
        await client.stream.read_bytes(1)


@pytest.mark.parametrize("length", ["x", "-1", "1, 2", "9" * 5000])
async def test_a_length_that_is_no_number_is_no_way_around(browser: Browser, length: str) -> None:
    client = await Client.send(browser, "/", FORM, f"Content-Length: {length}", body=b"x" * MORE)
    assert b" 400 " in await client.stream.read_until(b"\r\n\r\n")


async def test_a_handler_can_take_more(browser: Browser) -> None:
    for size, status in ((MORE, 200), (MORE + 1, 413)):
        client = await Client.send(browser, "/large", f"Content-Length: {size}", body=b"x" * size)
        assert (await client.answer())[0] == status
        assert (await browser.post("/", text="x" * MORE)).status == 413  # the others do not


async def test_a_stream_is_handed_on_as_it_comes(browser: Browser) -> None:
    await browser.post("/", text="a note")
    cookie = browser.session_cookie
    assert cookie is not None
    client = await Client.send(
        browser, "/stream", f"Content-Length: {MORE}", f"Cookie: {cookie.name}={cookie.value}"
    )
    for sent in range(LIMIT, MORE + LIMIT, LIMIT):
        await client.stream.write(b"x" * LIMIT)
        while sum(Stream.sizes) < sent:
            await asyncio.sleep(0.001)
    assert await client.answer() == (200, str(MORE))
    assert len(Stream.sizes) >= 10


async def test_who_has_gone_is_noticed_by_the_handler(browser: Browser) -> None:
    client = await Client.send(browser, "/stream", f"Content-Length: {MORE}", body=b"x")
    while not Stream.sizes:
        await asyncio.sleep(0.001)
    client.stream.close()
    while "closed" not in Stream.seen:
        await asyncio.sleep(0.001)
