"""A real SMTP server, as small as it can be: RFC 5321 with STARTTLS and AUTH PLAIN."""

from __future__ import annotations

import asyncio
import base64
import email
import email.policy
import ssl
from collections.abc import Callable
from email.message import EmailMessage

from .servers import HOST


class SmtpServer:
    """Accepts mail into `mails`. `tls` says when it speaks it: "starttls", "always" or ""."""

    def __init__(self, *, tls: str = "", context: ssl.SSLContext | None = None) -> None:
        self.mails: list[EmailMessage] = []
        self.raw: list[bytes] = []
        self.logins: list[tuple[str, str]] = []
        self.answers: dict[str, list[str]] = {}
        """What it says, instead of agreeing, to the next commands of that name."""
        self.port = 0
        self._tls, self._context = tls, context
        self._arrived = asyncio.Condition()
        self._talks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> SmtpServer:
        context = self._context if self._tls == "always" else None
        self._server = await asyncio.start_server(self._serve, HOST, 0, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)
        await self._server.wait_closed()

    async def wait_for(self, count: int) -> list[EmailMessage]:
        """Return the mails as soon as there are so many."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.mails) >= count)
        return self.mails

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.current_task()
        assert talk is not None
        self._talks.add(talk)

        def say(*lines: str) -> None:
            writer.write("".join(f"{line}\r\n" for line in lines).encode())

        try:
            await self._talk(reader, writer, say)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _talk(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        say: Callable[..., None],
    ) -> None:
        encrypted = self._tls == "always"
        say("220 here")
        while line := (await reader.readline()).decode().strip():
            command = line.split(" ")[0].upper()
            if self.answers.get(command):
                say(self.answers[command].pop(0))
                continue
            match command:
                case "EHLO":
                    offers = (
                        "STARTTLS" if self._tls == "starttls" and not encrypted else "AUTH PLAIN"
                    )
                    say("250-here", f"250 {offers}")
                case "STARTTLS" if self._context is not None:
                    say("220 go on")
                    await writer.drain()
                    await writer.start_tls(self._context)
                    encrypted = True
                case "AUTH":
                    _, user, password = base64.b64decode(line.split(" ")[2]).decode().split("\0")
                    self.logins.append((user, password))
                    say("235 welcome")
                case "DATA":
                    say("354 go on")
                    await self._receive(await reader.readuntil(b"\r\n.\r\n"))
                    say("250 accepted")
                case "QUIT":
                    say("221 bye")
                    return
                case _:
                    say("250 ok")

    async def _receive(self, raw: bytes) -> None:
        self.raw.append(raw)
        sent = raw.removesuffix(b".\r\n").replace(b"\r\n..", b"\r\n.")
        mail = email.message_from_bytes(sent, policy=email.policy.SMTP)
        assert isinstance(mail, EmailMessage)
        async with self._arrived:
            self.mails.append(mail)
            self._arrived.notify_all()
