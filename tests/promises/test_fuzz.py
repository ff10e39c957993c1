"""100,000 mutated cookies and form bodies: no 5xx, and no trip for a cookie that does not verify."""

from __future__ import annotations

import random
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import argon2
import pytest
from promised import app as generated_app
from promised.settings import Settings
from tornado.web import create_signed_value

from .application import PAGES
from .generated import COOKIE_SECRET
from .in_process import Connection, send
from .watched import Watched, watch

COOKIES = 85_000
BODIES = 15_000

CHEAP = argon2.Parameters(argon2.Type.ID, 19, 16, 32, time_cost=1, memory_cost=8, parallelism=1)

pytestmark = pytest.mark.plain_loop


class App:
    """The generated app without a server, and the engines behind it."""

    def __init__(self, app: generated_app.App) -> None:
        self.app = app
        self.engines: tuple[Watched, Watched] = watch(app.services.store)

    @property
    def trips(self) -> int:
        return sum(len(engine.calls) for engine in self.engines)

    async def send(
        self, method: str, path: str, headers: dict[str, str], body: bytes = b""
    ) -> Connection:
        """Return the connection with the answer."""
        return await send(self.app, method, path, headers, body)


@asynccontextmanager
async def app(directory: Path) -> AsyncIterator[App]:
    application = generated_app.make_app(
        Settings(
            session_engine="memory",
            cookie_secret=COOKIE_SECRET,
            database_url=f"sqlite+aiosqlite:///{directory / 'app.db'}",
            password_cost=CHEAP,
        )
    )
    application.add_handlers(".*", PAGES)
    await application.services.database.migrate()
    await application.start()
    try:
        yield App(application)
    finally:
        await application.close()


async def test_a_mutated_cookie_costs_no_trip_and_no_5xx(tmp_path: Path) -> None:
    rng = random.Random(1)
    async with app(tmp_path) as running:
        first = await running.send("POST", "/keep", FORM, b"name=ada")
        good = first.headers["Set-Cookie"].partition(";")[0].partition("=")[2].strip('"')
        page = await running.send("GET", "/keep", {"Cookie": f"__Host-sid={good}"})
        assert running.trips > 0, "the test is blunt: the cookie does not verify as it is"
        seeds = [good, *_forged(rng)]
        for engine in running.engines:
            engine.calls.clear()
        statuses: Counter[int] = Counter()
        for number in range(COOKIES):
            cookie = seeds[number] if 0 < number < len(seeds) else _mutate(rng, rng.choice(seeds))
            if cookie.partition(";")[0].strip(' \t"') == good:  # nothing that matters
                continue
            page = await running.send("GET", "/keep", {"Cookie": f"__Host-sid={cookie}"})
            statuses[await page.answered] += 1
            assert running.trips == 0, cookie
        assert set(statuses) <= {200, 400}
        assert statuses[200] > COOKIES * 0.9


async def test_a_mutated_form_is_never_a_5xx(tmp_path: Path) -> None:
    rng = random.Random(2)
    async with app(tmp_path) as running:
        statuses: Counter[int] = Counter()
        for number in range(BODIES):
            # Login and registration ask the database; a few of them are enough.
            path = rng.choice(("/login", "/register")) if number % 20 == 0 else rng.choice(PATHS)
            kind, body = _form(rng)
            headers = {"Content-Type": kind}
            page = await running.send("POST", path, headers, body)
            status = await page.answered
            assert status < 500, (path, kind, body)
            statuses[status] += 1
        assert {303, 400, 422} <= set(statuses)


FORM = {"Content-Type": "application/x-www-form-urlencoded"}
PATHS = ("/", "/first", "/drop", "/append", "/notice", "/named", "/logout", "/account")
NAMES = (b"text", b"username", b"password", b"new_password", b"next", b"name", b"item", b"handle")
ODD = (
    b"", b"%", b"%zz", b"%00", b"%ff%fe", b"%ED%A0%80", b"\x00", b"\xff\xfe", b"+", b"&", b"=", b";",
    b"\r\n", b"a" * 5000, b"%F0%9F%92%A9", b"<script>", b"{{ 1 }}", b"{% raw %}", b":created", b"../..",
    b"//evil.example", b"1e999", b"-1", b"None", b"' OR 1=1 --",
)  # fmt: skip


