"""What the README's table of security promises, as far as no other module has it.

A test whose name begins with a number proves that line of the table: `pytest -k test_15` runs all
of one line. Most stand with what they are about, as in test_login.py; here is the rest.
"""

from __future__ import annotations

import ast
import asyncio
import base64
import logging
import pickle
import re
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest

from {{cookiecutter.project_slug}}.app import App
from {{cookiecutter.project_slug}}.handlers.base import BaseHandler
from {{cookiecutter.project_slug}}.sessions import (
    ConfigurationError,
    SessionConfig,
)
from {{cookiecutter.project_slug}}.sessions.cookie import (
    CookieSigner,
    id_of,
    new_token,
)
from {{cookiecutter.project_slug}}.sessions.engines.memory import MemoryEngine
from {{cookiecutter.project_slug}}.settings import Settings

from .browser import Browser, Cookie
from .conftest import COOKIE_SECRET, MakeBrowser

DAY_S = 24 * 3600
COOKIE = Settings().cookie_name
ON_BOTH_ENGINES = pytest.mark.parametrize("engine", ["memory", "{{cookiecutter.engine}}"])


@pytest.fixture
def engine() -> str:
    """Most of this has nothing to do with the store: once is enough."""
    return "memory"


class Clock:
    """A clock that the test moves, for the app, its store and its browsers alike."""

    def __init__(self, app: App) -> None:
        self.now = time.time()
        app.services.store.clock = self
        for engine in (app.services.store.sessions, app.services.store.notifications):
            assert isinstance(engine, MemoryEngine)
            engine.clock = self

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(app: App) -> Clock:
    return Clock(app)


@pytest.fixture
def signed_in(browser: Browser, io_loop: Any) -> Cookie:
    """The cookie of somebody who has just registered, as it was set."""
    io_loop.run_sync(browser.register)
    assert browser.session_cookie is not None
    return browser.session_cookie


def token(cookie: Cookie | None) -> str:
    """The token that a cookie carries."""
    assert cookie is not None
    return base64.b64decode(cookie.value.split("|")[4].partition(":")[2]).decode()


def thief_of(browser: Browser, thief: Browser) -> Browser:
    """`thief` with the session cookie of `browser`, kept for as long as a thief likes."""
    cookie = browser.session_cookie
    assert cookie is not None
    thief.cookies[cookie.name] = Cookie(cookie.name, cookie.value, None, {})
    return thief


# --- the id


