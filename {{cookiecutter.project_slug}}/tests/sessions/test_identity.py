"""The session's cookie: what is signed is read, and nothing else."""

from __future__ import annotations

import logging
import random
import time

import pytest
from tornado.web import create_signed_value, decode_signed_value

from {{cookiecutter.project_slug}}.sessions.identity import CookieSigner, hashed, mint

SECRET = "only-for-tests-" + "0123456789abcdef" * 2
NOW = time.time()


@pytest.fixture
def signer() -> CookieSigner:
    return CookieSigner("sid", SECRET, None)


def test_what_is_signed_is_read(signer: CookieSigner) -> None:
    token = mint()
    cookie = signer.read(f"sid={signer.sign(token, None, NOW)}")
    assert cookie is not None
    assert (cookie.token, cookie.id) == (token, hashed(token))
    assert (cookie.signed_at, cookie.lifetime_s) == (int(NOW), None)


def test_a_lifetime_is_signed_too(signer: CookieSigner) -> None:
    cookie = signer.read(f"sid={signer.sign(mint(), 86400, NOW)}")
    assert cookie is not None
    assert cookie.lifetime_s == 86400


@pytest.mark.parametrize(
    "header", ["sid={}", 'sid="{}"', "a=1; sid={}", "a=1;sid={};b=2", 'theme="dark"; sid={}; c=3']
)
def test_it_is_found_among_other_cookies(signer: CookieSigner, header: str) -> None:
    assert signer.read(header.format(signer.sign(mint(), None, NOW))) is not None


@pytest.mark.parametrize("header", ["xsid={}", "sid ={}", "sid=a{}", "sid={}a", "a=sid={}"])
def test_it_is_not_found_in_other_cookies(signer: CookieSigner, header: str) -> None:
    assert signer.read(header.format(signer.sign(mint(), None, NOW))) is None


@pytest.mark.parametrize("header", [None, "", "sid", "sid=", ";;;", "sid=" + "2|1:0|" * 20000])
def test_anything_else_is_nobody(signer: CookieSigner, header: str | None) -> None:
    assert signer.read(header) is None


def test_a_cookie_of_another_name_or_secret_is_refused(signer: CookieSigner) -> None:
    for other in (CookieSigner("admin", SECRET, None), CookieSigner("sid", "x" * 40, None)):
        assert signer.read(f"sid={other.sign(mint(), None, NOW)}") is None


def test_a_signed_value_that_is_no_token_is_refused(signer: CookieSigner) -> None:
    for value in ("1", "x" * 42, "x" * 44, "x" * 43 + ".", "x" * 43 + ".-1", "\u00e9" * 43):
        signed = create_signed_value(SECRET, "sid", value).decode()
        assert signer.read(f"sid={signed}") is None


def test_tornado_reads_what_is_signed_and_the_other_way_round(signer: CookieSigner) -> None:
    token = mint()
    assert decode_signed_value(SECRET, "sid", signer.sign(token, None, NOW)) == token.encode()
    assert signer.read(f"sid={create_signed_value(SECRET, 'sid', token).decode()}") is not None


def test_a_mangled_cookie_that_tornado_refuses_is_refused(
    signer: CookieSigner, caplog: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(1)
    good = signer.sign(mint(), None, NOW)
    with caplog.at_level(logging.CRITICAL, "tornado.general"):
        for _ in range(3000):
            mangled = list(good)
            for _ in range(chance.randint(1, 3)):
                mangled[chance.randrange(len(good))] = chance.choice("0123456789abcdef|:=AZ-_.")
            value = "".join(mangled)
            if decode_signed_value(SECRET, "sid", value) is None:
                assert signer.read(f"sid={value}") is None
            else:
                assert value == good


def test_a_refused_cookie_leaves_no_trace_in_the_log(
    signer: CookieSigner, caplog: pytest.LogCaptureFixture
) -> None:
    """It may carry an id that is still good."""
    with caplog.at_level(logging.DEBUG):
        signer.read(f"sid={signer.sign(mint(), None, NOW)[:-1]}0")
    assert caplog.text == ""


def test_old_cookies_are_read_through_a_rotation() -> None:
    old = CookieSigner("sid", "old" * 20, None)
    rotated = CookieSigner("sid", {1: "new" * 20, 0: "old" * 20}, 1)
    ended = CookieSigner("sid", {1: "new" * 20}, 1)
    token = mint()
    before, after = old.sign(token, None, NOW), rotated.sign(token, None, NOW)
    assert rotated.read(f"sid={before}") is not None
    assert rotated.read(f"sid={after}") is not None
    assert old.read(f"sid={after}") is None
    assert ended.read(f"sid={before}") is None
    assert ended.read(f"sid={after}") is not None
