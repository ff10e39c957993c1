"""What a request is worth that comes with the id of before a login, a logout or a new password."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..promises.servers import Server
from .process import COOKIE, App, Start, Visitor


@pytest.fixture
def apps(start: Start, store: Server, tmp_path: Path) -> tuple[App, App]:
    """Two processes of the app on one store and one database."""
    shared = {**store.environment, "DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path}/app.db"}
    return start(**shared), start(**shared)


def second_tab(visitor: Visitor, app: App) -> Visitor:
    """The same browser at another process, with the cookies that it has now."""
    tab = Visitor(app)
    tab.jar.update(visitor.jar)
    return tab


def check_neither_sets_nor_clears(late: Visitor) -> None:
    """Let a late tab read, write, and log out."""
    jar = dict(late.jar)
    for path in ("/", "/account", "/login"):
        answer = late.get(path)
        assert answer.status in (200, 302, 303)
        assert "ada" not in answer.text.lower()
        assert "Set-Cookie" not in answer.headers
    answer = late.post("/", text="a note that would never be seen")
    assert answer.status == 409
    assert "Set-Cookie" not in answer.headers
    answer = late.post("/logout")
    assert answer.status == 303
    assert "Set-Cookie" not in answer.headers
    assert late.jar == jar


def test_37_an_id_from_before_a_login_neither_sets_nor_clears_a_cookie(
    apps: tuple[App, App],
) -> None:
    one, other = apps
    Visitor(one).register()
    visitor = Visitor(one)
    visitor.post("/", text="so that there is a session")
    late = second_tab(visitor, other)
    assert visitor.login().status == 303
    check_neither_sets_nor_clears(late)
    assert visitor.logged_in
    assert second_tab(visitor, other).logged_in
    assert "a note that would never be seen" not in visitor.get("/").text


def test_37_an_id_from_before_a_logout_neither_sets_nor_clears_a_cookie(
    apps: tuple[App, App],
) -> None:
    one, other = apps
    visitor = Visitor(one)
    visitor.register()
    late = second_tab(visitor, other)
    assert visitor.post("/logout").status == 303
    # The browser begins anew; the late tab must not touch what it has now.
    visitor.post("/", text="the next note")
    check_neither_sets_nor_clears(late)
    assert "the next note" in visitor.get("/").text


def test_37_a_login_with_an_id_from_before_another_login_begins_a_session_of_its_own(
    apps: tuple[App, App],
) -> None:
    one, other = apps
    visitor = Visitor(one)
    visitor.register()
    late = second_tab(visitor, other)
    assert visitor.login().status == 303
    assert late.login().status == 303
    assert visitor.logged_in
    assert late.logged_in
    assert visitor.jar[COOKIE] != late.jar[COOKIE]
