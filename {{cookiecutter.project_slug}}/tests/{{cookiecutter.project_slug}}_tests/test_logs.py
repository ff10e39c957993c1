"""Log lines: their form, their level, and the id that ties them to a request."""

from __future__ import annotations

import json
import logging
import re
import signal
from urllib.request import Request, urlopen

import pytest

from {{cookiecutter.project_slug}}.logs import JsonFormatter, new_request_id

from .app_process import Process
from .browser import Browser
from .conftest import Start
from .servers import HOST


def ask(port: int, path: str, **headers: str) -> str:
    """The X-Request-ID of the answer."""
    with urlopen(Request(f"http://{HOST}:{port}{path}", headers=headers), timeout=5) as answer:
        return str(answer.headers["X-Request-ID"])


def end(app: Process) -> list[str]:
    app.send(signal.SIGTERM)
    status, output = app.end()
    assert status == 0
    return list(output.splitlines())


def test_in_json_each_line_is_an_object_with_the_id_of_its_request(start: Start) -> None:
    app = start(LOG_FORMAT="json")
    app.first_line()
    request_id = ask(app.port, "/login?next=%2Faccount")
    entries = [json.loads(line) for line in end(app)]
    (entry,) = [each for each in entries if each["request_id"] == request_id]
    assert entry["level"] == "info"
    assert (entry["handler"], entry["method"], entry["status"]) == ("LoginHandler", "GET", 200)
    assert entry["uri"] == "/login?next=%2Faccount"
    assert entry["duration_ms"] > 0
    assert {each["request_id"] for each in entries} == {"-", request_id}


def test_an_exception_stays_on_its_line(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError("a\nb")
    except ValueError:
        logging.getLogger("app").exception("it failed\r\nforged=1")
    line = JsonFormatter().format(caplog.records[0])
    assert "\n" not in line
    assert "ValueError: a\nb" in json.loads(line)["exception"]


def test_health_checks_are_not_logged_and_pages_are_from_the_level_on(start: Start) -> None:
    app = start(LOG_LEVEL="warning")
    app.first_line()
    for path in ("/healthz", "/readyz", "/login"):
        ask(app.port, path)
    with pytest.raises(OSError, match="404"):
        ask(app.port, "/no-such-page")
    output = "\n".join(end(app))
    assert "404 GET /no-such-page" in output
    for path in ("healthz", "readyz", "/login"):
        assert path not in output


def test_a_proxys_id_goes_through_to_the_log_and_back(start: Start) -> None:
    app = start(TRUSTED_PROXIES="127.0.0.1")
    app.first_line()
    given = "1-67891233-abcdef012345678912345678"
    assert ask(app.port, "/healthz", **{"X-Request-ID": given}) == given
    assert ask(app.port, "/login", **{"X-Request-ID": given}) == given
    (line,) = [line for line in end(app) if given in line]
    assert "200 GET /login" in line


@pytest.mark.gen_test
async def test_without_a_proxy_a_visitors_id_is_not_taken(browser: Browser) -> None:
    page = await browser.get("/", headers={"X-Request-ID": "chosen-by-a-visitor"})
    assert re.fullmatch("[0-9a-f]{16}", page.headers["X-Request-ID"])


def test_an_address_that_is_no_proxy_of_ours_names_no_request(start: Start) -> None:
    app = start(TRUSTED_PROXIES="10.1.2.3")
    app.first_line()
    made = ask(app.port, "/login", **{"X-Request-ID": "chosen-by-a-visitor"})
    assert re.fullmatch("[0-9a-f]{16}", made)
    end(app)


@pytest.mark.parametrize("given", [None, "", "a b", "a\nb", "x" * 129, "é", "<script>"])
def test_an_id_that_could_forge_a_line_is_replaced(given: str | None) -> None:
    assert re.fullmatch("[0-9a-f]{16}", new_request_id(given))


def test_two_requests_have_two_ids() -> None:
    assert new_request_id(None) != new_request_id(None)
