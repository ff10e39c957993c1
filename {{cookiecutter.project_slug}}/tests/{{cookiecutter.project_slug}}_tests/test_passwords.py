"""Passwords: which are taken, and hashing that is bounded."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import argon2
import pytest
from tornado.iostream import IOStream
from tornado.tcpclient import TCPClient

from {{cookiecutter.project_slug}} import passwords
from {{cookiecutter.project_slug}}.app import App
from {{cookiecutter.project_slug}}.passwords import (
    PASSWORD_COST,
    PasswordRefused,
    check_password,
    max_waiting,
)
from {{cookiecutter.project_slug}}.settings import Settings
from {{cookiecutter.project_slug}}.throttle import Throttle

from .browser import Browser
from .conftest import MakeBrowser


@pytest.mark.parametrize(
    "password", ["12345678", "x" * 7, "x" * 1025, "\u00e9" * 513, "Ada Lovelace"]
)
def test_31_a_weak_password_is_refused(password: str) -> None:
    with pytest.raises(PasswordRefused):
        check_password(password, "ada lovelace")


@pytest.mark.parametrize("password", ["correct horse", "x" * 1024, "\u00e9" * 512, " " * 8 + "a"])
def test_31_a_long_password_is_accepted(password: str) -> None:
    check_password(password, "ada")


def test_the_common_passwords_are_long_enough_to_matter() -> None:
    for password in passwords._common_passwords():
        assert len(password) >= passwords.min_password_characters
        assert password == passwords._folded(password)
    assert len(passwords._common_passwords()) > 200


def test_hashes_cost_what_owasp_recommends() -> None:
    assert PASSWORD_COST.type is argon2.Type.ID
    assert PASSWORD_COST.memory_cost >= 19 * 1024
    assert PASSWORD_COST.time_cost >= 2


class SlowHasher:
    """Verifies nothing before `go_on` is set, and counts."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.begun = 0

    def verify(self, *_: str) -> bool:
        self.begun += 1
        return self.go_on.wait(timeout=10)

    def hash(self, _: str) -> str:
        return "a hash"

    def check_needs_rehash(self, _: str) -> bool:
        return False

    async def wait_until(self, begun: int) -> None:
        while self.begun < begun:
            await asyncio.sleep(0.01)


@pytest.fixture
def slow(app: App) -> Iterator[SlowHasher]:
    slow = SlowHasher()
    app.services.accounts._hasher._argon2 = slow  # type: ignore[assignment]
    yield slow
    slow.go_on.set()


@pytest.fixture
def without_throttle(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if each request came from another address, for another account."""
    attempt, numbers = Throttle.attempt, iter(range(10_000))

    def anybody(self: Throttle, names: dict[Any, str]) -> Any:
        return attempt(self, {limit: f"{name} {next(numbers)}" for limit, name in names.items()})

    monkeypatch.setattr(Throttle, "attempt", anybody)


@pytest.mark.gen_test
async def test_hashing_does_not_hold_up_the_event_loop(
    slow: SlowHasher, browser: Browser, make_browser: MakeBrowser
) -> None:
    login = asyncio.create_task(browser.login())
    await slow.wait_until(begun=1)
    assert (await make_browser().get("/")).status == 200
    slow.go_on.set()
    await login


@pytest.mark.usefixtures("without_throttle")
@pytest.mark.gen_test
async def test_a_password_that_would_have_to_wait_for_long_is_refused(
    app: App, slow: SlowHasher, browser: Browser
) -> None:
    logins = [
        asyncio.create_task(app.services.accounts.authenticate("nobody", "correct horse"))
        for _ in range(Settings.hashing_threads + max_waiting)
    ]
    while len(app.services.accounts._hasher._waiting) < max_waiting:
        await asyncio.sleep(0.01)
    page = await browser.login()
    assert page.status == 503
    assert page.headers["Retry-After"] == "2"
    slow.go_on.set()
    assert await asyncio.gather(*logins) == [None] * len(logins)
    assert (await browser.login()).status == 403


async def send_login(base_url: str) -> IOStream:
    host, port = base_url.removeprefix("http://").split(":")
    stream = await TCPClient().connect(host, int(port))
    body = urlencode({"username": "nobody", "password": "correct horse"})
    head = (
        f"POST /login HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {len(body)}\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\n\r\n"
    )
    await stream.write((head + body).encode())
    return stream


@pytest.mark.usefixtures("without_throttle")
@pytest.mark.gen_test
async def test_44_what_clients_wait_for_that_have_gone_is_not_done(
    app: App, slow: SlowHasher, base_url: str, make_browser: MakeBrowser
) -> None:
    busy = [asyncio.create_task(make_browser().login()) for _ in range(Settings.hashing_threads)]
    await slow.wait_until(begun=Settings.hashing_threads)
    clients = [await send_login(base_url) for _ in range(max_waiting)]
    waiting = app.services.accounts._hasher._waiting
    while len(waiting) < max_waiting:
        await asyncio.sleep(0.01)
    for client in clients:
        client.close()
    while not all(each.gone for each in waiting):
        await asyncio.sleep(0.01)
    # Nor do they keep others from waiting.
    late = asyncio.create_task(make_browser().login())
    while len(waiting) == max_waiting:
        await asyncio.sleep(0.01)
    slow.go_on.set()
    pages = await asyncio.gather(*busy, late)
    assert [page.status for page in pages] == [403] * len(pages)
    assert slow.begun == Settings.hashing_threads + 1
