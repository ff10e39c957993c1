"""A job that goes on with a request's session after the response."""

from __future__ import annotations

import asyncio
from typing import ClassVar

import pytest
from tornado.web import RequestHandler

from {{cookiecutter.project_slug}}.sessions import SessionMixin

from ..browser import Browser
from .conftest import Routes

pytestmark = pytest.mark.gen_test


class ImportHandler(SessionMixin, RequestHandler):
    jobs: ClassVar[list[asyncio.Task[None]]] = []

    def get(self) -> None:
        self.write(dict(self.session))

    def post(self) -> None:
        self.session["file"] = "names.csv"
        self.jobs.append(asyncio.create_task(self.job()))
        self.redirect("/")

    async def job(self) -> None:
        async with self.session as session:
            session["done"] = True


@pytest.fixture
def handlers() -> Routes:
    return [("/", ImportHandler)]


async def test_a_job_that_runs_while_the_response_is_saved_loses_nothing(browser: Browser) -> None:
    for _ in ("the first request of a visitor", "another one"):
        await browser.post("/", follow=False)
        await ImportHandler.jobs.pop()
        assert (await browser.get("/")).text == '{"done": true, "file": "names.csv"}'
