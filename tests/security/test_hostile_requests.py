"""Forms and cookies that no browser would send: whatever comes, it is no 500 and no traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ..promises.servers import Server
from .process import COOKIE, FORM, App, Start, Visitor

PATHS = [
    "/",
    "/register",
    "/login",
    "/logout",
    "/account",
    "/account/delete",
    "/account/sessions/end",
    "/account/sessions/end-others",
]
FIELDS = ["username", "password", "new_password", "next", "text", "handle", "remember"]
anything = st.binary(max_size=200) | st.text(max_size=200).map(str.encode)
tricky = st.sampled_from(
    [
        b"",
        b"\x00",
        b"a\x00b",
        b"\xff\xfe",
        b"\xed\xa0\x80",
        b"%",
        b"'\";--",
        b"{{7*7}}",
        b"x" * 5000,
        "\ufdfa".encode() * 300,
        "\u202e\u200b".encode(),
        b"\r\nSet-Cookie: a=b",
    ]
)
forms = st.lists(st.tuples(st.sampled_from(FIELDS), tricky | anything), max_size=6)


@pytest.fixture(scope="module")
def app(project: Path, store: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    app = App(project, tmp_path_factory.mktemp("app"), environment=store.environment)
    yield app
    app.stop()


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(path=st.sampled_from(PATHS), form=forms, known=st.booleans())
def test_06_a_form_of_any_bytes_is_answered_without_a_500(
    app: App, path: str, form: list[tuple[str, bytes]], known: bool
) -> None:
    body = "&".join(f"{name}={quote_from_bytes(value)}" for name, value in form).encode()
    visitor = Visitor(app)
    if known:
        visitor.post("/", text="so that there is a session")
    answer = visitor.send("POST", path, body, FORM)
    assert answer.status < 500
    assert all(COOKIE in header for header in answer.headers.get_all("Set-Cookie", []))
    assert "Traceback" not in app.log


@settings(max_examples=150, deadline=None)
@given(value=anything | tricky, body=anything, kind=st.sampled_from([*FORM.values(), "a/b", ""]))
def test_06_a_cookie_or_body_of_any_bytes_is_answered_without_a_500(
    app: App, value: bytes, body: bytes, kind: str
) -> None:
    cookie = value.translate(None, b"\r\n").decode("latin-1")
    headers = {"Cookie": f"{COOKIE}={cookie}", "Content-Type": kind}
    with suppress(ConnectionError):  # Tornado hangs up on bad headers, without reading the body
        assert Visitor(app).send("POST", "/login", body, headers).status < 500
    assert "Traceback" not in app.log


def test_a_multipart_form_is_no_way_around(start: Start) -> None:
    app = start()
    for body in (b"", b"--x", b"--x\r\n\r\n", b"--x\r\nContent-Disposition: a\r\n\r\nb\r\n--x--"):
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        assert Visitor(app).send("POST", "/login", body, headers).status < 500
    assert "Traceback" not in app.log
