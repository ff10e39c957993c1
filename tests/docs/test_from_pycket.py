"""docs/from-pycket.md is true: `sessions/`, copied by itself, runs its examples on real servers."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application

from ..conftest import TEMPLATE
from ..promises.browser import Browser, client
from ..promises.generated import COOKIE_SECRET, PROJECT
from ..promises.pycket_losses import installed
from ..promises.servers import ENGINES, HOST, Server, free_port, started, wait_for
from .pages import blocks, run

PAGE = TEMPLATE / "docs" / "from-pycket.md"


@pytest.fixture(params=ENGINES)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with started(request.param) as server:
        yield server


@pytest.fixture
def sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The folder by itself, as a package of an app that has nothing else."""
    shutil.copytree(PROJECT / "promised" / "sessions", tmp_path / "sessions")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("COOKIE_SECRET", COOKIE_SECRET)
    import sessions  # type: ignore[import-not-found]  # it is in no place that mypy knows

    yield sessions
    for name in [name for name in sys.modules if re.match(r"sessions(\.|$)", name)]:
        del sys.modules[name]


def at(server: Server, code: str) -> str:
    """Return a block with the addresses of the test's server."""
    code = code.replace("localhost:11211", f"{HOST}:{server.port}")
    return code.replace('"localhost"', f'"{HOST}"').replace("6379", str(server.port))


def names_of_the_page(server: Server) -> dict[str, Any]:
    """Run its blocks, one after the other, in one place. The last is an app of its own."""
    names: dict[str, Any] = {}
    for block in blocks(PAGE)[:-1]:
        run(at(server, block), names, PAGE)
    return names


def visit(
    application: Application, store: Any, *steps: tuple[str, str, dict[str, str]]
) -> list[str]:
    """Send requests from one browser, and return what the pages say."""

    async def send() -> list[str]:
        socket, port = bind_unused_port(address=HOST)
        served = HTTPServer(application)
        served.add_socket(socket)
        try:
            async with client() as http:
                browser = Browser(http, f"http://{HOST}:{port}")
                pages = []
                for method, path, form in steps:
                    if method == "POST":
                        page = await browser.post(path, **form)
                        assert page.status == 302
                    else:
                        page = await browser.get(path)
                        assert page.status == 200
                    pages.append(page.text)
                return pages
        finally:
            served.stop()
            await store.close()

    return asyncio.run(send())


def test_every_example_does_what_the_page_says(server: Server, sessions: Any) -> None:
    application = names_of_the_page(server)[f"app_on_{server.engine}"]()
    assert visit(
        application,
        sessions.Store.of(application),
        ("GET", "/", {}),
        ("GET", "/manager", {}),
        ("GET", "/dictionary", {}),
        ("POST", "/notification", {}),
        ("GET", "/notification", {}),
        ("GET", "/notification", {}),
    ) == [
        '{"foo": ["bar", "baz"]}',
        '{"foo": ["bar", "baz"]}',
        '{"absent": "so give me this instead", "gimme": "Fire!"}',
        "",
        '{"done": "Saved."}',
        '{"done": ""}',
    ]


def test_the_other_order_of_bases_is_refused_with_what_to_write(sessions: Any) -> None:
    pycket = blocks(PAGE, "py")[0]
    with pytest.raises(TypeError, match=r"class MyHandler\(SessionMixin, RequestHandler\)"):
        run("import tornado.web\nfrom sessions import SessionMixin\n" + pycket, {}, PAGE)


def test_pyckets_own_settings_are_refused_with_a_cure_that_works(
    server: Server, sessions: Any
) -> None:
    made = names_of_the_page(server)[f"app_on_{server.engine}"]()
    pycket = dict(made.settings["pycket"])
    limit = pycket.pop("absolute_timeout")
    with pytest.raises(sessions.ConfigurationError) as refused:
        sessions.Store({**made.settings, "pycket": pycket})
    cure = re.search(r"write 'absolute_timeout': (\d+) as well", str(refused.value))
    assert cure is not None
    assert int(cure[1]) == limit
    sessions.Store({**made.settings, "pycket": {**pycket, "absolute_timeout": int(cure[1])}})


REFUSED = {"max_connections": 2**31, "db": 3, "socket_timeout": 1, "retry_on_timeout": True}


@pytest.mark.parametrize("name", REFUSED)
def test_a_setting_that_could_not_take_effect_is_refused(sessions: Any, name: str) -> None:
    storage = {name: REFUSED[name]}
    with pytest.raises(sessions.ConfigurationError, match=rf"'{name}', in vain: "):
        sessions.Store(
            {"cookie_secret": COOKIE_SECRET, "pycket": {"engine": "redis", "storage": storage}}
        )


@pytest.mark.slow
def test_the_small_app_says_the_same_before_and_after(tmp_path: Path, sessions: Any) -> None:
    steps = (("GET", "/", {}), ("POST", "/", {"name": "Ada"}), ("GET", "/", {}), ("GET", "/", {}))
    said = [
        "Hello, stranger! ",
        "",
        "Hello, Ada! We will remember you.",
        "Hello, Ada! ",
    ]
    with started("redis") as server:
        after = run(at(server, blocks(PAGE)[-1]), {}, PAGE)["application"]
        assert visit(after, sessions.Store.of(after), *steps) == said
        with pycket_serving(at(server, blocks(PAGE, "py")[-1]), tmp_path) as url:
            assert asyncio.run(visit_pycket(url, steps)) == said


SERVE = """
import asyncio, sys

async def main():
    application.listen(int(sys.argv[1]), sys.argv[2])
    await asyncio.Event().wait()

asyncio.run(main())
"""


@contextmanager
def pycket_serving(code: str, folder: Path) -> Iterator[str]:
    """Serve an application of pycket, in an environment of its own."""
    program = folder / "before.py"
    program.write_text(code + SERVE)
    port = free_port()
    python = installed(TEMPLATE / "build" / "pycket")
    process = subprocess.Popen([python, program, str(port), HOST], stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: answers(port), "pycket's application")
        yield f"http://{HOST}:{port}"
    finally:
        process.kill()
        process.wait()


def answers(port: int) -> bool:
    import socket

    with socket.socket() as connection:
        return connection.connect_ex((HOST, port)) == 0


async def visit_pycket(url: str, steps: Any) -> list[str]:
    """As `visit`. pycket sets its cookie more than once, and the last one counts."""
    from http.cookies import SimpleCookie

    from tornado.httpclient import AsyncHTTPClient, HTTPRequest

    http, jar, pages = AsyncHTTPClient(force_instance=True), SimpleCookie(), []
    for method, path, form in steps:
        body = "&".join(f"{name}={value}" for name, value in form.items()) if form else None
        headers = {"Cookie": jar.output(header="", attrs=[], sep=";").strip()}
        request = HTTPRequest(url + path, method, headers, body, follow_redirects=False)
        page = await http.fetch(request, raise_error=False)
        for header in page.headers.get_list("Set-Cookie"):
            jar.load(header)
        pages.append(page.body.decode() if method == "GET" else "")
    return pages
