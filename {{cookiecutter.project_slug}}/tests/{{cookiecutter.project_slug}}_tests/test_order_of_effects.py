"""What is done first: the store stops at every point of what changes an account, and nobody stays in
who should be out, nor does a page claim what it cannot know.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, count
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.testing import bind_unused_port

from {{cookiecutter.project_slug}}.accounts import User
from {{cookiecutter.project_slug}}.app import App
from {{cookiecutter.project_slug}}.handlers.base import BaseHandler
from {{cookiecutter.project_slug}}.handlers.rights import require
from {{cookiecutter.project_slug}}.proxies import make_server
from {{cookiecutter.project_slug}}.sessions import StoreUnavailable
from {{cookiecutter.project_slug}}.tokens import Purpose

from .browser import Browser, Cookie, Page

OLD, NEW = "correct horse", "another horse"
NEVER = 255  # more than anything asks of the store
Ask = Callable[[], Awaitable[Any]]


@pytest.fixture
def engine() -> str:
    """The store stops in front of the engine: the memory engine is the quickest."""
    return "memory"


class Store:
    """Stops in the middle of what the app asks of it, and comes back.

    stopped: what was asked is not done. deaf: it is done, and the answer does not arrive. frozen: it
    is done later, when the answer to the browser has left.
    """

    def __init__(self, way: str) -> None:
        self.way = way
        self.stops_after: int | None = None
        self.calls = 0
        self.names: list[str] = []
        """The calls since `stop`."""
        self.later: list[Ask] = []

    def stop(self, after: int) -> None:
        self.stops_after, self.calls, self.names = after, 0, []

    async def come_back(self) -> bool:
        """Returns whether it was missed."""
        missed = self.stops_after is not None and self.calls > self.stops_after
        self.stops_after = None
        for ask in self.later:
            await ask()
        self.later.clear()
        return missed

    async def call(self, name: str, ask: Ask) -> Any:
        self.calls += 1
        self.names.append(name)
        if self.stops_after is None or self.calls <= self.stops_after:
            return await ask()
        if self.way == "deaf" and self.calls == self.stops_after + 1:
            await ask()
        if self.way == "frozen":
            self.later.append(ask)
        raise StoreUnavailable("nowhere", self.way)


class Engine:
    """An engine behind a store that stops."""

    def __init__(self, engine: Any, store: Store) -> None:
        self._engine, self._store = engine, store

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._engine, name)
        if name not in ("load", "write", "end"):
            return method
        return lambda *args, **options: self._store.call(name, partial(method, *args, **options))


@dataclass
class Scene:
    """Ada is logged in twice, if `logins` says no less; the other session may be a thief's."""

    app: App
    user: User
    mine: Browser
    other: Browser
    stolen: dict[str, Cookie] = field(default_factory=dict)

    async def post(self, path: str, **fields: Any) -> Page:
        return await self.mine.post(path, follow=False, **fields)

    async def current(self) -> User | None:
        return await self.app.services.accounts.find(self.user.id)

    async def has_password(self, password: str) -> bool:
        return await self.app.services.accounts.has_password(await self.current(), password)

    async def link(self, purpose: Purpose) -> str:
        """The token in a mail that the visitor has got."""
        new = f"new-{self.user.email}" if purpose is Purpose.CHANGE else ""
        return await self.app.services.accounts.make_token(self.user, purpose, new)

    async def is_in(self, browser: Browser, path: str = "/account") -> bool:
        return (await browser.get(path, follow=False)).status == 200


Act = Callable[[Scene], Awaitable[Page | None]]
Check = Callable[[Scene, bool], Awaitable[None]]


class Admins(BaseHandler):
    @require("admin")
    async def get(self) -> None:
        self.write("for admins")


@pytest.fixture(params=["stopped", "deaf", "frozen"])
def store(app: App, request: pytest.FixtureRequest) -> Store:
    store = Store(request.param)
    services = app.services
    services.store.sessions = Engine(services.store.sessions, store)  # type: ignore[assignment]
    services.store.notifications = Engine(services.store.notifications, store)  # type: ignore[assignment]
    return store


@pytest.fixture
def step_through(app: App, store: Store, http_client: AsyncHTTPClient) -> Any:
    """Call `act` once for each point at which the store can stop, and once where it does not; then,
    when it is back, `check`.
    """

    async def step_through(act: Act, check: Check, logins: int = 2) -> None:
        socket, port = bind_unused_port()
        server = make_server(app, ("127.0.0.1",))  # believes that each comes from elsewhere
        server.add_socket(socket)
        asked: list[str] = []  # what the act asks of a store that does not stop
        for number in chain([NEVER], count()):
            if store.way != "stopped" and asked[number : number + 1] == ["load"]:
                continue  # whether a read is done or not makes no difference
            header = {"X-Forwarded-For": f"10.0.{number}.1"}
            mine, other = (
                Browser(http_client, f"http://localhost:{port}", headers=header) for _ in "12"
            )
            name = f"user{number}"
            user = await app.services.accounts.register(
                name, OLD, email=f"{name}@example.com", role="admin"
            )
            for browser in (mine, other)[:logins]:
                assert (await browser.login(name, follow=False)).status == 303
            scene = Scene(app, user, mine, other)
            app.services.mail.outbox.clear()
            store.stop(after=number)
            page = await act(scene)
            if number == NEVER:
                asked = store.names.copy()
            missed = await store.come_back()
            if page is not None:
                assert page.status in (200, 303, 503)
                if page.status == 503:  # it says that it does not know
                    assert "look whether it has arrived" in page.plain
                    assert "Retry-After" in page.headers
            await check(scene, page is not None and page.status != 503)
            if not missed:
                assert page is None or page.status == 303
                if number != NEVER:
                    break
        assert number > 2
        server.stop()
        await server.close_all_connections()

    return step_through