def test_01_an_id_is_256_bits_from_the_operating_system(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def urandom(count: int) -> bytes:
        asked.append(count)
        return bytes(count)

    monkeypatch.setattr("random._urandom", urandom)  # what `secrets` draws from
    assert base64.urlsafe_b64decode(new_token() + "=") == bytes(32)
    assert asked == [32]


def test_03_an_id_carries_no_user_data(signed_in: Cookie) -> None:
    # Beside the random id: versions of format and key, the time, the cookie's name, the signature.
    found = re.fullmatch(
        r"2\|1:0\|10:\d{10}\|\d+:([\w-]+)\|60:\S{60}\|[0-9a-f]{64}", signed_in.value
    )
    assert found is not None
    assert found[1] == COOKIE
    assert len(base64.urlsafe_b64decode(token(signed_in) + "=")) == 32


def test_04_the_cookies_name_says_nothing_about_the_software(signed_in: Cookie) -> None:
    """It is the app's own name, so that two apps on one host keep out of each other's way."""
    prefix, _, name = signed_in.name.rpartition("-")
    assert prefix in ("__Host", "__Secure")
    assert name == "{{cookiecutter.project_slug}}"


@pytest.mark.gen_test
async def test_05_an_id_in_the_url_the_body_or_another_header_is_ignored(
    make_browser: MakeBrowser,
) -> None:
    victim = make_browser()
    await victim.register("somebody else")
    cookie = victim.session_cookie
    assert cookie is not None
    for value in (cookie.value, token(cookie)):
        for headers in (
            {"X-Session-Id": value},
            {"Authorization": f"Bearer {value}"},
            {cookie.name: value},
            {"Cookie": f"sid={value}; session={value}; {cookie.name.lower()}={value}"},
        ):
            page = await make_browser().get("/account", headers=headers)
            assert page.url.startswith("/login")
        for path in (f"/account?{cookie.name}={value}&sid={value}", f"/account;sid={value}"):
            assert "somebody else" not in (await make_browser().get(path)).plain
        fields: dict[str, Any] = {cookie.name: value, "sid": value, "text": "x"}
        page = await make_browser().post("/", **fields)
        assert "somebody else" not in page.plain


_signer = CookieSigner(COOKIE, COOKIE_SECRET)
_good = _signer.sign("A" * 43)


@pytest.mark.parametrize("instead", ["", "0", "A", "f", "|", ":", "=", ".", "\u00e9", "00"])
def test_06_a_cookie_with_any_change_opens_nothing(instead: str) -> None:
    for at in range(len(_good)):
        for length in (0, 1, 7):
            mangled = _good[:at] + instead + _good[at + length :]
            tokens = _signer.tokens(f"{COOKIE}={mangled}")
            assert tokens == [] or mangled == _good, mangled


@pytest.mark.gen_test
async def test_06_a_malformed_cookie_never_reaches_the_store_and_never_raises_a_500(
    app: App, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    await browser.register()
    good = browser.session_cookie
    assert good is not None
    loaded: list[str] = []
    load = app.services.store.sessions.load

    async def watch(key: str, *args: Any) -> Any:
        loaded.append(key)
        return await load(key, *args)

    monkeypatch.setattr(app.services.store.sessions, "load", watch)
    other_name = app.services.store.signer.sign(token(good)).replace(COOKIE, "sid")
    foreign = CookieSigner(good.name, "x" * 40).sign(token(good))
    for value in (
        "",
        "x",
        "|" * 50,
        token(good),  # unsigned
        good.value[:-1],  # truncated
        good.value[: len(good.value) // 2],
        good.value.replace("2|1:0", "1|1:0"),  # an older format
        good.value.replace("|1:0|", "|1:7|"),  # a key that is not there
        good.value[:-64] + "0" * 64,
        good.value * 200,  # overlong
        "\xff\xfe" + good.value,
        '"\\377',
        other_name,
        foreign,
        f"2|1:0|10:1700000000|{len(COOKIE)}:{COOKIE}|" + "9" * 4000 + ":|" + "0" * 64,
    ):
        page = await browser.get("/login", headers={"Cookie": f"{good.name}={value}"})
        assert page.status == 200
        assert "ada" not in page.plain
    assert loaded == []


@ON_BOTH_ENGINES
@pytest.mark.gen_test
async def test_07_a_correctly_signed_id_without_a_record_is_not_adopted(
    app: App, make_browser: MakeBrowser
) -> None:
    planted = new_token()
    header = {"Cookie": f"{COOKIE}={app.services.store.signer.sign(planted)}"}
    victim = make_browser(headers=header)
    page = await victim.post("/register", username="ada", password="correct horse", follow=False)
    assert page.status == 303
    assert token(victim.session_cookie) != planted
    assert (await make_browser(headers=header).get("/account")).url.startswith("/login")


@pytest.mark.gen_test
async def test_08_an_unknown_id_is_logged_as_a_security_event_with_the_address(
    app: App, browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    planted = new_token()
    header = {"Cookie": f"{COOKIE}={app.services.store.signer.sign(planted)}"}
    with caplog.at_level(logging.INFO):
        page = await browser.get("/login", headers=header)
    alias, request = app.services.store.alias(id_of(planted)), page.headers["X-Request-ID"]
    assert f"session {alias}: unknown id request={request} address=127.0.0.1" in caplog.messages
    assert planted not in caplog.text


# --- the cookie


def test_09_the_cookie_is_secure_outside_of_debug(signed_in: Cookie) -> None:
    assert "secure" in signed_in.attributes


def test_10_the_cookie_is_out_of_reach_of_scripts(signed_in: Cookie) -> None:
    assert "httponly" in signed_in.attributes
    with pytest.raises(ConfigurationError, match="httponly"):
        _config(cookies={"httponly": False})


def test_11_samesite_is_explicit_and_none_without_secure_stops_the_start(
    signed_in: Cookie,
) -> None:
    assert signed_in.attributes["samesite"] == "Lax"
    with pytest.raises(ConfigurationError, match="'None' without 'secure'"):
        _config(cookies={"samesite": "None", "secure": False})


def test_12_the_host_name_goes_with_secure_the_whole_site_and_no_domain(
    signed_in: Cookie,
) -> None:
    assert signed_in.name == COOKIE
    assert signed_in.attributes["path"] == "/"
    for cookies in ({"secure": False}, {"path": "/app"}, {"domain": "example.com"}):
        assert _config(cookies=cookies).cookie.name == "sid"
        with pytest.raises(ConfigurationError, match="needs secure, path '/' and no domain"):
            _config(cookies=cookies, cookie_name="__Host-sid")


def test_13_the_cookie_has_no_domain_unless_it_is_set_so_that_no_subdomain_gets_it(
    signed_in: Cookie,
) -> None:
    assert signed_in.attributes.get("domain", "") == Settings().cookie_domain
    assert signed_in.name.startswith("__Secure-" if Settings().cookie_domain else "__Host-")


def _config(**pycket: Any) -> SessionConfig:
    settings = {"cookie_secret": COOKIE_SECRET, "pycket": {"engine": "memory", **pycket}}
    return SessionConfig.from_settings(settings)


@pytest.mark.gen_test
async def test_21_an_answer_that_sets_the_id_is_kept_by_no_cache(browser: Browser) -> None:
    for path in ("/", "/login"):
        answer = await browser.post(path, follow=False, text="x", username="ada", password="x")
        if answer.set_cookies:
            assert answer.headers["Cache-Control"] == "no-store"
    assert browser.session_cookie is not None


# --- how long it lives


@ON_BOTH_ENGINES
@pytest.mark.gen_test
async def test_15_a_password_change_gives_a_new_id_keeps_the_data_and_ends_the_old_one(
    make_browser: MakeBrowser,
) -> None:
    browser, thief = make_browser(), make_browser()
    await browser.register()
    await browser.post("/", text="written before")
    thief.cookies.update(browser.cookies)
    assert (await thief.get("/account")).url == "/account"
    await browser.post("/account", password="correct horse", new_password="another horse")
    assert token(browser.session_cookie) != token(thief.session_cookie)
    assert (await thief.get("/account")).url.startswith("/login")
    assert "written before" in (await browser.get("/")).plain


@pytest.mark.gen_test
async def test_16_the_idle_limit_holds_whatever_the_cookie_says(
    settings: Settings, make_browser: MakeBrowser, clock: Clock
) -> None:
    browser = make_browser(clock=clock)
    await browser.register()
    for _ in range(min(3, int(settings.absolute_timeout / settings.idle_timeout) - 1)):
        clock.now += 0.98 * settings.idle_timeout  # its use is noted a hundred times in this time
        assert (await browser.get("/account")).url == "/account"
    thief = thief_of(browser, make_browser(clock=clock))
    clock.now += settings.idle_timeout + 1
    assert (await thief.get("/account")).url.startswith("/login")


@pytest.mark.gen_test
async def test_17_the_absolute_limit_holds_under_constant_activity(
    settings: Settings, make_browser: MakeBrowser, clock: Clock
) -> None:
    browser = make_browser(clock=clock)
    await browser.register()
    await browser.login(remember=True)
    step_s = _time_between_visits_s(settings)
    for _ in range(int(settings.absolute_timeout / step_s) - 1):
        clock.now += step_s
        assert (await browser.get("/account")).url == "/account"
    # Not even a change of the password begins the time again.
    await browser.post("/account", password="correct horse", new_password="another horse")
    thief = thief_of(browser, make_browser(clock=clock))
    clock.now += 10
    assert (await thief.get("/account")).url == "/account"
    clock.now += 2 * step_s
    assert (await thief.get("/account")).url.startswith("/login")


@pytest.mark.gen_test
async def test_18_a_persistent_cookie_is_renewed_in_use_and_never_beyond_the_absolute_limit(
    settings: Settings, make_browser: MakeBrowser, clock: Clock
) -> None:
    await make_browser().register()
    browser = make_browser(clock=clock)
    began = clock.now
    await browser.login(remember=True)
    renewals = []
    step_s = _time_between_visits_s(settings)
    for _ in range(int(settings.absolute_timeout / step_s) - 2):
        clock.now += step_s
        page = await browser.get("/account")
        renewals += [cookie.expires for cookie in page.set_cookies]
    assert renewals
    latest = began + settings.absolute_timeout + 1
    assert all(expires is not None and expires <= latest for expires in renewals)


def _time_between_visits_s(settings: Settings) -> float:
    """A time after which somebody who stays logged in still is."""
    return min(settings.absolute_timeout / 30, settings.remember_days * DAY_S / 2)


class Slow(BaseHandler):
    """Stands still until the test lets it go on; then it writes to the session."""

    reached: ClassVar[asyncio.Event]
    let_go: ClassVar[asyncio.Event]

    async def get(self) -> None:
        self.session["late"] = True
        self.reached.set()
        await self.let_go.wait()


@ON_BOTH_ENGINES
@pytest.mark.gen_test
async def test_26_a_cookie_from_before_logout_is_dead_even_if_requests_were_in_flight(
    app: App, make_browser: MakeBrowser
) -> None:
    app.add_handlers(".*", [("/slow", Slow)])
    Slow.reached, Slow.let_go = asyncio.Event(), asyncio.Event()
    browser, tab, thief = make_browser(), make_browser(), make_browser()
    await browser.register()
    tab.cookies.update(browser.cookies)
    thief.cookies.update(browser.cookies)
    in_flight = asyncio.ensure_future(tab.get("/slow"))
    await Slow.reached.wait()
    await browser.post("/logout")
    Slow.let_go.set()
    assert (await in_flight).set_cookies == []
    record = app.services.store.key("session", id_of(token(thief.session_cookie)))
    ended = await app.services.store.sessions.load(record)
    assert ended is not None and ended.ended == "ended" and not ended.fields
    assert (await thief.get("/account")).url.startswith("/login")


# --- what the log says


@pytest.mark.gen_test
async def test_23_every_event_is_logged_and_the_id_is_in_no_line_and_on_no_page(
    app: App, make_browser: MakeBrowser, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    browser, other = make_browser(clock=clock), make_browser(clock=clock)
    secrets, pages = ["correct horse", "another horse", "a wrong guess", "my note"], []

    async def go(who: Browser, path: str, **fields: Any) -> None:
        pages.append(await (who.post(path, **fields) if fields else who.get(path)))
        if cookie := who.session_cookie:
            secrets.extend([cookie.value, token(cookie), id_of(token(cookie))])

    await go(browser, "/", text="my note")  # created
    await go(browser, "/register", username="ada", password="correct horse")  # regenerated
    await go(other, "/login", username="ada", password="a wrong guess")  # login failed
    await go(other, "/login", username="ada", password="correct horse")
    thief = make_browser(clock=clock)
    thief.cookies.update(other.cookies)
    await go(browser, "/account", password="a wrong guess", new_password="another horse")
    await go(browser, "/account", password="correct horse", new_password="another horse")
    clock.now += 61  # until then it may be a second tab of the same person
    await go(thief, "/account")  # unknown id
    thief.cookies.update(browser.cookies)
    await go(browser, "/logout", confirm="yes")  # destroyed
    await go(thief, "/account")
    for _ in range(6):
        await go(browser, "/login", username="ada", password="a wrong guess")  # throttled
    await go(browser, "/", text="my note")
    app.services.store.clock = lambda: clock.now + 1e9  # the store has not noticed yet
    await go(browser, "/")  # expired
    for event in (
        "created",
        "regenerated to [0-9a-f]+",
        "login failed",
        "password change refused, .+",
        "unknown id",
        "destroyed",
        "throttled, .+",
        "expired",
    ):
        line = re.compile(rf"session ([0-9a-f]+|-): {event} request=[0-9a-f]+ address=127\.0\.0\.1")
        assert any(map(line.fullmatch, caplog.messages)), event
    # No request did this to itself: it was another session's, or a job.
    assert re.search(r"session [0-9a-f]+: destroyed from elsewhere", caplog.text)
    for secret in set(secrets):
        assert secret not in caplog.text
    for page in pages:
        assert not any(secret in page.text for secret in secrets[4:])


# --- pages and data


@pytest.mark.gen_test
async def test_30_a_get_changes_nothing(make_browser: MakeBrowser) -> None:
    browser, other = make_browser(), make_browser()
    await browser.register()
    await other.login()
    for path in (
        "/logout",
        "/logout?confirm=1",
        "/?text=planted",
        "/account?password=correct+horse&new_password=another+horse",
        "/account/delete?password=correct+horse",
        "/account/sessions/end-others",
        "/register?username=eve&password=correct+horse",
        "/login?username=eve&password=correct+horse",
    ):
        await browser.get(path)
    assert (await other.get("/account")).url == "/account"
    assert "planted" not in (await browser.get("/")).plain
    assert (await make_browser().login("eve")).status == 403
    assert (await make_browser().login("ada")).status == 200


def test_34_no_module_imports_or_evaluates_what_is_stored(request: pytest.FixtureRequest) -> None:
    package = Path(request.config.rootpath, "{{cookiecutter.project_slug}}")
    modules = list(package.rglob("*.py"))
    assert len(modules) > 20
    for path in modules:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.Import(names=names):
                    imported = {alias.name.partition(".")[0] for alias in names}
                case ast.ImportFrom(module=module):
                    imported = {str(module).partition(".")[0]}
                case ast.Call(func=ast.Name(id=name)):
                    assert name not in {"eval", "exec", "compile", "__import__"}, path
                    continue
                case _:
                    continue
            assert not imported & {"pickle", "dill", "marshal", "shelve", "importlib"}, path


class Trap:
    sprung = False

    def __reduce__(self) -> Any:
        return (setattr, (Trap, "sprung", True))


@ON_BOTH_ENGINES
@pytest.mark.gen_test
async def test_34_a_pickle_in_the_store_is_not_loaded(app: App, browser: Browser) -> None:
    await browser.register()
    key = app.services.store.key("session", id_of(token(browser.session_cookie)))
    await app.services.store.sessions.write(key, {"trap": pickle.dumps(Trap())}, 60, create=False)
    page = await browser.get("/account")
    assert page.url.startswith("/login")  # the record is dropped
    assert not Trap.sprung
