"""Mail: plain text, sent through the server that SMTP_URL names.

    self.application.services.mail.send_soon(user.email, "Your order", "It is on its way.\n")

In development, where there is no server, nothing is sent: /dev/mails shows what would have been. In
tests it is a list, `mail.outbox`. For links in a mail, put a path behind `Settings.base_url`: the
Host header of a request is what its sender likes.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import localtime, make_msgid
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import aiosmtplib
from email_validator import EmailNotValidError, validate_email

from .texts import _

timeout_s = 10
wait_before_try_s = (0, 5, 60)
max_waiting = 1000
max_in_outbox = 50
closing_timeout_s = 5  # at the end of the app, for mail that is on its way

KEPT = "memory:"
"""As SMTP_URL: send nothing, and keep it in `Mailer.outbox`."""

log = logging.getLogger(__name__)


class EmailRefused(ValueError):
    """This is no address that mail can be sent to; the text says why, to its owner."""


class MailFailed(Exception):
    """The mail was not accepted. `passes`: another try may succeed."""

    def __init__(self, cause: str, *, passes: bool) -> None:
        self.passes = passes
        super().__init__(cause)


def check_email(email: str) -> str:
    """Return the address as it is kept, compared and sent to: in lower case. Raises EmailRefused.

    Whether it exists, and whose it is, only a mail to it can tell.
    """
    if len(email) > 1000:
        raise EmailRefused(_("Use a shorter address."))
    try:
        found = validate_email(email.strip(), check_deliverability=False)
    except EmailNotValidError:
        raise EmailRefused(_("Use an address such as name@example.com.")) from None
    if found.ascii_email is None:
        raise EmailRefused(_("Use an address that has only plain letters before the @."))
    return found.ascii_email.lower()


@dataclass(frozen=True)
class Mail:
    to: str
    subject: str
    text: str
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


class Mailer:
    """Sends mail from `sender`. An empty `url` cannot send: see `can_send`."""

    def __init__(self, url: str, sender: str) -> None:
        self.can_send = bool(url)
        """Whether there is a server, or an outbox in its place. Pages that need mail ask."""
        self.outbox: deque[Mail] = deque(maxlen=max_in_outbox)
        """What would have been sent, if the URL is `memory:`; the newest is the last."""
        self._options = None if url in ("", KEPT) else options(url)
        self._sender = sender
        self._on_the_way: set[asyncio.Task[None]] = set()

    async def send(self, to: str, subject: str, text: str) -> None:
        """Send, and return when the server has accepted it. Raises MailFailed; EmailRefused and
        ValueError for what cannot be a mail.
        """
        await self._send(Mail(to, subject, text), self._message(to, subject, text))

    def send_soon(self, to: str, subject: str, text: str) -> None:
        """Send beside the request, and try again if that fails: how long an answer takes must not
        tell whether a mail was sent. It is logged if it is given up, and lost if the process is
        killed before. Raises EmailRefused and ValueError as `send` does.
        """
        mail, message = Mail(to, subject, text), self._message(to, subject, text)
        if len(self._on_the_way) >= max_waiting:
            log.error("a mail is not sent: %d wait already", max_waiting)
            return
        task = asyncio.create_task(self._try(mail, message))
        self._on_the_way.add(task)
        task.add_done_callback(self._on_the_way.discard)

    async def close(self) -> None:
        """Give mail that is on its way a few seconds; what is not accepted then is lost."""
        if self._on_the_way:
            _done, late = await asyncio.wait(self._on_the_way, timeout=closing_timeout_s)
            for task in late:
                task.cancel()
            if late:
                log.error("%d mails were not sent before the end", len(late))

    async def _try(self, mail: Mail, message: EmailMessage) -> None:
        for wait_s in wait_before_try_s:
            await asyncio.sleep(wait_s)
            try:
                await self._send(mail, message)
            except MailFailed as error:
                # Without address and text: a log is read by more people than a mail.
                log.warning("a mail was not accepted: %s", error)
                if not error.passes:
                    break
            except Exception:
                log.exception("a mail could not be sent")
                return
            else:
                return
        log.error("a mail is given up")

    async def _send(self, mail: Mail, message: EmailMessage) -> None:
        if not self.can_send:
            raise MailFailed("SMTP_URL is not set", passes=False)
        if self._options is None:
            self.outbox.append(mail)
            return
        try:
            await aiosmtplib.send(message, **self._options)
        except aiosmtplib.SMTPResponseException as error:
            # The server's own words may quote the address.
            raise MailFailed(f"the server says {error.code}", passes=error.code < 500) from error
        except aiosmtplib.SMTPRecipientsRefused as error:
            codes = [each.code for each in error.recipients]
            raise MailFailed(f"the server says {codes[0]}", passes=min(codes) < 500) from error
        except (aiosmtplib.SMTPException, OSError) as error:
            raise MailFailed(f"{type(error).__name__}: {error}", passes=True) from error

    def _message(self, to: str, subject: str, text: str) -> EmailMessage:
        # 7bit: not every server takes more. A line end in a header is a ValueError.
        message = EmailMessage(policy=SMTP.clone(cte_type="7bit"))
        message["From"] = Address(addr_spec=self._sender)
        message["To"] = Address(addr_spec=check_email(to))
        message["Subject"] = subject
        message["Date"] = localtime()
        message["Message-ID"] = make_msgid(domain=self._sender.partition("@")[2])
        message["Auto-Submitted"] = "auto-generated"  # no "out of office" comes back
        message.set_content(text)
        return message


def options(url: str) -> dict[str, Any]:
    """Return what aiosmtplib.send takes for a URL.

    `smtps://` speaks TLS from the beginning; `smtp://` asks for it with STARTTLS, and goes on without
    only where the URL says `?starttls=never`. Raises ValueError, without the URL's password.
    """
    try:
        parts, example = urlsplit(url), "write smtp://user:password@host:587 or smtps://..."
        port = parts.port
    except ValueError:
        raise ValueError(f"the app cannot use this; {example}") from None
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname or parts.path not in ("", "/"):
        raise ValueError(f"the app cannot use this; {example}")
    query = parse_qs(parts.query, keep_blank_values=True)
    if query.keys() - {"starttls"} or query.get("starttls", ["never"]) != ["never"]:
        raise ValueError("the only parameter is starttls=never; leave out the others")
    tls, plain = parts.scheme == "smtps", "starttls" in query
    if tls and plain:
        raise ValueError("smtps:// has TLS from the beginning; leave out starttls=never")
    if plain and parts.password:
        raise ValueError("the password would travel in the clear; leave out starttls=never")
    return {
        "hostname": parts.hostname,
        "port": port or (465 if tls else 25 if plain else 587),
        "username": unquote(parts.username) if parts.username else None,
        "password": unquote(parts.password) if parts.password else None,
        "use_tls": tls,
        "start_tls": not (tls or plain),
        "timeout": timeout_s,
    }
