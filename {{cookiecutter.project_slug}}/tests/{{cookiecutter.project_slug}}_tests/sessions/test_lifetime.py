"""How long a session lives: what the settings say, or what the session was given, in the store."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from {{cookiecutter.project_slug}}.sessions import Store, StoreUnavailable
from {{cookiecutter.project_slug}}.sessions.engines.memory import MemoryEngine
from {{cookiecutter.project_slug}}.sessions.record import CREATED, USED, life_s

from .conftest import ON_MEMORY, Clock, MakeBrowser, Script, run, value_of

pytestmark = pytest.mark.gen_test
DAY_S = 24 * 3600


@pytest.fixture(params=["memory", "{{cookiecutter.engine}}"])
def engine(request: pytest.FixtureRequest) -> str:
    """All of this holds on either engine."""
    return str(request.param)


async def test_20_the_cookie_of_a_session_that_expired_is_cleared(
    make_browser: MakeBrowser, store: Store
) -> None:
    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("a", 1))
    key = await _key(browser)
    snapshot = await store.sessions.load(key)
    assert snapshot is not None
    await store.sessions.write(key, dict.fromkeys(snapshot.fields), 60, create=False)
    await run(browser, lambda handler: None)
    assert browser.session_cookie is None


async def test_17_the_absolute_limit_holds_under_constant_use(
    make_browser: MakeBrowser, clock: Clock
) -> None:
    browser = make_browser(clock=clock)
    await run(browser, lambda handler: handler.session.set("a", 1))
    for _ in range(59):
        clock.advance(DAY_S / 2)
        assert await value_of(browser, "a") == 1
    clock.advance(DAY_S / 2)
    assert await value_of(browser, "a") == "absent"
    assert browser.session_cookie is None


def _remember(handler: Script) -> None:
    handler.session["a"] = 1
    handler.session.remember(days=20)


async def test_18_a_remembered_session_outlives_the_browser_but_not_the_limit(
    make_browser: MakeBrowser, clock: Clock
) -> None:
    browser = make_browser(clock=clock)
    await run(browser, _remember)
    browser.close()
    clock.advance(19 * DAY_S)
    assert await value_of(browser, "a") == 1
    renewed = browser.session_cookie
    assert renewed is not None and renewed.expires is not None
    assert renewed.expires == pytest.approx(clock() + 11 * DAY_S, abs=5)
    clock.advance(12 * DAY_S)
    assert await value_of(browser, "a") == "absent"


@pytest.mark.parametrize(
    ("early", "late_s", "renews"), [(True, 1.9, True), (True, 2.1, False), (False, 60, True)]
)
async def test_the_cookie_is_renewed_within_two_seconds_of_a_save(
    make_browser: MakeBrowser, clock: Clock, early: bool, late_s: float, renews: bool
) -> None:
    browser = make_browser(clock=clock)
    await run(browser, _remember)
    clock.advance(120)

    async def does(handler: Script) -> None:
        if early:
            await handler.session.save()
        clock.advance(late_s)

    assert bool((await run(browser, does)).set_cookies) == renews


async def test_a_slow_response_gives_the_cookie_a_life_that_was_changed(
    make_browser: MakeBrowser, clock: Clock
) -> None:
    browser = make_browser(clock=clock)
    await run(browser, _remember)

    async def does(handler: Script) -> None:
        handler.session.remember(25)
        await handler.session.save()
        clock.advance(10)

    await run(browser, does, "POST")
    cookie = browser.session_cookie
    assert cookie is not None and cookie.expires is not None
    assert cookie.expires == pytest.approx(clock() + 25 * DAY_S, abs=5)


async def test_a_session_that_is_not_remembered_ends_with_the_browser(
    make_browser: MakeBrowser,
) -> None:
    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("a", 1))
    browser.close()
    assert browser.session_cookie is None


async def _key(browser: Any) -> str:
    keys: list[str] = []
    await run(
        browser,
        lambda handler: keys.append(handler.session.store.key("session", handler.session.id)),
    )
    return keys[0]


# --- a life of its own


async def test_a_shorter_life_is_enforced_by_the_store(
    make_browser: MakeBrowser, clock: Clock, store: Store, engine: str
) -> None:
    browser = make_browser(clock=clock)

    def begin(handler: Script) -> None:
        handler.session["a"] = 1
        handler.session.expire(300)

    await run(browser, begin)
    key = await _key(browser)
    assert browser.session_cookie is not None and browser.session_cookie.expires is None
    for _ in range(3):  # sliding, on reads too
        clock.advance(280)
        assert await value_of(browser, "a") == 1
    if engine == "memory":  # a server's clock cannot be moved
        clock.advance(301)
        assert await store.sessions.load(key) is None
        assert await value_of(browser, "a") == "absent"


async def test_the_store_is_told_how_long_a_session_lives(
    make_browser: MakeBrowser, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same on a real server, whose clock cannot be moved."""
    lives: list[int] = []
    write = store.sessions.write

    async def watch(key: str, changes: Any, ttl: float, **options: Any) -> Any:
        lives.append(round(ttl))
        return await write(key, changes, ttl, **options)

    monkeypatch.setattr(store.sessions, "write", watch)
    browser = make_browser()
    for idle_s in (None, 300, 20 * DAY_S, 30 * DAY_S, 1, None):
        lives.clear()
        await run(browser, partial(_live, idle_s=idle_s))
        assert lives == [idle_s or DAY_S]
        lives.clear()
        await run(
            browser, lambda handler: handler.session.set("a", str(handler.session["a"]) + ".")
        )
        assert lives == [idle_s or DAY_S]


