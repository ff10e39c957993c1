"""What all requests of an application share, as a job or a script may use it too."""

from __future__ import annotations

import re

import pytest
from tornado.web import Application

from {{cookiecutter.project_slug}}.sessions import Store, StoreUnavailable
from {{cookiecutter.project_slug}}.sessions.cookie import id_of, new_token

from .conftest import COOKIE_SECRET


@pytest.fixture
def store() -> Store:
    return Store({"pycket": {"engine": "memory"}, "cookie_secret": COOKIE_SECRET})


@pytest.fixture
def now(store: Store) -> list[float]:
    """The store's clock, which stands still until a test moves it."""
    now = [1000.0]
    store.clock = lambda: now[0]
    return now


def test_an_outage_is_logged_once_a_second_for_each_cause(
    store: Store, now: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    for at, cause in ((0, "a"), (0.9, "a"), (0.9, "b"), (1.0, "a"), (1.8, "b"), (1.9, "b")):
        now[0] = 1000 + at
        store.log_outage(StoreUnavailable("the store", cause))
    assert caplog.messages == [f"session store the store: {cause}" for cause in "abab"]


def test_an_outage_is_not_forgotten_because_another_is_logged(
    store: Store, now: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    for at, cause in ((0, "a"), (0.1, "b"), (0.2, "a")):
        now[0] = 1000 + at
        store.log_outage(StoreUnavailable("the store", cause))
    assert len(caplog.messages) == 2


def test_an_outage_is_logged_though_the_clock_was_set_back(
    store: Store, now: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    for now[0] in (1000.0, 10.0):
        store.log_outage(StoreUnavailable("the store", "a"))
    assert len(caplog.messages) == 2


def test_an_outage_is_logged_with_its_cure(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    store.log_outage(StoreUnavailable("the store", "it is full", "give it more memory"))
    assert caplog.messages == ["session store the store: it is full (give it more memory)"]
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_an_alias_is_twelve_digits_that_differ_by_session_and_by_secret(store: Store) -> None:
    session_id, other_id = id_of(new_token()), id_of(new_token())
    other_app = Store({"pycket": {"engine": "memory"}, "cookie_secret": "another secret"})
    assert re.fullmatch("[0-9a-f]{12}", store.alias(session_id))
    assert store.alias(session_id) not in session_id
    assert store.alias(session_id) == store.alias(session_id)
    assert len({store.alias(session_id), store.alias(other_id), other_app.alias(session_id)}) == 3


@pytest.mark.parametrize("version", [1, 2])
def test_an_alias_goes_by_the_secret_that_signs(version: int) -> None:
    secrets = {1: "first secret", 2: "second secret"}
    rotating = Store(
        {"pycket": {"engine": "memory"}, "cookie_secret": secrets, "key_version": version}
    )
    single = Store({"pycket": {"engine": "memory"}, "cookie_secret": secrets[version]})
    assert rotating.alias("id") == single.alias("id")


def test_a_store_that_was_made_before_its_application_is_used_in_it(store: Store) -> None:
    application = Application([], cookie_secret=COOKIE_SECRET, pycket={"engine": "memory"})
    store.use_in(application)
    assert Store.of(application) is store


@pytest.mark.parametrize("name", ["idle_timeout", "engine", "cookie"])
def test_a_configuration_does_not_change_once_it_is_checked(store: Store, name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(store.config, name, 1)
    with pytest.raises(AttributeError):
        setattr(store.config.cookie, "secure", False)  # noqa: B010 - mypy knows that it fails


@pytest.mark.gen_test
async def test_a_ping_says_once_what_is_wrong_with_both_engines(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(prefix: str, within_s: float) -> list[StoreUnavailable]:
        asked.append((prefix, within_s))
        return [StoreUnavailable("one", "full"), StoreUnavailable("two", "full")]

    asked: list[tuple[str, float]] = []
    for records in (store.sessions, store.notifications):
        monkeypatch.setattr(records, "ping", fail)
    assert [error.address for error in await store.ping()] == ["one", "two"]
    await store.ping(0.5)
    prefix = "{{cookiecutter.project_slug}}:ping:try"
    assert asked == [(prefix, 2.0)] * 2 + [(prefix, 0.5)] * 2
