"""Flash messages: shown once, to the right person, on the next page."""

from __future__ import annotations

import asyncio

import pytest

from {{cookiecutter.project_slug}}.app import App
from {{cookiecutter.project_slug}}.handlers.base import BaseHandler

from .browser import Browser
from .conftest import MakeBrowser

SAVED = ("success", "Your note is saved.")


@pytest.mark.gen_test
async def test_a_message_is_shown_once(browser: Browser) -> None:
    assert (await browser.post("/", text="x")).flashes == [SAVED]
    assert (await browser.get("/")).flashes == []


@pytest.mark.gen_test
async def test_a_message_waits_for_the_next_page_whichever_it_is(browser: Browser) -> None:
    await browser.post("/", text="x", follow=False)
    await browser.get("/healthz")
    await browser.get("/nothing")
    assert (await browser.get("/login")).flashes == [SAVED]


@pytest.mark.gen_test
async def test_messages_are_shown_in_the_order_they_came(browser: Browser) -> None:
    await browser.post("/", text="x", follow=False)
    await browser.register("ada")
    await browser.post("/", text="y", follow=False)
    await browser.post("/account/sessions/end", handle="nothing", follow=False)
    shown = (await browser.get("/")).flashes
    assert shown == [SAVED, ("error", "That session had ended already.")]


@pytest.mark.gen_test
async def test_of_many_pages_opened_at_once_one_shows_the_message(browser: Browser) -> None:
    await browser.post("/", text="x", follow=False)
    pages = await asyncio.gather(*(browser.get("/login") for _ in range(8)))
    assert sum(len(page.flashes) for page in pages) == 1


@pytest.mark.gen_test
async def test_messages_of_one_browser_do_not_reach_another(make_browser: MakeBrowser) -> None:
    one, other = make_browser(), make_browser()
    await other.get("/")
    await one.post("/", text="x", follow=False)
    assert (await other.get("/")).flashes == []
    assert (await one.get("/")).flashes == [SAVED]


class Broken(BaseHandler):
    async def get(self) -> None:
        await self.notifications.take()
        raise RuntimeError


@pytest.mark.gen_test
async def test_a_page_that_fails_does_not_swallow_the_message(app: App, browser: Browser) -> None:
    app.add_handlers(".*", [("/broken", Broken)])
    await browser.post("/", text="x", follow=False)
    assert (await browser.get("/broken")).status == 500
    assert (await browser.get("/")).flashes == [SAVED]


class Rude(BaseHandler):
    def get(self) -> None:
        self.flash("<b>bold</b>", "info")
        self.see_other("/login")


@pytest.mark.gen_test
async def test_a_message_is_escaped(app: App, browser: Browser) -> None:
    app.add_handlers(".*", [("/rude", Rude)])
    page = await browser.get("/rude")
    assert '<p class="flash flash-info" role="status">&lt;b&gt;bold&lt;/b&gt;</p>' in page.text
