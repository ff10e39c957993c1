"""The front page: what is kept in a session, and whose it is."""

from __future__ import annotations

import asyncio

import pytest

from .browser import Browser
from .conftest import MakeBrowser


@pytest.mark.gen_test
async def test_the_front_page_stores_nothing_for_somebody_who_only_looks(browser: Browser) -> None:
    for _ in range(2):
        page = await browser.get("/")
        assert (page.status, page.set_cookies) == (200, [])


@pytest.mark.gen_test
async def test_notes_that_are_posted_at_once_are_all_kept(browser: Browser) -> None:
    await browser.post("/", text="note 0")
    await asyncio.gather(*(browser.post("/", text=f"note {n}") for n in range(1, 9)))
    page = await browser.get("/")
    assert all(f"note {n}" in page.plain for n in range(9))


@pytest.mark.gen_test
async def test_two_browsers_do_not_see_each_other(make_browser: MakeBrowser) -> None:
    one, other = make_browser(), make_browser()
    await one.post("/", text="my secret")
    assert "my secret" in (await one.get("/")).text
    assert "my secret" not in (await other.get("/")).text


@pytest.mark.gen_test
async def test_a_note_is_saved_and_a_reload_does_not_send_it_again(browser: Browser) -> None:
    answer = await browser.post("/", text="buy milk", follow=False)
    assert (answer.status, answer.location) == (303, "/")
    page = await browser.get("/")
    assert page.text.count("buy milk") == 1
    assert page.flashes == [("success", "Your note is saved.")]


@pytest.mark.gen_test
async def test_a_note_that_cannot_be_kept_comes_back_with_the_reason(browser: Browser) -> None:
    for text in ("", "   ", "x" * 201):
        page = await browser.post("/", text=text)
        assert page.status == 422
        assert page.error_of("text")
        assert f'value="{text.strip()}"' in page.text
