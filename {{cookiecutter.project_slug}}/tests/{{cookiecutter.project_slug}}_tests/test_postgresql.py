"""URLs of hosted PostgreSQL: what becomes of their parameters. No server is asked."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from {{cookiecutter.project_slug}}.postgresql import translate
from {{cookiecutter.project_slug}}.sessions import ConfigurationError
from {{cookiecutter.project_slug}}.settings import read_settings

SECRET = "s3cret-" * 6


def arguments(query: str) -> dict[str, Any]:
    url, arguments = translate(make_url(f"postgresql+asyncpg://me:secret@db/app?{query}"))
    assert url.render_as_string(hide_password=False) == "postgresql+asyncpg://me:secret@db/app"
    return arguments


@pytest.mark.parametrize(
    ("query", "dsn"),
    [
        ("sslmode=require", "postgresql://?sslmode=require"),
        ("ssl=require", "postgresql://?sslmode=require"),
        ("ssl=true", "postgresql://?sslmode=require"),
        ("application_name=my%20app", "postgresql://?application_name=my+app"),
        ("options=-c%20search_path%3Dx", "postgresql://?options=-c+search_path%3Dx"),
        (
            "sslmode=require&target_session_attrs=read-write&channel_binding=prefer&gssencmode=disable",
            "postgresql://?sslmode=require&target_session_attrs=read-write",
        ),
    ],
)
def test_a_parameter_that_the_driver_knows_reaches_it(query: str, dsn: str) -> None:
    assert arguments(query) == {"dsn": dsn}


def test_a_url_without_parameters_needs_no_arguments() -> None:
    assert arguments("") == {}


def test_a_socket_or_several_hosts_stay_in_the_url() -> None:
    for place in ("host=%2Frun%2Fpostgresql", "host=one%3A5432&host=two%3A5432"):
        url, _ = translate(make_url(f"postgresql+asyncpg://me@/app?{place}&sslmode=disable"))
        assert str(url) == f"postgresql+asyncpg://me@/app?{place}"


def test_the_timeout_of_a_connection_is_in_seconds() -> None:
    assert arguments("connect_timeout=15") == {"timeout": 15}


def test_behind_a_pooler_no_statement_is_kept() -> None:
    found = arguments("pgbouncer=true")
    assert found["statement_cache_size"] == found["prepared_statement_cache_size"] == 0
    names = {found["prepared_statement_name_func"]() for _ in range(2)}
    assert len(names) == 2
    assert arguments("pgbouncer=false") == {}


@pytest.mark.parametrize(
    "query", ["sslmode=require&channel_binding=require", "sslrootcert=system&sslmode=verify-full"]
)
def test_what_asks_for_more_than_the_driver_has_gets_a_verified_certificate(query: str) -> None:
    found = arguments(query)
    assert set(found) == {"ssl"}
    assert found["ssl"].verify_mode == ssl.CERT_REQUIRED
    assert found["ssl"].check_hostname


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("schema=secret", "the driver cannot keep schema with this value; leave it out"),
        ("connection_limit=1", "the driver cannot keep connection_limit"),
        ("gssencmode=require", "the driver cannot keep gssencmode"),
        ("connect_timeout=soon", "the driver cannot keep connect_timeout"),
        ("sslmode=secret", "sslmode has an unknown value; write disable or allow or prefer"),
        ("target_session_attrs=secret", "target_session_attrs has an unknown value; write any"),
        ("sslrootcert=/no/secret.pem", "sslrootcert names a file that is not there"),
        ("sslmode=require&sslmode=disable", "sslmode is there more than once"),
        ("sslmode=disable&channel_binding=require", "write sslmode=verify-full"),
    ],
)
def test_what_cannot_be_kept_is_refused_in_a_line_without_its_value(query: str, words: str) -> None:
    environ = {"COOKIE_SECRET": SECRET, "DATABASE_URL": f"postgres://me:secret@db/app?{query}"}
    with pytest.raises(ConfigurationError) as error:
        read_settings(["app"], environ)
    (fault,) = error.value.faults
    assert words in fault
    assert "\n" not in fault
    assert "secret" not in fault


def test_a_file_that_holds_no_certificate_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "authorities.pem"
    file.write_text("no certificate")
    with pytest.raises(ValueError, match=r"a file of certificates cannot be used \(.+\)$"):
        arguments(f"sslrootcert={file}&channel_binding=require")
