"""settings["pycket"]: what is accepted, and how faults are told."""

from __future__ import annotations

import copy
from decimal import Decimal
from typing import Any

import pytest
from tornado.web import Application

from {{cookiecutter.project_slug}}.sessions import (
    ConfigurationError,
    SessionConfig,
    Store,
)
from {{cookiecutter.project_slug}}.sessions.engines import ENGINES

from .conftest import COOKIE_SECRET

FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"engine": None}, "engine is missing: write one of"),
    ({"engine": "memoy"}, "engine is 'memoy': write 'memory'"),
    ({"engine": "files"}, f"engine is 'files': write {' or '.join(map(repr, ENGINES))}"),
    ({"engine": 1}, "engine is 1: write"),
    ({"idle_timout": 5}, "did you mean 'idle_timeout'?"),
    ({"idle_timeout": 0}, "idle_timeout is 0: write seconds, more than 0"),
    ({"absolute_timeout": "1d"}, "absolute_timeout is '1d': write seconds"),
    ({"storage_timeout": True}, "storage_timeout is True"),
    ({"storage": []}, "storage is of type list: write a dictionary"),
    ({"storage": {"hots": "x"}}, "'hots'"),
    ({"cookies": {"secur": True}}, "did you mean 'secure'?"),
    ({"cookies": {"samesite": "Maybe"}}, "write 'Lax', 'Strict' or 'None'"),
    ({"cookies": {"samesite": "None", "secure": False}}, "'None' without 'secure'"),
    ({"cookies": {"httponly": False}}, "httponly"),
    ({"cookies": {"samesite": 5}}, "cookies['samesite'] is 5: write 'Lax'"),
    ({"cookies": {"secure": "yes"}}, "cookies['secure'] is 'yes': write True or False"),
    ({"cookies": {"path": 5}}, "cookies['path'] is 5: write a path"),
    ({"cookies": {"path": "shop"}}, "cookies['path'] is 'shop': write a path"),
    ({"cookies": {"path": "/a b"}}, "cookies['path'] is '/a b'"),
    ({"cookies": {"path": "/;x"}}, "cookies['path'] is '/;x'"),
    ({"cookies": {"domain": "a b"}}, "cookies['domain'] is 'a b': write a host"),
    ({"cookies": {"domain": 5}}, "cookies['domain'] is 5"),
    ({"cookies": {"domain": "example.com;"}}, "cookies['domain'] is 'example.com;'"),
    ({"cookies": {"domain": ""}}, "cookies['domain'] is ''"),
    ({"cookies": []}, "cookies is of type list: write a dictionary"),
    ({"cookies": {"domain": "a" * 60 + "_b.example.com"}}, "_b.example.com': write a host"),
    ({"cookies": {"partitioned": True}}, "cookies has no 'partitioned': known are domain"),
    ({"cookies": {"expires_days": -1}}, "expires_days"),
    ({"cookies": {"expires_days": "30"}}, "cookies['expires_days'] is '30'"),
    ({"cookies": {"max_age": 0}}, "cookies['max_age'] is 0"),
    ({"cookies": {"max_age": True}}, "cookies['max_age'] is True"),
    ({"cookies": {"expires_days": 1, "max_age": 86400}}, "keep one"),
    (
        {"cookies": {"expires_days": 120}},
        "the lifetime in cookies is 10368000 s, but absolute_timeout ends a session after 2592000",
    ),
    ({"idle_timeout": 31 * 86400}, "write 'absolute_timeout': 2678400 as well"),
    ({"absolute_timeout": 60, "idle_timeout": 61}, "idle_timeout is 61 s"),
    ({"idle_timeout": float("nan")}, "idle_timeout is nan"),
    ({"idle_timeout": float("inf")}, "idle_timeout is inf"),
    ({"idle_timeout": Decimal(60)}, "idle_timeout is Decimal('60'): write seconds"),
    ({"idle_timeout": 10**400}, "write seconds"),
    ({"absolute_timeout": 10**10 + 1}, "absolute_timeout is 10000000001: write seconds"),
    ({"cookies": {"expires": 1}}, "write 'expires_days'"),
    ({"cookie_name": "a b"}, "cookie_name is 'a b'"),
    ({"cookie_name": "__Host-sid", "cookies": {"domain": "example.com"}}, "needs secure"),
    ({"cookie_name": "__Host-sid", "cookies": {"path": "/shop"}}, "needs secure, path '/'"),
    ({"cookie_name": "__Secure-sid", "cookies": {"secure": False}}, "needs secure: write 'sid'"),
    ({"cookie_name": "__secure-sid", "cookies": {"secure": False}}, "needs secure"),
    ({"cookie_name": "__HOST-sid", "cookies": {"path": "/shop"}}, "needs secure, path '/'"),
    ({"cookie_name": "Version"}, "is the name of a cookie's attribute"),
    ({"cookies": {"domain": "a..b"}}, "'domain'"),
    ({"cookie_name": ""}, "cookie_name is ''"),
    ({"cookie_name": "a=b"}, "cookie_name is 'a=b'"),
    ({"cookie_name": None}, "cookie_name is None"),
    ({"key_prefix": "a:b"}, "key_prefix is 'a:b'"),
    ({"key_prefix": ""}, "key_prefix is ''"),
    ({"key_prefix": "x" * 101}, "write a short name"),
    ({"key_prefix": "app\n"}, "key_prefix is 'app"),
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


