"""Whose address counts, behind a proxy and without one."""

from __future__ import annotations

import re

import pytest

from ..promises.servers import Server
from .process import App, Start, Visitor

SPOOFED = "203.0.113.7"
ONE_ENGINE = pytest.mark.parametrize("project", ["redis"], indirect=True)  # it plays no part here


def address_of(app: App, **headers: str) -> str:
    """The address that the app believes a visitor to have, by its account page and its log."""
    visitor = Visitor(app)
    fields = {"username": "ada", "password": "correct horse"}
    visitor.post("/register", headers, **fields)
    shown = re.search(r'<p class="hint">\s*([0-9a-f.:]+) &middot;', visitor.get("/account").text)
    assert shown
    Visitor(app).post("/login", headers, username="ada", password="a wrong guess")
    logged = re.findall(r"login failed request=\S+ address=(\S+)", app.log)
    assert logged == [shown[1]]
    return shown[1]


@ONE_ENGINE
@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": SPOOFED},
        {"X-Real-Ip": SPOOFED},
        {"Forwarded": f"for={SPOOFED}"},
        {"X-Forwarded-For": SPOOFED, "X-Real-Ip": SPOOFED, "X-Forwarded-Proto": "https"},
    ],
    ids=", ".join,
)
def test_spoofed_addresses_are_ignored_without_trusted_proxies(
    start: Start, headers: dict[str, str]
) -> None:
    assert address_of(start(), **headers) == "127.0.0.1"


@ONE_ENGINE
def test_spoofed_addresses_of_one_who_is_no_trusted_proxy_are_ignored(start: Start) -> None:
    app = start("--trusted-proxies=192.0.2.200")
    assert address_of(app, **{"X-Forwarded-For": SPOOFED, "X-Real-Ip": SPOOFED}) == "127.0.0.1"


@ONE_ENGINE
def test_behind_a_trusted_proxy_the_visitors_address_counts(start: Start) -> None:
    app = start("--trusted-proxies=127.0.0.1")
    # The visitor has sent the first and the last; the proxy has appended where it came from.
    headers = {"X-Forwarded-For": f"198.51.100.9, {SPOOFED}", "X-Real-Ip": "198.51.100.9"}
    assert address_of(app, **headers) == SPOOFED


@ONE_ENGINE
def test_a_throttled_guesser_cannot_escape_by_changing_headers(start: Start) -> None:
    app = start()
    statuses = [
        Visitor(app)
        .post(
            "/login",
            {"X-Forwarded-For": f"203.0.113.{n}", "X-Real-Ip": f"203.0.113.{n}"},
            username=f"user {n}",
            password="a wrong guess",
        )
        .status
        for n in range(12)
    ]
    assert statuses == [403] * 10 + [429] * 2


def test_32_the_throttle_counts_across_real_processes(start: Start, store: Server) -> None:
    app = start("--processes=2", **store.environment)
    statuses = [Visitor(app).login("ada", f"guess {n}").status for n in range(9)]
    assert statuses == [403] * 5 + [429] * 4
