"""Mail: what is sent, through a real server, and what cannot be."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.testing import bind_unused_port

from {{cookiecutter.project_slug}} import mail as module
from {{cookiecutter.project_slug}}.app import App, make_app
from {{cookiecutter.project_slug}}.mail import (
    KEPT,
    EmailRefused,
    Mailer,
    MailFailed,
    check_email,
    options,
)
from {{cookiecutter.project_slug}}.settings import Settings

from .browser import Browser
from .servers import HOST, free_port
from .smtp_server import SmtpServer

SENDER = "noreply@example.com"


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for this machine, signed by itself, with its key."""
    openssl = shutil.which("openssl")
    assert openssl is not None, "openssl is not on PATH: install it (apt install openssl)"
    file = tmp_path_factory.mktemp("tls") / "certificate.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-subj", "/CN=here", "-addext", f"subjectAltName=IP:{HOST}", "-keyout", file,
         "-out", file.with_suffix(".crt")],
        check=True, capture_output=True,
    )  # fmt: skip
    with file.open("a") as both:
        both.write(file.with_suffix(".crt").read_text())
    return file


@pytest.fixture
def context(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """What a server needs for TLS that clients here believe."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_suffix(".crt")))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "wait_before_try_s", (0, 0.01, 0.01))


@pytest.mark.gen_test
async def test_a_mail_arrives_as_it_was_written() -> None:
    text = (
        "Sch\u00f6ne Gr\u00fc\u00dfe,\n\n.\n.. a line that begins with dots\n" + "x" * 2000 + "\n"
    )
    async with SmtpServer() as server:
        mailer = Mailer(f"smtp://{HOST}:{server.port}?starttls=never", SENDER)
        await mailer.send("ada@example.org", "Gr\u00fc\u00dfe \u5b6b " * 20, text)
    (mail,) = server.mails
    assert mail["From"] == SENDER
    assert mail["To"] == "ada@example.org"
    assert mail["Subject"] == ("Gr\u00fc\u00dfe \u5b6b " * 20)
    assert mail.get_content().replace("\r\n", "\n") == text
    assert mail.get_content_type() == "text/plain"
    assert mail["Date"] is not None
    assert mail["Message-ID"].endswith("@example.com>")
    assert server.raw[0].isascii()
    assert max(map(len, server.raw[0].split(b"\r\n"))) <= 998


@pytest.mark.gen_test
async def test_smtp_logs_in_after_starttls(context: ssl.SSLContext) -> None:
    async with SmtpServer(tls="starttls", context=context) as server:
        mailer = Mailer(f"smtp://me%40here:p%40ss:word@{HOST}:{server.port}", SENDER)
        await mailer.send("ada@example.org", "Hello", "there")
    assert server.logins == [("me@here", "p@ss:word")]
    assert len(server.mails) == 1


@pytest.mark.gen_test
async def test_smtps_speaks_tls_from_the_beginning(context: ssl.SSLContext) -> None:
    async with SmtpServer(tls="always", context=context) as server:
        mailer = Mailer(f"smtps://me:secret@{HOST}:{server.port}", SENDER)
        await mailer.send("ada@example.org", "Hello", "there")
    assert server.logins == [("me", "secret")]


@pytest.mark.gen_test
async def test_a_password_never_travels_in_the_clear() -> None:
    async with SmtpServer() as server:
        mailer = Mailer(f"smtp://me:secret@{HOST}:{server.port}", SENDER)
        with pytest.raises(MailFailed):
            await mailer.send("ada@example.org", "Hello", "there")
    assert server.logins == []
    assert server.mails == []


@pytest.mark.gen_test
async def test_a_server_with_the_wrong_certificate_gets_nothing(
    context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    async with SmtpServer(tls="starttls", context=context) as server:
        mailer = Mailer(f"smtp://me:secret@{HOST}:{server.port}", SENDER)
        with pytest.raises(MailFailed, match="certificate"):
            await mailer.send("ada@example.org", "Hello", "there")
    assert server.logins == []


@pytest.mark.parametrize("name", ["to", "subject"])
@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
@pytest.mark.gen_test
async def test_nobody_adds_a_header(name: str, end: str) -> None:
    mailer = Mailer(KEPT, SENDER)
    fields = {"to": "ada@example.org", "subject": "Hello", "text": "there"}
    fields[name] += f"{end}Bcc: eve@example.org"
    with pytest.raises(ValueError):  # noqa: PT011 - EmailRefused is one
        mailer.send_soon(**fields)
    assert not mailer.outbox


@pytest.mark.usefixtures("impatient")
@pytest.mark.gen_test
async def test_what_a_server_puts_off_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    async with SmtpServer() as server:
        server.answers["RCPT"] = ["451 later"]
        server.answers["MAIL"] = ["421 busy"]
        mailer = Mailer(f"smtp://{HOST}:{server.port}?starttls=never", SENDER)
        mailer.send_soon("ada@example.org", "Hello", "there")
        await server.wait_for(1)
        await mailer.close()
    assert "given up" not in caplog.text


@pytest.mark.usefixtures("impatient")
@pytest.mark.gen_test
async def test_what_is_refused_for_good_is_given_up_and_logged_without_the_address(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with SmtpServer() as server:
        server.answers["RCPT"] = ["550 no such ada@example.org", "550 twice"]
        mailer = Mailer(f"smtp://{HOST}:{server.port}?starttls=never", SENDER)
        mailer.send_soon("ada@example.org", "Hello", "there")
        await mailer.close()
    assert server.answers["RCPT"] == ["550 twice"]
    assert "a mail was not accepted: the server says 550" in caplog.text
    assert "a mail is given up" in caplog.text
    assert "ada" not in caplog.text


@pytest.mark.usefixtures("impatient")
@pytest.mark.gen_test
async def test_a_server_that_is_not_there_holds_nobody_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    mailer = Mailer(f"smtp://{HOST}:{free_port()}?starttls=never", SENDER)
    mailer.send_soon("ada@example.org", "Hello", "there")
    await mailer.close()
    assert caplog.text.count("a mail was not accepted") == 3


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        (" Ada@Example.COM ", "ada@example.com"),
        ("ada+news@example.com", "ada+news@example.com"),
        ("ada@m\u00fcller.example", "ada@xn--mller-kva.example"),
    ],
)
def test_an_address_has_one_form(typed: str, kept: str) -> None:
    assert check_email(typed) == kept


@pytest.mark.parametrize(
    "address",
    ["", "ada", "ada@", "@example.com", "a@b@example.com", "ada@localhost", "a da@example.com",
     "ada@example.com,eve@example.com", "\u00e4da@example.com",
     '"ada"@example.com', "ada@[127.0.0.1]", "ada\x00@example.com", "a" * 100_000, "a@" + "b." * 999],
)  # fmt: skip
def test_what_is_no_address_is_refused_in_words(address: str) -> None:
    with pytest.raises(EmailRefused) as error:
        check_email(address)
    assert str(error.value).endswith(".")


@pytest.mark.parametrize(
    "url",
    ["mail.example.com", "http://mail.example.com", "smtp://", "smtp://host:port", "smtp://host/x",
     "smtps://host?starttls=never", "smtp://host?starttls=maybe", "smtp://host?timeout=3",
     "smtp://me:hunter2@host?starttls=never"],
)  # fmt: skip
def test_a_url_that_cannot_be_meant_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"write|leave out") as error:
        options(url)
    assert "hunter2" not in str(error.value)


# --- Links and hosts


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return replace(
        settings, base_url="https://www.example.com", allowed_hosts=("example.net", "*.example.org")
    )


@pytest.mark.parametrize(
    "host",
    ["www.example.com", "WWW.example.com:8888", "example.net", "a.example.org", "localhost:1",
     "127.0.0.1:8888", "[::1]:8888"],
)  # fmt: skip
@pytest.mark.gen_test
async def test_41_the_sites_own_hosts_are_answered(browser: Browser, host: str) -> None:
    assert (await browser.get("/", headers={"Host": host})).status == 200
    assert (await browser.get("/nothing-here", headers={"Host": host})).status == 404


@pytest.mark.parametrize(
    "host",
    ["evil.example", "www.example.com.evil.example", "wwwxexample.com", "example.org",
     "10.0.0.1:8888", "localhost.evil.example"],
)  # fmt: skip
@pytest.mark.gen_test
async def test_41_another_host_is_refused_in_words(browser: Browser, host: str) -> None:
    for path in ("/", "/login", "/nothing-here"):
        page = await browser.get(path, headers={"Host": host})
        assert page.status == 421
        assert "another site" in page.plain
        assert "evil" not in page.text
    assert (await browser.get("/healthz", headers={"Host": host})).status == 200
    assert (await browser.get("/readyz", headers={"Host": host})).status == 200


# --- In development


@pytest.fixture
def debug_app(settings: Settings, io_loop: IOLoop) -> Iterator[App]:
    app = make_app(replace(settings, debug=True, smtp_url=""))
    io_loop.run_sync(app.start)
    yield app
    io_loop.run_sync(app.close)


@pytest.fixture
def debug_browser(debug_app: App, http_client: AsyncHTTPClient) -> Iterator[Browser]:
    server, (sock, port) = HTTPServer(debug_app), bind_unused_port()
    server.add_socket(sock)
    yield Browser(http_client, f"http://localhost:{port}")
    server.stop()


@pytest.mark.gen_test
async def test_in_development_a_page_shows_what_would_have_been_sent(
    debug_app: App, debug_browser: Browser
) -> None:
    await debug_app.services.mail.send(
        "ada@example.org", "<b>Hello</b>", "See http://a.example/?b=c\n"
    )
    page = await debug_browser.get("/dev/mails", headers={"Host": "any.example"})
    assert "<b>Hello</b>" in page.plain
    assert "To ada@example.org" in page.plain
    assert 'href="http://a.example/?b=c"' in page.text


@pytest.mark.gen_test
async def test_outside_of_development_there_is_no_such_page(browser: Browser) -> None:
    assert (await browser.get("/dev/mails")).status == 404


@pytest.mark.gen_test
async def test_without_a_server_nothing_is_sent_and_that_is_logged(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    mail = make_app(replace(settings, smtp_url="")).services.mail
    assert not mail.can_send
    mail.send_soon("ada@example.org", "Hello", "there")
    await mail.close()
    assert not mail.outbox
    assert "SMTP_URL is not set" in caplog.text


def test_addresses_of_mail_servers_are_in_no_settings_that_are_printed(settings: Settings) -> None:
    assert "hunter2" not in repr(replace(settings, smtp_url="smtp://me:hunter2@mail.example.com"))


def test_the_sender_is_on_the_host_that_people_use(settings: Settings) -> None:
    assert settings.sender == "noreply@www.example.com"
    assert replace(settings, mail_from="me@example.net").sender == "me@example.net"
