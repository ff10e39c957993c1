"""The settings: where they come from, and what is said when they cannot work."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from {{cookiecutter.project_slug}}.app import make_app
from {{cookiecutter.project_slug}}.sessions import ConfigurationError
from {{cookiecutter.project_slug}}.settings import Settings, read_settings

SECRET = "s3cret-" * 6


def read(*args: str, **environ: str) -> Settings:
    return read_settings(["app", *args], {"COOKIE_SECRET": SECRET, **environ})


def faults(*args: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigurationError) as error:
        read(*args, **environ)
    return error.value.faults


def test_without_anything_the_defaults_hold() -> None:
    settings = read()
    assert settings == Settings(cookie_secret=SECRET)
    assert settings.session_engine == "{{cookiecutter.engine}}"
    assert settings.address == "127.0.0.1"


def test_a_flag_wins_over_the_file_and_the_file_over_the_environment(tmp_path: Path) -> None:
    config = tmp_path / "app.conf"
    config.write_text("port = 2\nprocesses = 2\n")
    settings = read(f"--config={config}", "--port=3", PORT="1", PROCESSES="1", ADDRESS="::1")
    assert (settings.port, settings.processes, settings.address) == (3, 2, "::1")


def test_an_empty_variable_counts_as_absent() -> None:
    assert read(PORT="", ADDRESS=" ").port == 8888


@pytest.mark.parametrize("word", ["true", "1", "yes", "ON"])
def test_a_switch_can_be_turned_on(word: str) -> None:
    assert read(DEBUG=word).debug
    assert read(f"--debug={word}").debug
    assert read("--debug").debug


@pytest.mark.parametrize("word", ["false", "0", "no", "OFF"])
def test_a_switch_can_be_turned_off(word: str) -> None:
    assert not read(DEBUG=word).debug
    assert not read("--debug", f"--debug={word}").debug


def test_every_fault_is_reported_at_once_one_line_each() -> None:
    found = faults(
        "--prot=80",
        "serve",
        "--config=/no/such/file",
        PORT="eighty",
        DEBUG="maybe",
        SESSION_ENGINE="floppy",
        COOKIE_SECRET="short",
        DATABASE_URL="oracle",
        TRUSTED_PROXIES="10.0.0.0/8",
        PROCESSES="0",
    )
    named = ["--prot", "serve", "PORT", "DEBUG", "SESSION_ENGINE", "COOKIE_SECRET"]
    named += ["DATABASE_URL", "TRUSTED_PROXIES", "PROCESSES", "--config"]
    for name in named:
        assert sum(name in fault for fault in found) >= 1, name
    assert len(found) == len(named)
    assert all("\n" not in fault for fault in found)


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"COOKIE_SECRET": ""}, "COOKIE_SECRET is missing"),
        ({"COOKIE_SECRET": "x" * 31}, "31 characters are too few; write at least 32"),
        ({"COOKIE_SECRET": "change-me-" * 5}, "placeholder"),
        ({"COOKIE_SECRET": f"1:{SECRET},0:short"}, "5 characters are too few"),
        ({"COOKIE_SECRET": f"1:{SECRET},1:{SECRET}"}, "a number of its own"),
        ({"PORT": "70000"}, "1 to 65535"),
        ({"SESSION_ENGINE": "floppy"}, "write "),
        ({"PROCESSES": "2", "SESSION_ENGINE": "memory"}, "cannot share the memory engine"),
        ({"PROCESSES": "2", "DEBUG": "1"}, "debug"),
        ({"DATABASE_URL": "floppy://a"}, "sqlite+aiosqlite:///app.db"),
        ({"DATABASE_URL": "sqlite+pysqlite:///app.db"}, "would block the event loop"),
        ({"TRUSTED_PROXIES": "proxy.example"}, "no IP address"),
        ({"METRICS_PORT": "70000"}, "1 to 65535"),
        ({"METRICS_PORT": "8888"}, "write another one"),
        ({"LOG_LEVEL": "loud"}, "debug or info or warning or error"),
        ({"LOG_FORMAT": "xml"}, "text or json"),
    ],
)
def test_a_fault_says_what_to_write_instead(environ: dict[str, str], words: str) -> None:
    found = faults(**environ)
    assert len(found) == 1
    assert words in found[0]


def test_an_option_that_is_misspelt_is_found() -> None:
    assert "did you mean --cookie-secret?" in faults("--cookie-secrets=x")[0]


def test_no_fault_shows_a_secret() -> None:
    secret = "hunter2"
    shown = faults(COOKIE_SECRET=secret, DATABASE_URL=f"nothing://me:{secret}@host/db")
    assert secret not in "\n".join(shown)
    assert SECRET not in repr(read())


def test_in_debug_a_random_secret_is_made_and_said(caplog: pytest.LogCaptureFixture) -> None:
    first = read(COOKIE_SECRET="", DEBUG="1").cookie_secret
    second = read(COOKIE_SECRET="", DEBUG="1").cookie_secret
    assert isinstance(first, str)
    assert len(first) >= 32
    assert first != second
    assert "COOKIE_SECRET is not set" in caplog.text


def test_a_rotation_signs_with_the_first_secret() -> None:
    settings = read(COOKIE_SECRET=f"7:new-{SECRET},3:old-{SECRET}")
    assert settings.cookie_secret == {7: f"new-{SECRET}", 3: f"old-{SECRET}"}
    assert settings.key_version == 7


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("postgres://u:p@db/app", "postgresql+asyncpg://u:p@db/app"),
        ("postgresql://db/app?sslmode=require", "postgresql+asyncpg://db/app?sslmode=require"),
        ("sqlite:///app.db", "sqlite+aiosqlite:///app.db"),
        ("sqlite+aiosqlite:///app.db", "sqlite+aiosqlite:///app.db"),
    ],
)
def test_a_database_url_gets_a_driver_that_does_not_block(given: str, used: str) -> None:
    assert read(DATABASE_URL=given).database_url == used


def test_a_driver_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    assert "asyncpg is not installed" in faults(DATABASE_URL="postgresql://db/app")[0]


def test_trusted_proxies_are_addresses() -> None:
    assert read(TRUSTED_PROXIES="127.0.0.1, ::1,").trusted_proxies == ("127.0.0.1", "::1")


def test_a_config_file_that_fails_says_how(tmp_path: Path) -> None:
    config = tmp_path / "app.conf"
    config.write_text("port = 1 / 0")
    assert "ZeroDivisionError" in faults(f"--config={config}")[0]


def test_help_lists_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read("--help")
    shown = capsys.readouterr().err
    for name in ("--port", "--cookie-secret", "--trusted-proxies", "[DATABASE_URL]"):
        assert name in shown


def test_the_app_does_not_change_its_settings() -> None:
    settings = Settings(session_engine="memory", cookie_secret=SECRET)
    before = settings.pycket
    make_app(settings)
    assert settings.pycket == before


def test_the_app_refuses_to_be_made_without_a_secret() -> None:
    with pytest.raises(ConfigurationError, match="cookie_secret"):
        make_app(Settings(session_engine="memory"))


def test_the_address_that_people_use_follows_the_port() -> None:
    assert read(PORT="9000").base_url == "http://localhost:9000"
    named = read(PORT="9000", BASE_URL="https://WWW.example.com/")
    assert named.base_url == "https://www.example.com"


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"BASE_URL": "www.example.com"}, "https://www.example.com"),
        ({"BASE_URL": "https://example.com/app"}, "scheme and host alone"),
        ({"ALLOWED_HOSTS": "https://example.com"}, "without scheme"),
        ({"SMTP_URL": "smtp://me:pw@mail.example.com"}, "BASE_URL is missing"),
        ({"SMTP_URL": "mail.example.com"}, "smtp://user:password@host:587"),
        ({"SMTP_URL": "memory:", "BASE_URL": "https://example.com"}, "sends nothing"),
        ({"MAIL_FROM": "me"}, "@-sign"),
    ],
)
def test_settings_of_mail_that_cannot_work_are_refused(environ: dict[str, str], words: str) -> None:
    (fault,) = faults(**environ)
    assert words in fault