@pytest.mark.gen_test
async def test_39_a_password_change_leaves_no_other_session(step_through: Any) -> None:
    async def act(scene: Scene) -> Page:
        return await scene.post("/account", password=OLD, new_password=NEW)

    async def check(scene: Scene, is_said: bool) -> None:
        changed = await scene.has_password(NEW)
        assert changed or await scene.has_password(OLD)
        assert changed or not is_said
        assert not (changed and await scene.is_in(scene.other))
        if await scene.is_in(scene.mine):
            words = (await scene.mine.get("/")).flashes
            assert changed or "Your password is changed." not in str(words)

    await step_through(act, check)


@pytest.mark.gen_test
async def test_39_a_new_password_by_mail_leaves_no_session(step_through: Any) -> None:
    async def act(scene: Scene) -> Page:
        return await scene.post("/reset", token=await scene.link(Purpose.RESET), new_password=NEW)

    async def check(scene: Scene, is_said: bool) -> None:
        changed = await scene.has_password(NEW)
        assert changed or not is_said
        for browser in (scene.mine, scene.other):
            assert not (changed and await scene.is_in(browser))
        if not changed:  # it can be tried again
            page = await act(scene)
            assert await scene.has_password(NEW)
            # The first try may have ended this session, so that no message can be kept in it.
            assert page.status == 303 or "look whether" in page.plain

    await step_through(act, check)


@pytest.mark.gen_test
async def test_39_a_deleted_account_leaves_no_session(step_through: Any) -> None:
    async def act(scene: Scene) -> Page:
        return await scene.post("/account/delete", password=OLD)

    async def check(scene: Scene, is_said: bool) -> None:
        deleted = await scene.current() is None
        assert deleted or not is_said
        for browser in (scene.mine, scene.other):
            assert not (deleted and await scene.is_in(browser))

    await step_through(act, check)


@pytest.mark.gen_test
async def test_39_a_role_that_is_gone_is_gone_in_every_session(app: App, step_through: Any) -> None:
    app.add_handlers(".*", [("/admins", Admins)])

    async def act(scene: Scene) -> None:
        with contextlib.suppress(StoreUnavailable):
            await scene.app.services.accounts.set_role(scene.user.id, "")

    async def check(scene: Scene, _: bool) -> None:
        user = await scene.current()
        assert user is not None
        for browser in (scene.mine, scene.other):
            assert user.role == "admin" or not await scene.is_in(browser, "/admins")

    await step_through(act, check)


@pytest.mark.gen_test
async def test_39_the_former_address_is_told_whatever_the_store_does(
    app: App, step_through: Any
) -> None:
    async def act(scene: Scene) -> Page:
        return await scene.post("/confirm", token=await scene.link(Purpose.CHANGE))

    async def check(scene: Scene, is_said: bool) -> None:
        user = await scene.current()
        assert user is not None
        changed = user.email != scene.user.email
        assert changed or not is_said
        while changed and not app.services.mail.outbox:
            await asyncio.sleep(0)
        assert [mail.to for mail in app.services.mail.outbox] == [scene.user.email] * changed
        # What the sessions show can be brought up to date.
        if changed:
            await scene.mine.post("/account/email/send-again")
            assert f"{user.email} \u00b7 confirmed" in (await scene.mine.get("/account")).plain

    await step_through(act, check, logins=1)


@pytest.mark.gen_test
async def test_39_a_registration_that_is_not_answered_can_be_sent_again(step_through: Any) -> None:
    async def act(scene: Scene) -> Page:
        return await scene.other.post("/register", follow=False, **form(scene))

    def form(scene: Scene) -> dict[str, Any]:
        return {"username": f"new {scene.user.username}", "password": OLD}

    async def check(scene: Scene, is_said: bool) -> None:
        name = f"new {scene.user.username}"
        made = await scene.app.services.accounts.find_by(username=name)
        assert made is not None or not is_said
        if made is None:
            assert name not in (await scene.other.get("/")).plain
        assert (await scene.other.post("/register", **form(scene))).status == 200
        assert name in (await scene.other.get("/account")).plain

    await step_through(act, check, logins=0)


@pytest.mark.parametrize("path", ["/logout", "/account/sessions/end-others"])
@pytest.mark.gen_test
async def test_39_what_is_said_to_be_ended_is_ended(step_through: Any, path: str) -> None:
    async def act(scene: Scene) -> Page:
        scene.stolen.update(scene.mine.cookies)
        return await scene.post(path)

    async def check(scene: Scene, is_said: bool) -> None:
        if path == "/logout":
            scene.other.cookies = scene.stolen
        assert not (is_said and await scene.is_in(scene.other))

    await step_through(act, check)
