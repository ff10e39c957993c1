"""The front page: what is kept in a session, and whose it is."""

from __future__ import annotations

import asyncio

import pytest

from .browser import Browser
from .conftest import MakeBrowser


@pytest.mark.gen_test
async def test_the_front_page_counts_visits(browser: Browser) -> None:
    assert "first visit" in (await browser.get("/")).plain
    assert "here 2 times" in (await browser.get("/")).plain


@pytest.mark.gen_test
async def test_visits_at_the_same_time_all_count(browser: Browser) -> None:
    await browser.get("/")
    await asyncio.gather(*(browser.get("/") for _ in range(8)))
    assert "here 10 times" in (await browser.get("/")).plain


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
