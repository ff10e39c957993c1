"""The README's example is run as it stands: it must work, and stay short."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest
from tornado.web import RequestHandler

from {{cookiecutter.project_slug}}.app import App

from .browser import Browser

README = Path(__file__).parent.parent / "README.md"


@pytest.fixture
def example() -> str:
    """The first Python block after the heading "Add a page"."""
    after = README.read_text(encoding="utf-8").partition("\n## Add a page\n")[2]
    found = re.search(r"```python\n(.*?)```", after, re.DOTALL)
    assert found is not None, 'the README has no Python block after "## Add a page"'
    return found.group(1)


def test_the_example_is_short(example: str) -> None:
    assert len([line for line in example.splitlines() if line.strip()]) < 20


@pytest.mark.gen_test
async def test_the_example_adds_a_page_with_session_and_flash(
    app: App, browser: Browser, example: str
) -> None:
    module = ModuleType("{{cookiecutter.project_slug}}.handlers.example")
    module.__package__ = "{{cookiecutter.project_slug}}.handlers"
    exec(compile(example, str(README), "exec"), vars(module))
    routes: list[tuple[str, type[RequestHandler]]] = module.ROUTES
    app.add_handlers(".*", routes)
    await browser.register()
    ((path, handler),) = routes
    if hasattr(handler, "post") and handler.post is not RequestHandler.post:
        page = await browser.post(path, text="from the README", name="from the README")
        assert page.status == 200
        assert page.flashes
    assert (await browser.get(path)).status == 200
