"""What the session changes after the response is saved, or raises: never lost in silence."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tornado.web import RequestHandler

from {{cookiecutter.project_slug}}.sessions import SessionMixin

from ..conftest import MakeBrowser
from .conftest import Routes
from .script import ROUTES, begin, do, show

pytestmark = pytest.mark.gen_test
RAISED: list[str] = []


class LateHandler(SessionMixin, RequestHandler):
    """Changes its session in on_finish."""

    def get(self) -> None:
        self.write("answered")

    def on_finish(self) -> None:
        try:
            self.session["seen"] = True
        except RuntimeError as error:
            RAISED.append(str(error))


@pytest.fixture
def handlers() -> Routes:
    return [*ROUTES, ("/late", LateHandler)]


@pytest.mark.parametrize("first", [True, False], ids=["first visit", "later visit"])
async def test_a_change_after_redirect_raises(make_browser: MakeBrowser, first: bool) -> None:
    browser = make_browser()
    if not first:
        await do(browser, begin)

    def redirect(handler: Any) -> None:
        handler.session["kept"] = True
        handler.redirect("/")
        for change in (
            lambda: handler.session.set("lost", True),
            lambda: handler.session.pop("kept"),
            lambda: handler.session.clear(),
            lambda: handler.session.regenerate(),
            lambda: handler.session.destroy(),
            lambda: handler.session.remember(1),
            lambda: handler.notifications.add("lost"),
            lambda: setattr(handler.session, "owner", "ada"),
        ):
            with pytest.raises(RuntimeError, match="would be lost"):
                change()

    assert (await do(browser, redirect)).status == 302
    assert '"kept": true' in (await do(browser, show)).text


async def test_a_change_in_on_finish_raises(make_browser: MakeBrowser) -> None:
    RAISED.clear()
    await make_browser().get("/late")
    assert len(RAISED) == 1
    assert "would be lost" in RAISED[0]


async def test_a_job_that_keeps_only_the_session_goes_on_with_it(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    sessions: list[Any] = []

    def keep(handler: Any) -> None:
        handler.session["items"] = [1]
        sessions.append(handler.session)

    await do(browser, keep)
    session = sessions.pop()
    await session.modify("items", lambda items: [*items, 2])
    await do(browser, lambda handler: handler.session.set("name", "ada"))
    async with session:
        assert session["name"] == "ada"  # loaded again
        session["done"] = True
    with pytest.raises(RuntimeError, match="would be lost"):
        session["late"] = True
    page = await do(browser, show)
    assert page.text == '{"result": {"done": true, "items": [1, 2], "name": "ada"}}'


async def test_a_job_of_a_visitor_without_a_session_is_told_why_none_can_begin(
    make_browser: MakeBrowser,
) -> None:
    sessions: list[Any] = []
    await do(make_browser(), lambda handler: sessions.append(handler.session))
    with pytest.raises(RuntimeError, match="needs a cookie"):
        async with sessions[0] as session:
            session["name"] = "ada"


async def test_jobs_of_one_session_at_once_lose_nothing(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    sessions: list[Any] = []

    def keep(handler: Any) -> None:
        handler.session["count"] = 0
        sessions.append(handler.session)

    await do(browser, keep)
    await asyncio.gather(*(sessions[0].modify("count", lambda count: count + 1) for _ in range(20)))
    assert (await do(browser, show)).text == '{"result": {"count": 20}}'
