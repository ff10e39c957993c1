"""/metrics: what is counted, that processes add up, and that no visitor chooses a label."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.testing import bind_unused_port
from tornado.websocket import WebSocketHandler, websocket_connect

from {{cookiecutter.project_slug}} import metrics
from {{cookiecutter.project_slug}}.app import App
from {{cookiecutter.project_slug}}.handlers.base import BaseHandler
from {{cookiecutter.project_slug}}.sessions import StoreUnavailable

from .app_process import SLOW, Process
from .browser import Browser
from .conftest import MakeBrowser, Start
from .servers import HOST, Server, free_port


def value_in(text: str, name: str, **labels: str) -> float:
    """The sum of the samples of `name` that have these labels."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


@pytest.fixture
def scrape(app: App, http_client: AsyncHTTPClient, io_loop: IOLoop) -> Iterator[Callable[[], Any]]:
    """Asks for /metrics of the app, whose metrics are on in this test."""
    socket, port = bind_unused_port(address=HOST)

    async def install() -> HTTPServer:
        server = HTTPServer(metrics.install(app))
        server.add_socket(socket)
        return server

    server = io_loop.run_sync(install)

    async def scrape() -> str:
        answer = await http_client.fetch(f"http://{HOST}:{port}/metrics")
        assert answer.headers["Content-Type"].startswith("text/plain")
        return answer.body.decode()

    yield scrape
    server.stop()
    io_loop.run_sync(server.close_all_connections)


@pytest.mark.gen_test
async def test_a_request_is_counted_by_its_handler_and_status(
    scrape: Callable[[], Any], browser: Browser
) -> None:
    for path in ("/", "/?a=1", "/no/such/page", "/nor/this"):
        await browser.get(path)
    text = await scrape()
    requests = "app_requests_total"
    assert value_in(text, requests, handler="HomeHandler", status="200") == 2
    assert value_in(text, requests, handler="NotFoundHandler", status="404") == 2
    assert value_in(text, "app_request_seconds_count", handler="HomeHandler") == 2
    assert "/such" not in text


@pytest.mark.gen_test
async def test_sessions_and_logins_are_counted(
    scrape: Callable[[], Any], make_browser: MakeBrowser
) -> None:
    ada, other = make_browser(), make_browser()
    await ada.register()
    await other.login(password="wrong")
    await other.login()
    await ada.post("/logout")
    text = await scrape()
    assert value_in(text, "app_events_total", event="login") == 2
    assert value_in(text, "app_events_total", event="login failed") == 1
    sessions = {
        event: value_in(text, "app_sessions_total", event=event)
        for event in ("created", "regenerated", "ended")
    }
    assert sessions["created"] - sessions["regenerated"] == 2
    assert sessions["ended"] == 1


@pytest.mark.gen_test
async def test_what_was_throttled_is_counted(scrape: Callable[[], Any], browser: Browser) -> None:
    await browser.register()
    await browser.post("/logout")
    for _ in range(7):
        page = await browser.login(password="wrong")
    assert page.status == 429
    assert value_in(await scrape(), "app_events_total", event="throttled") == 2


@pytest.mark.gen_test
async def test_an_event_of_your_own_is_counted(app: App, scrape: Callable[[], Any]) -> None:
    app.count("order placed")
    text = await scrape()
    assert value_in(text, "app_events_total", event="order placed") == 1


@pytest.mark.gen_test
async def test_calls_of_the_store_are_counted_by_verb_and_outcome(
    app: App, scrape: Callable[[], Any], browser: Browser
) -> None:
    await browser.post("/", text="Buy tea")
    text = await scrape()
    assert value_in(text, "app_store_operations_total", verb="write", outcome="ok") > 0
    assert value_in(text, "app_store_seconds_count", verb="write") > 0
    assert value_in(text, "app_store_operations_total", outcome="unavailable") == 0
    await app.services.store.sessions.load("no such record")
    text = await scrape()
    assert value_in(text, "app_store_operations_total", verb="load", outcome="none") == 1


@pytest.mark.gen_test
async def test_a_store_that_does_not_answer_is_counted(app: App) -> None:
    async def load(key: str) -> None:
        raise StoreUnavailable("nowhere", "it is broken")

    app.services.store.sessions.load = load  # type: ignore[method-assign]
    counted = metrics.Metrics()
    counted.watch_store(app.services.store)
    with pytest.raises(StoreUnavailable):
        await app.services.store.sessions.load("key")
    labels = {"verb": "load", "outcome": "unavailable"}
    assert counted.registry.get_sample_value("app_store_operations_total", labels) == 1


