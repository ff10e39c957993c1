"""The session's cookie: what is signed is read, and nothing else."""

from __future__ import annotations

import base64
import logging
import random

import pytest
from tornado.web import create_signed_value, decode_signed_value

from {{cookiecutter.project_slug}}.sessions.cookie import (
    CookieSigner,
    id_of,
    new_token,
)

SECRET = "only-for-tests-" + "0123456789abcdef" * 2
TOKEN = new_token()


@pytest.fixture
def signer() -> CookieSigner:
    return CookieSigner("sid", SECRET)


def test_what_is_signed_is_read(signer: CookieSigner) -> None:
    assert signer.tokens(f"sid={signer.sign(TOKEN)}") == [TOKEN]


def test_02_100000_tokens_have_nothing_in_common() -> None:
    tokens = {new_token() for _ in range(100_000)}
    assert len(tokens) == 100_000
    raw = [base64.urlsafe_b64decode(token + "=") for token in tokens]
    for position in range(32):
        assert len({each[position] for each in raw}) == 256


def test_an_id_is_the_hash_of_its_token() -> None:
    token = new_token()
    assert len(id_of(token)) == 64
    assert token not in id_of(token)
    assert id_of(token) == id_of(token) != id_of(new_token())


@pytest.mark.parametrize(
    "header", ["sid={}", 'sid="{}"', "a=1; sid={}", "a=1;sid={};b=2", 'theme="dark"; sid={}; c=3']
)
def test_it_is_found_among_other_cookies(signer: CookieSigner, header: str) -> None:
    assert signer.tokens(header.format(signer.sign(TOKEN))) == [TOKEN]


@pytest.mark.parametrize("header", ["xsid={}", "sidx={}", "sid=a{}", "sid={}a", "a=sid={}"])
def test_it_is_not_found_in_other_cookies(signer: CookieSigner, header: str) -> None:
    assert signer.tokens(header.format(signer.sign(TOKEN))) == []


@pytest.mark.parametrize("header", [None, "", "sid", "sid=", ";;;", "sid=" + "2|1:0|" * 20000])
def test_anything_else_is_nobody(signer: CookieSigner, header: str | None) -> None:
    assert signer.tokens(header) == []


def test_each_cookie_of_the_name_is_read_in_the_order_sent(signer: CookieSigner) -> None:
    tokens = [new_token() for _ in range(3)]
    signed = [signer.sign(token) for token in tokens]
    header = f"sid=planted; sid={signed[0]}; a=b; sid={signed[1]}; sid=; sid={signed[2]}"
    assert signer.tokens(header) == tokens


def test_a_header_full_of_good_cookies_costs_at_most_four_trips(signer: CookieSigner) -> None:
    """A trip each: one request must not make the store work for hundreds."""
    tokens = [new_token() for _ in range(30)]
    header = "; ".join(f"sid={signer.sign(token)}" for token in tokens)
    assert signer.tokens(header) == tokens[:4]


def test_a_good_cookie_is_found_behind_planted_ones(signer: CookieSigner) -> None:
    planted = "; ".join(f"sid={n}" for n in range(19))
    assert signer.tokens(f"{planted}; sid={signer.sign(TOKEN)}") == [TOKEN]


def test_a_header_full_of_planted_cookies_is_not_verified_to_its_end(
    signer: CookieSigner,
) -> None:
    planted = [f"sid=2|1:0|10:1700000000|3:sid|4:eA==|{number:064}" for number in range(20)]
    header = "; ".join([*planted, f"sid={signer.sign(TOKEN)}"])
    assert signer.tokens(header) == []


def test_a_cookie_that_is_sent_many_times_counts_once(signer: CookieSigner) -> None:
    once, good = (f"sid={signer.sign(token)}" for token in ("A" * 43, TOKEN))
    assert signer.tokens("; ".join([once] * 20 + [good])) == ["A" * 43, TOKEN]


def test_a_cookie_of_another_name_or_secret_is_refused(signer: CookieSigner) -> None:
    for other in (CookieSigner("admin", SECRET), CookieSigner("sid", "x" * 40)):
        assert signer.tokens(f"sid={other.sign(TOKEN)}") == []


@pytest.mark.parametrize(
    "value", ["1", "x" * 42, "x" * 44, "x" * 42 + ".", "é" * 43, "x" * 43 + "\n"]
)
def test_a_signed_value_that_is_no_token_is_refused(signer: CookieSigner, value: str) -> None:
    signed = create_signed_value(SECRET, "sid", value).decode()
    assert signer.tokens(f"sid={signed}") == []


def test_a_signature_of_the_old_kind_is_refused(signer: CookieSigner) -> None:
    """Version 1 of Tornado's signatures is SHA-1."""
    signed = create_signed_value(SECRET, "sid", TOKEN, version=1).decode()
    assert decode_signed_value(SECRET, "sid", signed) == TOKEN.encode()
    assert signer.tokens(f"sid={signed}") == []


def test_a_cookie_of_any_age_is_read(signer: CookieSigner) -> None:
    """The record knows when the session ends."""
    signed = create_signed_value(SECRET, "sid", TOKEN, clock=lambda: 1_700_000_000.0).decode()
    assert signer.tokens(f"sid={signed}") == [TOKEN]


def test_tornado_reads_what_is_signed_and_the_other_way_round(signer: CookieSigner) -> None:
    assert decode_signed_value(SECRET, "sid", signer.sign(TOKEN)) == TOKEN.encode()
    assert signer.tokens(f"sid={create_signed_value(SECRET, 'sid', TOKEN).decode()}") == [TOKEN]


def test_a_mangled_cookie_that_tornado_refuses_is_refused(
    signer: CookieSigner, caplog: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(1)
    good = signer.sign(TOKEN)
    with caplog.at_level(logging.CRITICAL, "tornado.general"):
        for _ in range(3000):
            mangled = list(good)
            for _ in range(chance.randint(1, 3)):
                mangled[chance.randrange(len(good))] = chance.choice("0123456789abcdef|:=AZ-_.")
            value = "".join(mangled)
            if decode_signed_value(SECRET, "sid", value) is None:
                assert signer.tokens(f"sid={value}") == []
            else:
                assert value == good


def test_a_refused_cookie_leaves_no_trace_in_the_log(
    signer: CookieSigner, caplog: pytest.LogCaptureFixture
) -> None:
    """It may carry a token that is still good."""
    signed = signer.sign(TOKEN)
    with caplog.at_level(logging.DEBUG):
        signer.tokens(f"sid={signed[:-1]}0; sid={signed[:-64]}; sid=1|{signed}; sid={TOKEN}")
    assert caplog.text == ""


def test_old_cookies_are_read_through_a_rotation() -> None:
    old = CookieSigner("sid", "old" * 20)
    rotated = CookieSigner("sid", {1: "new" * 20, 0: "old" * 20}, 1)
    ended = CookieSigner("sid", {1: "new" * 20}, 1)
    before, after = f"sid={old.sign(TOKEN)}", f"sid={rotated.sign(TOKEN)}"
    assert rotated.tokens(before) == rotated.tokens(after) == [TOKEN]
    assert old.tokens(after) == ended.tokens(before) == []
    assert ended.tokens(after) == [TOKEN]