def _forged(rng: random.Random) -> list[str]:
    """Cookies that are signed, but not for this or not by us."""
    token = secrets.token_urlsafe(32)
    name = "__Host-sid"
    forged = [
        create_signed_value("another secret", name, token),
        create_signed_value(COOKIE_SECRET, "another_name", token),
        create_signed_value(COOKIE_SECRET, name, token, version=1),
        create_signed_value(COOKIE_SECRET, name, token, clock=lambda: 1.0),
        create_signed_value(COOKIE_SECRET, name, token, clock=lambda: 9e9),
        create_signed_value(COOKIE_SECRET, name, b""),
        create_signed_value(COOKIE_SECRET, name, b"short"),
        create_signed_value(COOKIE_SECRET, name, token + "x"),
        create_signed_value(COOKIE_SECRET, name, b"\xff" * 43),
        create_signed_value(COOKIE_SECRET, name, token + ".-5"),
        create_signed_value(COOKIE_SECRET, name, token + "." + "9" * 40),
        create_signed_value(COOKIE_SECRET, name, b"x" * 3000),
    ]
    return [value.decode() for value in forged if b"9000000000" not in value]


def _mutate(rng: random.Random, text: str) -> str:
    """`text` with one to three faults that may stand in a header."""
    for _ in range(rng.randint(1, 3)):
        at, to = sorted((rng.randrange(len(text) + 1), rng.randrange(len(text) + 1)))
        match rng.randrange(8):
            case 0:
                text = text[:at] + _character(rng) + text[at + 1 :]
            case 1:
                text = text[:at] + _character(rng) * rng.choice((1, 2, 50)) + text[at:]
            case 2:
                text = text[:at] + text[to:]
            case 3:
                text = text[:at]
            case 4:
                text = text[:to] + text[at:]
            case 5:
                text = text[:at] + text[at:to].swapcase() + text[to:]
            case 6:
                text = text[:at] + str(rng.choice((0, -1, 10**9, 10**30, 1e308))) + text[at:]
            case 7:
                text = rng.choice(
                    ('"{}"', "{};{}", "{} ", "={}", "{}=", "%{}", "{}|{}", "")
                ).format(text, text)
    return text


def _character(rng: random.Random) -> str:
    return rng.choice(
        ("|", ":", "=", ".", "0", "9", "A", "z", "-", "_", '"', "\\", "\t", "é", "ÿ", " ")
    )


def _form(rng: random.Random) -> tuple[str, bytes]:
    """A form's content type and body, one of them or both with faults."""
    fields = [
        (rng.choice(NAMES), rng.choice((*ODD, b"hello", b"ada", b"correct horse")))
        for _ in range(rng.randint(0, 4))
    ]
    kind, body = "application/x-www-form-urlencoded", b"&".join(b"=".join(pair) for pair in fields)
    if rng.random() < 0.3:
        kind = rng.choice(
            (
                "multipart/form-data; boundary=b",
                "multipart/form-data",
                'multipart/form-data; boundary="',
            )
        )
        body = b"".join(
            b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % pair
            for pair in fields
        )
        body += b"--b--\r\n"
    elif rng.random() < 0.1:
        kind = rng.choice(
            ("", "text/plain", "application/json", "application/x-www-form-urlencoded; x")
        )
    for _ in range(rng.randint(0, 3)):
        at, to = sorted((rng.randrange(len(body) + 1), rng.randrange(len(body) + 1)))
        odd = rng.choice(ODD)
        body = rng.choice((body[:at] + odd + body[at:], body[:at] + odd + body[to:], body[:at]))
    return kind, body
