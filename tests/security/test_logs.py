"""What a reader of the log learns, over a whole journey."""

from __future__ import annotations

import base64
import hashlib
import re
import socket
from typing import Any

from ..promises.servers import HOST, Server
from .process import COOKIE, Start, Visitor
from .test_store import signed

EVENT = r"session ([0-9a-f]{12}|-): %s request=[0-9a-f]{16} address=127\.0\.0\.1$"


def test_23_the_events_of_a_journey_are_logged_and_no_secret_is(
    start: Start, store: Server
) -> None:
    app = start(**store.environment)
    secrets = {"correct horse", "another horse", "a wrong guess", "wrong-box", "my private note"}
    texts: list[str] = []
    ada, other, thief = Visitor(app), Visitor(app), Visitor(app)

    def go(visitor: Visitor, path: str, **fields: Any) -> None:
        answer = visitor.post(path, **fields) if fields else visitor.get(path)
        texts.append(answer.text)
        if value := visitor.jar.get(COOKIE):
            token = base64.b64decode(value.split("|")[4].partition(":")[2]).decode()
            id_ = token.partition(".")[0]
            hashed = hashlib.sha256(id_.encode())
            tokens.update([value, token, id_, hashed.hexdigest(), hashed.hexdigest()[:12]])

    tokens: set[str] = set()
    go(ada, "/", text="my private note")
    go(ada, "/register", username="ada", password="correct horse")
    go(other, "/login", username="wrong-box", password="a wrong guess")
    go(other, "/login", username="ada", password="correct horse", remember="1")
    thief.jar.update(other.jar)
    go(ada, "/account")
    go(ada, "/account", password="a wrong guess", new_password="another horse")
    go(ada, "/account", password="correct horse", new_password="another horse")
    go(thief, "/account")
    thief.jar.update(ada.jar)
    go(ada, "/logout", really="yes")
    go(thief, "/")
    thief.jar[COOKIE] = signed(app.package, "x" * 43)
    go(thief, "/")
    for _ in range(6):
        go(ada, "/login", username="ada", password="a wrong guess")
    go(ada, "/account/delete?password=", password="a wrong guess")
    for _ in range(3):
        go(ada, "/no such page".replace(" ", "%20"))
    app.stop()

    for event in (
        "created",
        "regenerated to [0-9a-f]{12}",
        "login failed",
        "password change refused, wrong current password",
        "came with an id that has ended",
        "unknown id",
        "destroyed",
        "throttled, too many failures for one account",
    ):
        assert re.search(EVENT % event, app.log, re.MULTILINE), event
    # An owner's sessions can be ended without a request, as well.
    assert re.search(r"session [0-9a-f]{12}: destroyed from elsewhere$", app.log, re.MULTILINE)
    for secret in secrets | tokens:
        assert secret not in app.log
    for text in texts:
        assert not any(each in text for each in tokens)
    assert "Traceback" not in app.log


def test_23_a_header_that_tornado_refuses_is_not_quoted(start: Start) -> None:
    app = start()
    visitor = Visitor(app)
    visitor.register()
    value = visitor.jar[COOKIE]
    for odd in (b"x=\x00", b"x=\x1b'", b'x="\x7f'):
        with socket.create_connection((HOST, app.port), timeout=10) as connection:
            header = b"Cookie: " + odd + f"; {COOKIE}={value}".encode()
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + header + b"\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 400 ")
    assert app.log.count("Malformed HTTP message from 127.0.0.1: Invalid header value") == 3
    assert value not in app.log


def test_23_a_failure_of_the_store_shows_no_id(start: Start, store: Server) -> None:
    from ..promises.servers import started

    with started(store.engine) as own:
        app = start(**own.environment)
        visitor = Visitor(app)
        visitor.register()
        own.kill()
        answer = visitor.get("/account")
    assert answer.status == 503
    value = visitor.jar[COOKIE]
    token = base64.b64decode(value.split("|")[4].partition(":")[2]).decode()
    for text in (app.log, answer.text):
        assert value not in text
        assert token not in text
        assert hashlib.sha256(token.encode()).hexdigest() not in text
