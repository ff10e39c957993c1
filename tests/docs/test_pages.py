"""What the documents link to exists, and all their Python is run by a test."""

from __future__ import annotations

import asyncio
import doctest
import re
from pathlib import Path
from types import FunctionType
from urllib.parse import unquote

import pytest

from ..conftest import TEMPLATE
from ..promises import generated  # noqa: F401 - renders the package `promised`
from ..promises.browser import Browser, client
from ..promises.generated import COOKIE_SECRET
from ..promises.servers import HOST
from .pages import blocks, documents, run

LINK = re.compile(r"""(?:\]\(|src="|srcset=")([^)"\s]+)""")
FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", documents(), ids=lambda path: path.name)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = LINK.findall(FENCED.sub("", page.read_text()))
    files = [link.partition("#")[0] for link in links if not re.match(r"[a-z]+:|#", link)]
    missing = [file for file in files if not (page.parent / unquote(file)).exists()]
    assert missing == []


def test_all_python_of_the_documents_is_run() -> None:
    run_by_tests = {"README.md", "CONTRIBUTING.md", "from-pycket.md"}
    assert {page.name for page in documents() if blocks(page)} == run_by_tests


def test_no_line_of_code_in_the_readme_is_too_wide_to_read() -> None:
    code = "\n".join(FENCED.findall((TEMPLATE / "README.md").read_text()))
    assert [line for line in code.splitlines() if len(line) > 92] == []


def test_the_handler_in_the_readme_keeps_a_note_and_shows_a_message(tmp_path: Path) -> None:
    from promised.app import App, make_app
    from promised.handlers.base import BaseHandler
    from promised.settings import Settings
    from tornado.httpserver import HTTPServer
    from tornado.testing import bind_unused_port

    (block,) = blocks(TEMPLATE / "README.md")
    names = run(block, {"BaseHandler": BaseHandler}, TEMPLATE / "README.md")

    class ShowHandler(BaseHandler):
        def get(self) -> None:
            self.write({"note": self.session["note"]})

    async def converse(app: App) -> None:
        await app.services.database.migrate()
        await app.start()
        socket, port = bind_unused_port(address=HOST)
        server = HTTPServer(app)
        server.add_socket(socket)
        try:
            async with client() as http:
                browser = Browser(http, f"http://{HOST}:{port}")
                answer = await browser.post("/note", note="Water the plants")
                assert (answer.status, answer.headers["Location"]) == (303, "/")
                assert "Your note is saved." in (await browser.get("/")).text
                assert (await browser.get("/show")).json == {"note": "Water the plants"}
        finally:
            server.stop()
            await app.close()

    url = f"sqlite+aiosqlite:///{tmp_path / 'app.db'}"
    app = make_app(Settings(session_engine="memory", cookie_secret=COOKIE_SECRET, database_url=url))
    app.add_handlers(".*", [(r"/note", names["NoteHandler"]), (r"/show", ShowHandler)])
    asyncio.run(converse(app))


def test_the_example_of_style_passes_its_own_tests() -> None:
    page = TEMPLATE / "CONTRIBUTING.md"
    names: dict[str, object] = {"__name__": "example"}
    for block in blocks(page):
        run(block, names, page)
    functions = [each for each in names.values() if isinstance(each, FunctionType)]
    tests = [each for each in functions if each.__name__.startswith("test_")]
    assert tests
    for test in tests:
        test()
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner()
    examples = [found for each in functions for found in finder.find(each, globs=dict(names))]
    assert sum(len(found.examples) for found in examples) > 0
    assert sum(runner.run(found).failed for found in examples) == 0