@pytest.mark.gen_test
async def test_what_waits_and_what_is_open_is_looked_at(
    app: App, scrape: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    while value_in(text := await scrape(), "app_event_loop_lag_seconds_count") == 0:
        await asyncio.sleep(0.02)
    assert value_in(text, "app_open_files") > 3
    assert value_in(text, "app_max_open_files") > value_in(text, "app_open_files")
    assert "app_hashing_queue 0.0" in text


class Socket(BaseHandler, WebSocketHandler):
    pass


@pytest.mark.gen_test
async def test_open_websockets_are_in_flight_and_no_shutdown_waits_for_them(
    app: App, scrape: Callable[[], Any], base_url: str
) -> None:
    app.add_handlers(".*", [("/socket", Socket)])
    connection = await websocket_connect(base_url.replace("http", "ws") + "/socket")
    while value_in(await scrape(), "app_requests_in_flight") != 1:
        await asyncio.sleep(0.02)
    began = time.monotonic()
    await app.drain(10)
    assert time.monotonic() - began < 5
    connection.close()
    while value_in(await scrape(), "app_requests_in_flight") != 0:
        await asyncio.sleep(0.02)


@pytest.mark.gen_test
async def test_a_process_without_a_file_left_is_seen_to_be_at_its_limit(
    scrape: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def list_none(path: str) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "listdir", list_none)
    while value_in(text := await scrape(), "app_max_open_files") == 0:
        await asyncio.sleep(0.02)
    assert value_in(text, "app_open_files") == value_in(text, "app_max_open_files")


@pytest.mark.gen_test
async def test_a_blocked_event_loop_is_seen(scrape: Callable[[], Any]) -> None:
    await asyncio.sleep(0)
    time.sleep(metrics.look_every_s + 0.3)  # noqa: ASYNC251 - it is the fault
    while value_in(text := await scrape(), "app_event_loop_lag_seconds_count") == 0:
        await asyncio.sleep(0.02)
    assert value_in(text, "app_event_loop_lag_seconds_sum") >= 0.25


@pytest.mark.gen_test
async def test_the_port_of_the_pages_has_no_such_page(
    scrape: Callable[[], Any], browser: Browser
) -> None:
    assert (await browser.get("/metrics")).status == 404


def test_a_busy_port_of_the_metrics_is_one_line_that_names_it(start: Start) -> None:
    taken, port = bind_unused_port(address=HOST)
    with taken:
        status, output = start(METRICS_PORT=str(port)).end()
    assert status == 1
    assert f"port {port} is in use" in output
    assert f"write METRICS_PORT={port + 1}" in output


def test_processes_add_up_and_one_that_is_killed_takes_nothing_away(
    start: Start, server: Server, tmp_path: Path
) -> None:
    ((name, where),) = server.options.items()
    port = free_port()
    app = start(
        program=["-c", SLOW],
        PROCESSES="2",
        SESSION_ENGINE="{{cookiecutter.engine}}",
        METRICS_PORT=str(port),
        TMPDIR=str(tmp_path),
        **{name.upper(): where if isinstance(where, str) else ",".join(where)},
    )
    first, _ = pid_of_next_process(app), pid_of_next_process(app)
    for _ in range(20):
        read("/login", app.port)
    (folder,) = tmp_path.glob("metrics-*")
    wait_for_logins_shown(port, 20)
    os.kill(first, signal.SIGKILL)
    pid_of_next_process(app)
    read("/login", app.port)
    wait_for_logins_shown(port, 21)
    assert not list(folder.glob(f"gauge_live*_{first}.db"))
    app.send(signal.SIGTERM)
    assert app.end()[0] == 0
    assert not folder.exists()


def pid_of_next_process(app: Process) -> int:
    while not (line := app.first_line()).startswith("serving "):
        assert line, "it ended"
    return int(line.split()[1])


def read(path: str, port: int) -> str:
    with urlopen(f"http://{HOST}:{port}{path}", timeout=5) as answer:
        text: str = answer.read().decode()
        return text


def wait_for_logins_shown(port: int, expected: int) -> None:
    """A request is counted just after it was answered."""
    for _ in range(200):
        shown = value_in(read("/metrics", port), "app_requests_total", handler="LoginHandler")
        if shown == expected:
            return
        time.sleep(0.05)
    raise AssertionError(shown)
