"""docs/metrics.md of a project: its table names the metrics that exist, and its recipe traces."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port

from ..conftest import TEMPLATE
from ..promises import generated  # noqa: F401 - renders the package `promised`
from ..promises.browser import Browser, client
from ..promises.generated import COOKIE_SECRET
from ..promises.servers import HOST
from .pages import blocks, run

PAGE = TEMPLATE / "{{cookiecutter.project_slug}}" / "docs" / "metrics.md"


def test_the_table_names_every_metric_and_no_other() -> None:
    from promised.metrics import Metrics

    rows = re.findall(r"^\| (`app_.*?) \|", PAGE.read_text(), re.MULTILINE)
    named = set(re.findall(r"app_\w+", " ".join(rows)))
    ending = {"counter": "_total"}
    assert named == {
        family.name + ending.get(family.type, "") for family in Metrics().registry.collect()
    }


def test_the_recipe_makes_a_span_of_each_request(tmp_path: Path) -> None:
    from promised.app import App, make_app
    from promised.settings import Settings

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    names = {"App": App, "Tracer": object, "RequestHandler": object, "time": time}
    (block,) = blocks(PAGE, "py")
    traced = run(block, names, PAGE)["traced"]
    url = f"sqlite+aiosqlite:///{tmp_path / 'app.db'}"
    app = make_app(Settings(session_engine="memory", cookie_secret=COOKIE_SECRET, database_url=url))

    async def converse() -> None:
        await app.services.database.migrate()
        await app.start()
        socket, port = bind_unused_port(address=HOST)
        server = HTTPServer(app)
        server.add_socket(socket)
        traced(app, provider.get_tracer("test"))
        try:
            async with client() as http:
                assert (await Browser(http, f"http://{HOST}:{port}").get("/login")).status == 200
        finally:
            server.stop()
            await app.close()

    asyncio.run(converse())
    (span,) = exporter.get_finished_spans()
    assert span.name == "LoginHandler"
    assert span.attributes == {"http.response.status_code": 200}
    assert span.end_time > span.start_time
