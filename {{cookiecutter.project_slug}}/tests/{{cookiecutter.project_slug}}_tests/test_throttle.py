"""The throttle: so many failures, then a pause; whoever is right gets in."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.ioloop import IOLoop
from tornado.testing import bind_unused_port

from {{cookiecutter.project_slug}}.app import App, make_app
from {{cookiecutter.project_slug}}.database import DatabaseUnavailable
from {{cookiecutter.project_slug}}.proxies import make_server
from {{cookiecutter.project_slug}}.sessions import StoreUnavailable
from {{cookiecutter.project_slug}}.settings import Settings
from {{cookiecutter.project_slug}}.throttle import (
    Limit,
    Throttle,
    TooManyFailures,
    account_limit,
    address_limit,
    checking_s,
    form_limit,
    network,
    registration_limit,
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
    app.services.store.clock = clock
    return clock


async def fail(throttle: Throttle, address: str, username: str) -> bool:
    """One failed attempt; False where it is refused."""
    try:
        async with throttle.attempt(login(address, username)) as attempt:
            attempt.count()
    except TooManyFailures:
        return False
    return True


def login(address: str, username: str) -> dict[Limit, str]:
    return {address_limit: network(address), account_limit: username}


@pytest.mark.gen_test
async def test_32_the_sixth_failure_for_one_account_is_refused_in_words(browser: Browser) -> None:
    await browser.register()
    await browser.post("/logout")
    for _ in range(account_limit.times):
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
    for n in range(address_limit.times):
        assert await fail(app.services.throttle, "192.0.2.1", f"user {n}")
    assert not await fail(app.services.throttle, "192.0.2.1", "somebody else")
    assert await fail(app.services.throttle, "192.0.2.2", "somebody else")


@pytest.mark.gen_test
async def test_the_pause_ends_by_itself(app: App, clock: Clock) -> None:
    for _ in range(account_limit.times):
        assert await fail(app.services.throttle, "192.0.2.1", "ada")
        clock.now += 10
    with pytest.raises(TooManyFailures) as refused:
        async with app.services.throttle.attempt(login("192.0.2.1", "ada")):
            pass
    # The first failure leaves the window after 300 s, 50 of which have passed.
    assert refused.value.retry_after_s == 250
    clock.now += 249
    assert not await fail(app.services.throttle, "192.0.2.1", "ada")
    clock.now += 2
    assert await fail(app.services.throttle, "192.0.2.1", "ada")


@pytest.mark.gen_test
async def test_no_pause_is_longer_than_the_window_although_the_clock_is_set_back(
    app: App, clock: Clock
) -> None:
    for _ in range(account_limit.times):
        assert await fail(app.services.throttle, "192.0.2.1", "ada")
    clock.now -= 3600
    with pytest.raises(TooManyFailures) as refused:
        async with app.services.throttle.attempt(login("192.0.2.1", "ada")):
            pass
    assert refused.value.retry_after_s == account_limit.window_s


@pytest.mark.gen_test
async def test_a_refused_attempt_does_not_prolong_the_pause(app: App, clock: Clock) -> None:
    for _ in range(account_limit.times):
        await fail(app.services.throttle, "192.0.2.1", "ada")
    for _ in range(30):
        clock.now += 9
        assert not await fail(app.services.throttle, "192.0.2.1", "ada")
    clock.now += 31
    assert await fail(app.services.throttle, "192.0.2.1", "ada")


@pytest.mark.gen_test
async def test_32_a_right_password_does_not_forgive_the_failures_of_others(
    make_browser: MakeBrowser,
) -> None:
    await make_browser().register("ada")
    await make_browser().register("mallory")
    guesser = make_browser()
    for n in range(address_limit.times):
        if n % 3 == 0:  # an own account in between does not start the count again
            assert (await guesser.login("mallory")).status == 200
            await guesser.post("/logout")
        assert (await guesser.login(f"victim {n}", "a guess")).status == 403
    assert (await guesser.login("victim", "a guess")).status == 429
    assert (await guesser.login("mallory")).status == 429


@pytest.mark.gen_test
async def test_logins_that_succeed_do_not_count(make_browser: MakeBrowser) -> None:
    await make_browser().register()
    for _ in range(account_limit.times + address_limit.times):
        assert (await make_browser().login()).status == 200


class Crowd:
    """People who try at the same moment; each holds on in the middle until `go_on`."""

    def __init__(self, throttle: Throttle, *, wrong: bool) -> None:
        self.throttle = throttle
        self.wrong = wrong
        self.inside = self.most_inside = 0
        self.go_on = asyncio.Event()

    async def attempt(self, names: dict[Limit, str]) -> bool:
        try:
            async with self.throttle.attempt(names) as attempt:
                self.inside += 1
                self.most_inside = max(self.most_inside, self.inside)
                await self.go_on.wait()
                self.inside -= 1
                if self.wrong:
                    attempt.count()
        except TooManyFailures:
            return False
        return True

    async def wait_until(self, inside: int) -> None:
        while self.inside < inside:
            await asyncio.sleep(0.01)


@pytest.mark.gen_test
async def test_42_eleven_people_who_log_in_at_once_from_one_address_all_get_in(app: App) -> None:
    crowd = Crowd(app.services.throttle, wrong=False)
    people = asyncio.gather(
        *(crowd.attempt(login("192.0.2.1", f"user {n}")) for n in range(address_limit.times + 1))
    )
    await crowd.wait_until(inside=address_limit.times)
    crowd.go_on.set()
    assert all(await people)
    assert crowd.most_inside == address_limit.times


@pytest.mark.gen_test
async def test_42_of_many_guesses_at_once_only_so_many_are_checked(app: App) -> None:
    crowd = Crowd(app.services.throttle, wrong=True)
    guesses = asyncio.gather(*(crowd.attempt(login("192.0.2.1", "ada")) for _ in range(40)))
    await crowd.wait_until(inside=account_limit.times)
    crowd.go_on.set()
    assert sum(await guesses) == account_limit.times
    assert crowd.most_inside == account_limit.times


@pytest.mark.gen_test
async def test_42_many_logins_at_once_all_get_in(make_browser: MakeBrowser) -> None:
    await make_browser().register()
    pages = await asyncio.gather(*(make_browser().login() for _ in range(3 * address_limit.times)))
    assert {page.status for page in pages} == {200}


@pytest.mark.gen_test
async def test_42_a_database_that_was_away_locks_nobody_out(
    app: App, make_browser: MakeBrowser
) -> None:
    await make_browser().register()
    database = app.services.accounts._database
    session = database.session

    def away() -> Any:
        raise DatabaseUnavailable("nowhere", "it is away")

    database.session = away  # type: ignore[method-assign]
    for _ in range(account_limit.times + address_limit.times):
        assert (await make_browser().login()).status == 503
    database.session = session  # type: ignore[method-assign]
    assert (await make_browser().login()).status == 200


@pytest.mark.gen_test
async def test_42_a_store_that_was_away_locks_nobody_out(app: App) -> None:
    class Deaf:
        """The store does what it is asked, but its answers do not arrive."""

        def __init__(self) -> None:
            self.engine = app.services.store.sessions
            self.away = True

        async def load(self, key: str) -> Any:
            return await self.engine.load(key)

        async def write(self, *args: Any, **options: Any) -> Any:
            written = await self.engine.write(*args, **options)
            if self.away:
                raise StoreUnavailable("nowhere", "it is away")
            return written

        async def close(self) -> None:
            await self.engine.close()

    app.services.store.sessions = deaf = Deaf()  # type: ignore[assignment]
    throttle = app.services.throttle
    for _ in range(account_limit.times):
        with pytest.raises(StoreUnavailable):
            async with throttle.attempt({account_limit: "ada"}):
                pass
    deaf.away = False
    assert await fail(throttle, "192.0.2.1", "ada")  # as soon as it has said that it let go


@pytest.mark.gen_test
async def test_42_a_process_that_was_killed_in_a_check_locks_nobody_out_for_long(
    app: App, clock: Clock
) -> None:
    async with contextlib.AsyncExitStack() as never_left:
        for _ in range(account_limit.times):
            await never_left.enter_async_context(
                app.services.throttle.attempt({account_limit: "ada"})
            )
        clock.now += checking_s + 1
        assert await fail(app.services.throttle, "192.0.2.1", "ada")


@pytest.mark.gen_test
async def test_42_guesses_of_others_do_not_keep_an_owner_from_the_password_form(
    make_browser: MakeBrowser,
) -> None:
    owner = make_browser()
    await owner.register()
    for n in range(address_limit.times):
        await make_browser().login("ada" if n < account_limit.times else f"user {n}", "a guess")
    assert (await make_browser().login()).status == 429
    page = await owner.post("/account", password="correct horse", new_password="another horse")
    assert page.flashes == [("success", "Your password is changed.")]


@pytest.mark.gen_test
async def test_guesses_in_a_stolen_session_are_counted_for_that_session(
    make_browser: MakeBrowser,
) -> None:
    thief, owner = make_browser(), make_browser()
    await thief.register()
    await owner.login()
    statuses = [
        (await thief.post("/account/delete", password=f"guess {n}")).status
        for n in range(form_limit.times + 1)
    ]
    assert statuses == [403] * form_limit.times + [429]
    page = await owner.post("/account", password="correct horse", new_password="another horse")
    assert page.status == 200


@pytest.mark.gen_test
async def test_43_a_flood_of_registrations_from_one_address_ends(
    app: App, make_browser: MakeBrowser
) -> None:
    for n in range(registration_limit.times):
        assert (await make_browser().register(f"user {n}")).status == 200
    page = await make_browser().register("one more")
    assert page.status == 429
    assert int(page.headers["Retry-After"]) <= registration_limit.window_s
    assert await app.services.accounts.authenticate("one more", "correct horse") is None


@pytest.mark.gen_test
async def test_a_registration_that_was_refused_does_not_count(make_browser: MakeBrowser) -> None:
    for _ in range(registration_limit.times + 1):
        assert (await make_browser().register("ada", "short")).status == 422
    assert (await make_browser().register()).status == 200


@pytest.mark.gen_test
async def test_32_all_processes_count_together(
    app: App, settings: Settings, request: pytest.FixtureRequest
) -> None:
    second = make_app(settings)  # as in another process: engines of its own on the same store
    for n in range(account_limit.times):
        assert await fail((app, second)[n % 2].services.throttle, "192.0.2.1", "ada")
    assert not await fail(app.services.throttle, "192.0.2.1", "ada")
    assert not await fail(second.services.throttle, "192.0.2.1", "ada")
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
    for n in range(address_limit.times):
        await fail(app.services.throttle, one, f"user {n}")
    assert await fail(app.services.throttle, other, "ada") is not same


@pytest.mark.gen_test
async def test_the_spelling_of_a_name_makes_no_difference(make_browser: MakeBrowser) -> None:
    names = ["ada", "ADA", " ada", "\uff41da", "Ada"]
    for name in names:
        assert (await make_browser().login(name, "wrong one")).status == 403
    assert (await make_browser().login("aDa", "wrong one")).status == 429


@pytest.mark.gen_test
async def test_the_memory_it_takes_is_bounded(app: App, clock: Clock) -> None:
    for _ in range(200):
        await fail(app.services.throttle, "192.0.2.1", "ada")
        clock.now += 20
    keys = [mark_key(app, "address", "192.0.2.1"), mark_key(app, "account", "ada")]
    for record in await asyncio.gather(*(app.services.store.sessions.load(key) for key in keys)):
        assert record is not None
        assert len(record.fields) <= address_limit.times


def mark_key(app: App, kind: str, name: str) -> str:
    return app.services.store.key("throttle", f"{kind}:{hashlib.sha256(name.encode()).hexdigest()}")


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
    attempt = app.services.throttle.attempt

    def watch(names: dict[Limit, str]) -> Any:
        seen.append(names[address_limit])
        return attempt(names)

    app.services.throttle.attempt = watch  # type: ignore[method-assign, assignment]
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


@pytest.mark.parametrize("trusted", ["127.0.0.1", "127.0.0.0/8"])
@pytest.mark.gen_test
async def test_behind_a_trusted_proxy_the_visitors_address_counts(
    app: App, serve: Any, trusted: str
) -> None:
    # The visitor wrote the first address; the proxy appended where it really came from.
    headers = {"X-Forwarded-For": "198.51.100.9, 203.0.113.7", "X-Real-Ip": "198.51.100.9"}
    assert await address_seen(app, serve(trusted), headers) == "203.0.113.7"


@pytest.mark.gen_test
async def test_proxies_of_a_trusted_network_are_not_taken_for_the_visitor(
    app: App, serve: Any
) -> None:
    # Two of our own proxies in a row; what the visitor wrote is no address.
    headers = {"X-Forwarded-For": "unknown, 203.0.113.7, 10.1.2.3"}
    browser = serve("127.0.0.1", "10.0.0.0/8")
    assert await address_seen(app, browser, headers) == "203.0.113.7"
