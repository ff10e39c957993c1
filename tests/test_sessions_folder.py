"""`sessions/` is a unit: no answer changes it, it needs nothing of the app, and it runs elsewhere."""

from __future__ import annotations

import ast
import json
import re
import shutil
import sys
from pathlib import Path
from typing import TypeGuard

import pytest
import tornado.httputil
import tornado.web
import tornado.websocket

from .conftest import ENGINES, Bake, run, tree
from .generation.test_output import DIFFERENT_ANSWERS
from .promises.servers import started

LIBRARIES = {
    "redis": {"hiredis", "msgspec", "redis", "tornado"},
    "memcached": {"memcache", "msgspec", "tornado"},
}

# pycket's two ways, as its README has them, in an app that consists of this file and the folder.
APP = """
import asyncio, json, sys
import tornado.web
from tornado.httpclient import AsyncHTTPClient
from tornado.testing import bind_unused_port
from tornado.httpserver import HTTPServer
from sessions import NotificationMixin, SessionManager, SessionMixin, Store

class MyHandler(SessionMixin, NotificationMixin, tornado.web.RequestHandler):
    async def get(self):
        self.session.set("foo", ["bar", "baz"])
        self.session["gimme"] = "Fire!"
        self.notifications.set("done", "Saved.")
        self.write({"foo": self.session.get("foo")})

class OtherHandler(tornado.web.RequestHandler):
    async def get(self):
        async with SessionManager(self) as session:
            session["count"] = session.get("count", 0) + 1
            found = dict(session)
        self.write(found)

class ReadOnceHandler(NotificationMixin, tornado.web.RequestHandler):
    async def get(self):
        self.write({"done": await self.notifications.get("done", "nothing")})

async def main():
    application = tornado.web.Application(
        [("/", MyHandler), ("/other", OtherHandler), ("/once", ReadOnceHandler)],
        cookie_secret="an empty app has one as well",
        pycket=json.loads(sys.argv[1]),
    )
    socket, port = bind_unused_port()
    server = HTTPServer(application)
    server.add_socket(socket)
    cookie = ""
    for path in ("/", "/other", "/other", "/once", "/once"):
        page = await AsyncHTTPClient().fetch(
            f"http://127.0.0.1:{port}{path}", headers={"Cookie": cookie} if cookie else {}
        )
        cookie = page.headers.get("Set-Cookie", cookie).partition(";")[0]
        print(page.body.decode())
    server.stop()
    await Store.of(application).close()

asyncio.run(main())
"""


def folder(project: Path) -> Path:
    return project / project.name / "sessions"


@pytest.mark.parametrize("engine", ENGINES)
def test_no_answer_but_the_engine_changes_a_byte_of_it(bake: Bake, engine: str) -> None:
    default = bake("default", engine=engine)
    other = bake("other", **{**DIFFERENT_ANSWERS, "engine": engine})
    assert tree(folder(other)) == tree(folder(default))


def test_the_engine_changes_only_the_folder_of_engines(bake: Bake) -> None:
    one, other = (
        {
            path: code
            for path, code in tree(folder(bake(engine, engine=engine))).items()
            if not path.startswith("engines/")
        }
        for engine in ENGINES
    )
    assert one == other


def test_it_has_a_version(project: Path) -> None:
    code = (folder(project) / "__init__.py").read_text()
    assert re.search(r'^__version__ = "\d+\.\d+(\.\d+)?"$', code, re.MULTILINE)


@pytest.mark.parametrize("engine", ENGINES)
def test_it_imports_only_its_libraries(bake: Bake, engine: str) -> None:
    imported = set()
    root = folder(bake(engine=engine))
    for path in root.rglob("*.py"):
        depth = len(path.relative_to(root).parts)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level <= depth, f"{path} imports from the app"
                if node.level == 0:
                    imported.add(str(node.module).partition(".")[0])
    assert imported - set(sys.stdlib_module_names) == LIBRARIES[engine]


@pytest.mark.parametrize("engine", ENGINES)
def test_only_handler_uses_private_names_of_tornado_and_nothing_those_of_others(
    bake: Bake, engine: str
) -> None:
    tornados = {
        name
        for module in (tornado.httputil, tornado.web, tornado.websocket)
        for name in re.findall(r"\bself\.(_[a-z]\w*)", Path(module.__file__).read_text())
    }
    assert {"_finished", "_headers"} <= tornados
    found = {}
    for path in folder(bake(engine=engine)).rglob("*.py"):
        used = {each for each in ast.walk(ast.parse(path.read_text())) if is_private(each)}
        of_itself = ("self", "cls", "super()")
        own = {each.attr for each in used if ast.unparse(each.value) in of_itself} | {"_replace"}
        names = {each.attr for each in used}
        found[path.name] = names & tornados | names - own
    assert "_finished" in found.pop("handler.py")
    assert not any(found.values()), found


def is_private(node: ast.AST) -> TypeGuard[ast.Attribute]:
    return isinstance(node, ast.Attribute) and bool(re.match("_[^_]", node.attr))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_it_runs_in_an_empty_app(bake: Bake, engine: str, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    shutil.copytree(folder(bake(engine=engine)), empty / "sessions")
    (empty / "app.py").write_text(APP)
    with started(engine) as server:
        settings = json.dumps({"engine": engine, "storage": server.storage})
        done = run(sys.executable, "-W", "error", "app.py", settings, cwd=empty)
    assert done.returncode == 0, done.stderr
    foo = {"foo": ["bar", "baz"]}
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        foo,
        {**foo, "gimme": "Fire!", "count": 1},
        {**foo, "gimme": "Fire!", "count": 2},
        {"done": "Saved."},
        {"done": "nothing"},
    ]