def _live(handler: Script, idle_s: float | None) -> None:
    handler.session["a"] = idle_s or 0
    handler.session.expire(idle_s)


@ON_MEMORY
async def test_a_session_in_use_lives_on_if_the_clock_of_its_application_is_set_back(
    make_browser: MakeBrowser, clock: Clock, store: Store
) -> None:
    assert isinstance(store.sessions, MemoryEngine)
    store.sessions.clock = servers = Clock()

    def begin(handler: Script) -> None:
        handler.session["a"] = 1
        handler.session.expire(1800)

    browser = make_browser()
    await run(browser, begin)
    clock.advance(-3600)
    for _ in range(3):
        clock.advance(1200)
        servers.advance(1200)
        assert await value_of(browser, "a") == 1


@ON_MEMORY
@pytest.mark.parametrize("unused_s", [-3600, 0, 3600, DAY_S, 2 * DAY_S])
async def test_what_is_left_of_a_life_is_at_most_the_idle_limit(
    store: Store, unused_s: float
) -> None:
    now = store.clock()
    values = {CREATED: now - 3 * DAY_S, USED: now - unused_s}
    left = {0: DAY_S, 3600: DAY_S - 3600}.get(int(unused_s), DAY_S)  # otherwise a clock was set
    assert life_s(values, store.config, now) == pytest.approx(left)


@ON_MEMORY
async def test_a_longer_life_outlives_the_idle_timeout(
    make_browser: MakeBrowser, clock: Clock
) -> None:
    browser = make_browser(clock=clock)
    await run(browser, lambda handler: _live(handler, 10 * DAY_S))
    clock.advance(9 * DAY_S)
    assert await value_of(browser, "a") == 10 * DAY_S
    clock.advance(11 * DAY_S)
    assert await value_of(browser, "a") == "absent"


@pytest.mark.parametrize(
    "idle_s", [0, -1, 0.5, 10**9, 10**400, float("nan"), float("inf"), "60", True]
)
async def test_a_life_that_cannot_be_kept_is_refused_at_once(
    make_browser: MakeBrowser, idle_s: Any
) -> None:
    def does(handler: Script) -> None:
        with pytest.raises(ValueError, match="write 1 to 2592000"):
            handler.session.expire(idle_s)

    page = await run(make_browser(), does)
    assert (page.status, page.set_cookies) == (200, [])


@pytest.mark.parametrize("persistent", [0, 1, "no", [True]], ids=str)
async def test_whether_the_cookie_stays_is_true_or_false(
    make_browser: MakeBrowser, persistent: Any
) -> None:
    def does(handler: Script) -> None:
        with pytest.raises(TypeError, match="write True, False or None"):
            handler.session.expire(persistent=persistent)

    assert (await run(make_browser(), does)).status == 200


@pytest.mark.parametrize("days", [0, -1, 10**6, 31, float("nan")])
async def test_remember_refuses_what_the_store_would_not_keep(
    make_browser: MakeBrowser, days: float
) -> None:
    def does(handler: Script) -> None:
        with pytest.raises(ValueError, match="absolute_timeout"):
            handler.session.remember(days)

    assert (await run(make_browser(), does)).status == 200


@pytest.mark.parametrize("days", ["30", b"30", [30], True], ids=repr)
async def test_remember_refuses_what_is_no_number_of_days(
    make_browser: MakeBrowser, days: Any
) -> None:
    def does(handler: Script) -> None:
        with pytest.raises(TypeError, match="write the days as a number") as caught:
            handler.session.remember(days)
        assert len(str(caught.value)) < 100

    assert (await run(make_browser(), does)).status == 200


