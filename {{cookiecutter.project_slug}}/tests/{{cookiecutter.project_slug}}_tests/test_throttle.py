"""The throttle: so many failures, then a pause; whoever is right gets in."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.ioloop import IOLoop
from tornado.testing import bind_unused_port

from {{cookiecutter.project_slug}}.app import App, make_app
from {{cookiecutter.project_slug}}.proxies import make_server
from {{cookiecutter.project_slug}}.settings import Settings
from {{cookiecutter.project_slug}}.throttle import (
    Throttle,
    TooManyFailures,
    account_limit,
    address_limit,
)

from .browser import Browser
from .conftest import MakeBrowser


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(app: App) -> Clock:
    clock = Clock()
    app.store.clock = clock
    return clock


async def fail(throttle: Throttle, address: str, username: str) -> bool:
    """One failed attempt; False where it is refused."""
    try:
        await throttle.attempt(address, username)
    except TooManyFailures:
        return False
    return True


@pytest.mark.gen_test
async def test_32_the_sixth_failure_for_one_account_is_refused_in_words(browser: Browser) -> None:
    await browser.register()
    await browser.post("/logout")
    for _ in range(account_limit.failures):
        assert (await browser.login(password="wrong one")).status == 403
    page = await browser.login(password="correct horse")
    assert page.status == 429
    assert 1 <= int(page.headers["Retry-After"]) <= account_limit.window_s
    assert "Wait 5 minutes" in page.plain


@pytest.mark.gen_test
async def test_another_account_can_still_log_in(make_browser: MakeBrowser) -> None:
    await make_browser().register("ada")
    await make_browser().register("grace")
    for _ in range(6):
        await make_browser().login("ada", "wrong one")
    assert (await make_browser().login("grace")).status == 200


@pytest.mark.gen_test
async def test_32_the_eleventh_failure_from_one_address_is_refused(app: App) -> None:
    for n in range(address_limit.failures):
        assert await fail(app.throttle, "192.0.2.1", f"user {n}")
    assert not await fail(app.throttle, "192.0.2.1", "somebody else")
    assert await fail(app.throttle, "192.0.2.2", "somebody else")


@pytest.mark.gen_test
async def test_the_pause_ends_by_itself(app: App, clock: Clock) -> None:
    for _ in range(account_limit.failures):
        assert await fail(app.throttle, "192.0.2.1", "ada")
        clock.now += 10
    with pytest.raises(TooManyFailures) as refused:
        await app.throttle.attempt("192.0.2.1", "ada")
    # The first failure leaves the window after 300 s, 50 of which have passed.
    assert refused.value.retry_after_s == 250
    clock.now += 249
    assert not await fail(app.throttle, "192.0.2.1", "ada")
    clock.now += 2
    assert await fail(app.throttle, "192.0.2.1", "ada")


@pytest.mark.gen_test
async def test_a_refused_attempt_does_not_prolong_the_pause(app: App, clock: Clock) -> None:
    for _ in range(account_limit.failures):
        await fail(app.throttle, "192.0.2.1", "ada")
    for _ in range(30):
        clock.now += 9
        assert not await fail(app.throttle, "192.0.2.1", "ada")
    clock.now += 31
    assert await fail(app.throttle, "192.0.2.1", "ada")


@pytest.mark.gen_test
async def test_32_a_right_password_does_not_forgive_the_failures_of_others(
    make_browser: MakeBrowser,
) -> None:
    await make_browser().register("ada")
    await make_browser().register("mallory")
    guesser = make_browser()
    for n in range(address_limit.failures):
        if n % 3 == 0:  # an own account in between does not start the count again
            assert (await guesser.login("mallory")).status == 200
            await guesser.post("/logout")
        assert (await guesser.login(f"victim {n}", "a guess")).status == 403
    assert (await guesser.login("victim", "a guess")).status == 429
    assert (await guesser.login("mallory")).status == 429


@pytest.mark.gen_test
async def test_logins_that_succeed_do_not_count(make_browser: MakeBrowser) -> None:
    await make_browser().register()
    for _ in range(account_limit.failures + address_limit.failures):
        assert (await make_browser().login()).status == 200


@pytest.mark.gen_test
async def test_guesses_made_all_at_once_are_not_let_through(app: App) -> None:
    let_through = await asyncio.gather(*(fail(app.throttle, "192.0.2.1", "ada") for _ in range(40)))
    assert sum(let_through) <= account_limit.failures


@pytest.mark.gen_test
async def test_32_all_processes_count_together(
    app: App, settings: Settings, request: pytest.FixtureRequest
) -> None:
    if settings.session_engine == "memory":
        pytest.skip("the memory engine is for one process")
    second = make_app(settings)  # as in another process: engines of its own on the same store
    for n in range(account_limit.failures):
        assert await fail((app, second)[n % 2].throttle, "192.0.2.1", "ada")
    assert not await fail(app.throttle, "192.0.2.1", "ada")
    assert not await fail(second.throttle, "192.0.2.1", "ada")
    await second.close()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
    ],
)
@pytest.mark.gen_test
async def test_an_address_is_what_one_customer_has(
    app: App, one: str, other: str, same: bool
) -> None:
    for n in range(address_limit.failures):
        await fail(app.throttle, one, f"user {n}")
    assert await fail(app.throttle, other, "ada") is not same


@pytest.mark.gen_test
async def test_the_spelling_of_a_name_makes_no_difference(make_browser: MakeBrowser) -> None:
    names = ["ada", "ADA", " ada", "\uff41da", "Ada"]
    for name in names:
        assert (await make_browser().login(name, "wrong one")).status == 403
    assert (await make_browser().login("aDa", "wrong one")).status == 429


@pytest.mark.gen_test
async def test_the_memory_it_takes_is_bounded(app: App, clock: Clock) -> None:
    for _ in range(200):
        await fail(app.throttle, "192.0.2.1", "ada")
        clock.now += 20
    keys = [mark_key(app, "address", "192.0.2.1"), mark_key(app, "account", "ada")]
    for record in await asyncio.gather(*(app.store.sessions.load(key) for key in keys)):
        assert record is not None
        assert len(record.fields) <= 2 * address_limit.failures


def mark_key(app: App, kind: str, name: str) -> str:
    return app.store.key("throttle", f"{kind}:{hashlib.sha256(name.encode()).hexdigest()}")


# --- behind a proxy


@pytest.fixture
def serve(app: App, io_loop: IOLoop, http_client: AsyncHTTPClient) -> Iterator[Any]:
    """Serve the app as `python -m` does, with these trusted proxies; returns a browser for it."""
    servers = []

    def serve(*trusted: str) -> Browser:
        sock, port = bind_unused_port()
        server = make_server(app, trusted)
        server.add_socket(sock)
        servers.append(server)
        return Browser(http_client, f"http://localhost:{port}")

    yield serve
    for server in servers:
        server.stop()
        io_loop.run_sync(server.close_all_connections)


async def address_seen(app: App, browser: Browser, headers: dict[str, str]) -> str:
    """The address that the app believes the browser to have."""
    seen: list[str] = []
    attempt = app.throttle.attempt

    async def watch(address: str, username: str) -> Any:
        seen.append(address)
        return await attempt(address, username)

    app.throttle.attempt = watch  # type: ignore[method-assign, assignment]
    await browser.post("/login", headers=headers, username="nobody", password="nothing")
    return seen[0]


@pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Real-Ip"])
@pytest.mark.gen_test
async def test_forged_headers_are_ignored_without_trusted_proxies(
    app: App, serve: Any, header: str
) -> None:
    assert await address_seen(app, serve(), {header: "203.0.113.7"}) == "127.0.0.1"


@pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Real-Ip"])
@pytest.mark.gen_test
async def test_forged_headers_of_one_who_is_no_proxy_are_ignored(
    app: App, serve: Any, header: str
) -> None:
    assert await address_seen(app, serve("192.0.2.200"), {header: "203.0.113.7"}) == "127.0.0.1"


@pytest.mark.gen_test
async def test_behind_a_trusted_proxy_the_visitors_address_counts(app: App, serve: Any) -> None:
    # The visitor wrote the first address; the proxy appended where it really came from.
    headers = {"X-Forwarded-For": "198.51.100.9, 203.0.113.7", "X-Real-Ip": "198.51.100.9"}
    assert await address_seen(app, serve("127.0.0.1"), headers) == "203.0.113.7"
