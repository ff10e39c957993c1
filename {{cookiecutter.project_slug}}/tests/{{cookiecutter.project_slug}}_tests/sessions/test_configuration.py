"""settings["pycket"]: what is accepted, and how faults are told."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from tornado.web import Application

from {{cookiecutter.project_slug}}.sessions import ConfigurationError, SessionConfig, Store
from {{cookiecutter.project_slug}}.sessions.engines import ENGINES

from ..conftest import COOKIE_SECRET

FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"engine": None}, "engine is missing: write one of"),
    ({"engine": "memoy"}, "engine is 'memoy': write 'memory'"),
    ({"engine": 1}, "engine is 1: write"),
    ({"idle_timout": 5}, "did you mean 'idle_timeout'?"),
    ({"idle_timeout": 0}, "idle_timeout is 0: write seconds, more than 0"),
    ({"absolute_timeout": "1d"}, "absolute_timeout is '1d': write seconds"),
    ({"storage_timeout": True}, "storage_timeout is True"),
    ({"storage": []}, "storage is []: write a dictionary"),
    ({"storage": {"hots": "x"}}, "'hots'"),
    ({"cookies": {"secur": True}}, "did you mean 'secure'?"),
    ({"cookies": {"samesite": "Maybe"}}, "write 'Lax', 'Strict' or 'None'"),
    ({"cookies": {"samesite": "None", "secure": False}}, "'None' without 'secure'"),
    ({"cookies": {"httponly": False}}, "httponly"),
    ({"cookies": {"expires_days": -1}}, "expires_days"),
    ({"cookies": {"expires": 1}}, "write 'expires_days'"),
    ({"cookie_name": "a b"}, "cookie_name is 'a b'"),
    ({"cookie_name": "__Host-sid", "cookies": {"domain": "example.com"}}, "needs secure"),
    ({"key_prefix": "a:b"}, "key_prefix is 'a:b'"),
]


def _settings(**pycket: Any) -> dict[str, Any]:
    return {"cookie_secret": COOKIE_SECRET, "pycket": {"engine": "memory", **pycket}}


@pytest.mark.parametrize(("wrong", "said"), FAULTS, ids=[said for _, said in FAULTS])
def test_a_fault_is_told_with_what_to_write(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        SessionConfig.from_settings(_settings(**wrong))
    assert len(caught.value.faults) == 1
    assert said in str(caught.value)


def test_all_faults_are_told_at_once() -> None:
    wrong = _settings(engine="x", idle_timeout=-1, cookies={"httponly": False})
    del wrong["cookie_secret"]
    with pytest.raises(ConfigurationError) as caught:
        SessionConfig.from_settings(wrong)
    assert len(caught.value.faults) == 4


def test_settings_without_pycket_are_a_fault() -> None:
    with pytest.raises(ConfigurationError, match="pycket"):
        SessionConfig.from_settings({"cookie_secret": COOKIE_SECRET})


def test_a_dictionary_of_secrets_needs_to_know_which_one_signs() -> None:
    settings = {**_settings(), "cookie_secret": {1: "a" * 40}}
    with pytest.raises(ConfigurationError, match="key_version"):
        SessionConfig.from_settings(settings)
    SessionConfig.from_settings({**settings, "key_version": 1})


def test_faults_show_when_the_store_is_opened() -> None:
    application = Application([], **_settings(engine="x"))
    with pytest.raises(ConfigurationError):
        Store.of(application)


def test_the_applications_own_dictionaries_stay_as_they_are() -> None:
    settings = _settings(storage={}, cookies={"expires_days": 1}, idle_timeout=5)
    before = copy.deepcopy(settings)
    application = Application([], **settings)
    Store.of(application)
    assert settings == before


def test_the_defaults_are_a_day_a_month_and_two_seconds() -> None:
    config = SessionConfig.from_settings(_settings())
    assert (config.idle_timeout, config.absolute_timeout) == (24 * 3600, 30 * 24 * 3600)
    assert config.storage_timeout == 2.0
    assert (config.cookie.name, config.cookie.secure) == ("__Host-sid", True)
    assert (config.cookie.samesite, config.cookie.lifetime_s) == ("Lax", None)


def test_debug_allows_plain_http() -> None:
    config = SessionConfig.from_settings({**_settings(), "debug": True})
    assert (config.cookie.name, config.cookie.secure) == ("sid", False)


def test_an_application_has_one_store() -> None:
    first, second = Application([], **_settings()), Application([], **_settings())
    assert Store.of(first) is Store.of(first)
    assert Store.of(first) is not Store.of(second)


def test_there_are_two_engines_to_choose_from() -> None:
    assert set(ENGINES) == {"memory", "{{cookiecutter.engine}}"}