async def test_remember_for_five_minutes_ends_cookie_and_record_together(
    make_browser: MakeBrowser, clock: Clock, store: Store, engine: str
) -> None:
    browser = make_browser(clock=clock)

    def begin(handler: Script) -> None:
        handler.session["a"] = 1
        handler.session.remember(5 / 24 / 60)

    await run(browser, begin)
    cookie = browser.session_cookie
    assert cookie is not None and cookie.expires == pytest.approx(clock() + 300, abs=3)
    key = await _key(browser)
    if engine == "memory":
        clock.advance(301)
        assert await store.sessions.load(key) is None


async def test_remember_none_takes_it_back(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    await run(browser, lambda handler: handler.session.update(a=1))
    await run(browser, lambda handler: handler.session.remember(10))
    assert browser.session_cookie is not None and browser.session_cookie.expires is not None
    await run(browser, lambda handler: handler.session.remember(None))
    assert browser.session_cookie.expires is None
    assert await value_of(browser, "a") == 1


async def test_regenerate_keeps_the_life_and_the_age(
    make_browser: MakeBrowser, clock: Clock
) -> None:
    browser = make_browser(clock=clock)

    def begin(handler: Script) -> None:
        handler.session["a"] = 1
        handler.session.expire(20 * DAY_S, persistent=True)

    moments: list[Any] = []
    await run(browser, begin)
    await run(browser, lambda handler: moments.append(handler.session.created))
    clock.advance(3600)
    await run(browser, lambda handler: handler.session.regenerate())
    await run(browser, lambda handler: moments.append(handler.session.created))
    assert moments[0] == moments[1]
    cookie = browser.session_cookie
    assert cookie is not None and cookie.expires == pytest.approx(clock() + 20 * DAY_S, abs=3)


async def test_a_life_alone_begins_no_session(make_browser: MakeBrowser) -> None:
    page = await run(make_browser(), lambda handler: handler.session.remember(5))
    assert page.set_cookies == []


# --- what can be read of it


async def test_created_last_used_and_new(make_browser: MakeBrowser, clock: Clock) -> None:
    seen: list[Any] = []

    async def look(handler: Script) -> None:
        session = handler.session
        seen.append((session.new, session.created, session.last_used))
        session["a"] = len(seen)
        await session.save()

    browser = make_browser(clock=clock)
    await run(browser, look)
    clock.advance(1000)
    await run(browser, look)
    await run(browser, look)
    assert seen[0] == (True, None, None)
    (new, created, used), (_, still, later) = seen[1:]
    assert new is False and created == still
    assert 0 <= (used - created).total_seconds() < 5
    assert 995 < (later - created).total_seconds() < 1005


async def test_a_session_that_could_not_begin_was_not_created(
    make_browser: MakeBrowser, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*args: object, **kwargs: object) -> None:
        raise StoreUnavailable("somewhere", "no answer")

    seen: list[object] = []

    async def does(handler: Script) -> None:
        session = handler.session
        session["a"] = 1
        with monkeypatch.context() as patch:
            patch.setattr(store.sessions, "write", fail)
            with pytest.raises(StoreUnavailable):
                await session.save()
        seen.extend((session.new, session.created))

    await run(make_browser(), does)
    assert seen == [True, None]


async def test_a_use_is_noted_once_a_minute_and_by_no_look(
    make_browser: MakeBrowser, clock: Clock
) -> None:
    used: list[Any] = []

    async def look(handler: Script) -> None:
        await handler.session.reload(touch=False)
        used.append(handler.session.last_used)

    browser = make_browser(clock=clock)
    await run(browser, lambda handler: handler.session.set("a", 1))
    for seconds in (0, 30, 29, 2, 1):
        clock.advance(seconds)
        await run(browser, look)
    assert used[0] == used[1] == used[2] == used[3] < used[4]


class TestPersistentBySettings:
    @pytest.fixture
    def pycket(self) -> dict[str, Any]:
        return {"cookies": {"expires_days": 10}, "idle_timeout": 10 * DAY_S}

    async def test_every_session_outlives_the_browser_and_one_may_not(
        self, make_browser: MakeBrowser, clock: Clock
    ) -> None:
        browser = make_browser(clock=clock)
        await run(browser, lambda handler: handler.session.set("a", 1))
        cookie = browser.session_cookie
        assert cookie is not None and cookie.expires == pytest.approx(clock() + 10 * DAY_S, abs=3)
        await run(browser, lambda handler: handler.session.expire(persistent=False))
        cookie = browser.session_cookie
        assert cookie is not None and cookie.expires is None