def test_every_single_fault_is_told_beside_the_others() -> None:
    wrong = _settings(
        engin="memory",
        idle_timeout=0,
        absolute_timeout=-1,
        storage_timeout="2",
        cookie_name="a b",
        key_prefix=5,
        storage={"host": "x"},
        cookies={
            "secure": 1,
            "samesite": "x",
            "path": 5,
            "domain": 5,
            "expires_days": 0,
            "max_age": -1,
            "httponly": 0,
            "nonsense": 1,
            "expires": 1,
        },
    )
    wrong["cookie_secret"] = 5
    with pytest.raises(ConfigurationError) as caught:
        SessionConfig.from_settings(wrong)
    text = str(caught.value)
    names = ["engin", "idle_timeout", "absolute_timeout", "storage_timeout", "cookie_name"]
    names += ["key_prefix", "storage", "secure", "samesite", "path", "domain", "expires_days"]
    names += ["max_age", "httponly", "nonsense", "expires", "cookie_secret", "keep one"]
    assert [name for name in names if name not in text] == []
    assert len(caught.value.faults) == len(names)


@pytest.mark.parametrize(
    "accepted",
    [
        {"idle_timeout": 60, "absolute_timeout": 60},
        {"absolute_timeout": 60},
        {"absolute_timeout": 60, "idle_timeout": 1, "cookies": {"max_age": 60}},
        {"cookies": {"expires_days": 30}},
        {"idle_timeout": 10**10, "absolute_timeout": 10**10},
        {"storage_timeout": 0.001},
        {"key_prefix": "x" * 100},
        {"cookies": {"expires_days": None, "max_age": 60}},
        {"cookies": {"expires_days": 1, "max_age": None}},
    ],
    ids=str,
)
def test_what_is_at_a_limit_is_accepted(accepted: dict[str, Any]) -> None:
    SessionConfig.from_settings(_settings(**accepted))


@pytest.mark.parametrize("samesite", [None, "", "lax", "LAX", "Lax"])
def test_samesite_none_the_python_value_means_lax(samesite: str | None) -> None:
    config = SessionConfig.from_settings(_settings(cookies={"samesite": samesite}))
    assert config.cookie.samesite == "Lax"


def test_what_the_cookie_is_set_with_is_what_the_settings_say() -> None:
    cookies = {"domain": ".example.com", "path": "/shop", "samesite": "strict", "max_age": 60}
    cookie = SessionConfig.from_settings(_settings(cookies=cookies)).cookie
    assert (cookie.name, cookie.lifetime_s) == ("sid", 60)
    assert cookie.attributes == {
        "domain": ".example.com",
        "path": "/shop",
        "secure": True,
        "samesite": "Strict",
        "httponly": True,
    }


@pytest.mark.parametrize("secret", [5, ["a"], object(), 1.5])
def test_a_secret_of_another_type_is_a_fault_that_does_not_show_it(secret: object) -> None:
    with pytest.raises(ConfigurationError, match=r"cookie_secret is of type \w+: write a str"):
        SessionConfig.from_settings({**_settings(), "cookie_secret": secret})


def test_settings_without_pycket_are_a_fault() -> None:
    with pytest.raises(ConfigurationError, match="pycket"):
        SessionConfig.from_settings({"cookie_secret": COOKIE_SECRET})


def test_a_dictionary_of_secrets_needs_to_know_which_one_signs() -> None:
    settings = {**_settings(), "cookie_secret": {1: "a" * 40}}
    with pytest.raises(ConfigurationError, match="key_version"):
        SessionConfig.from_settings(settings)
    SessionConfig.from_settings({**settings, "key_version": 1})


@pytest.mark.parametrize(
    "secrets", [{"1": "secret"}, {1: ""}, {1: b""}, {1: None}, {True: "secret"}], ids=repr
)
def test_a_dictionary_of_secrets_that_cannot_sign_is_refused(secrets: Any) -> None:
    settings = {**_settings(), "cookie_secret": secrets, "key_version": next(iter(secrets))}
    with pytest.raises(ConfigurationError, match="cookie_secret has keys by number"):
        SessionConfig.from_settings(settings)


@pytest.mark.parametrize("version", [True, 1.0, 1.5, "1", 2])
def test_a_key_version_that_names_no_secret_is_refused(version: Any) -> None:
    settings = {**_settings(), "cookie_secret": {1: "secret"}, "key_version": version}
    with pytest.raises(ConfigurationError, match=r"key_version is .*, one of \[1\]"):
        SessionConfig.from_settings(settings)


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
    assert config.key_prefix == "{{cookiecutter.project_slug}}"
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
