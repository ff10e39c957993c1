"""The settings: where they come from, and what is said when they cannot work."""

from __future__ import annotations

import sys
from email.headerregistry import Address
from pathlib import Path

import pytest

from {{cookiecutter.project_slug}}.app import make_app
from {{cookiecutter.project_slug}}.csp import content_security_policy
from {{cookiecutter.project_slug}}.sessions import (
    ConfigurationError,
    SessionConfig,
)
from {{cookiecutter.project_slug}}.settings import Settings, read_settings

SECRET = "s3cret-" * 6
LIMITS = {"IDLE_TIMEOUT": "60", "ABSOLUTE_TIMEOUT": "86400", "REMEMBER_DAYS": "1"}


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
    assert read(PORT="", ADDRESS=" ").port == Settings.port


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
        TRUSTED_PROXIES="10.0.0.0/40",
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
        ({"COOKIE_SECRET": f"{SECRET},1:{SECRET}"}, "the first one has no number"),
        ({"BASE_URL": "https://b\u00fccher.example"}, "xn-- form"),
        ({"BASE_URL": "https://me:pw@www.example.com"}, "scheme and host alone"),
        ({"BASE_URL": "https://www.example.com:abc"}, "scheme and host alone"),
        ({"BASE_URL": "https://www.example.com:99999"}, "scheme and host alone"),
        ({"BASE_URL": "https://www.example.com?x=1"}, "scheme and host alone"),
        ({"BASE_URL": "https://exa mple.com"}, "scheme and host alone"),
        ({"ALLOWED_HOSTS": "b\u00fccher.example"}, "xn-- form"),
        ({"DATABASE_URL": "sqlite:///:memory:"}, "a new one for each connection"),
        ({"PORT": "70000"}, "1 to 65535"),
        ({"SESSION_ENGINE": "floppy"}, "write "),
        ({"PROCESSES": "2", "SESSION_ENGINE": "memory"}, "cannot share the memory engine"),
        ({"PROCESSES": "2", "DEBUG": "1"}, "debug"),
        ({"GRACE": "-1"}, "write seconds, 0 to 300"),
        ({"GRACE": "3600"}, "write seconds, 0 to 300"),
        ({"DATABASE_URL": "floppy://a"}, "sqlite+aiosqlite:///app.db"),
        ({"DATABASE_URL": "sqlite+pysqlite:///app.db"}, "would block the event loop"),
        ({"TRUSTED_PROXIES": "proxy.example"}, "neither an IP address nor a network"),
        ({"TRUSTED_PROXIES": "10.0.0.1,0.0.0.0/0"}, "0.0.0.0/0 is everybody"),
        ({"STORAGE_TIMEOUT": "0"}, "STORAGE_TIMEOUT is 0.0: write seconds, more than 0"),
        ({"STORAGE_TIMEOUT": "soon"}, "is not a number; write digits"),
        ({"DATABASE_POOL_SIZE": "0"}, "would let everybody wait: write 1 or more"),
        ({"HASHING_THREADS": "0"}, "would let everybody wait: write 1 or more"),
        ({"METRICS_PORT": "70000"}, "1 to 65535"),
        ({"METRICS_PORT": str(Settings.port)}, "write another one"),
        ({"LOG_LEVEL": "loud"}, "debug or info or warning or error"),
        ({"LOG_FORMAT": "xml"}, "text or json"),
    ],
)
def test_a_fault_says_what_to_write_instead(environ: dict[str, str], words: str) -> None:
    found = faults(**environ)
    assert len(found) == 1
    assert words in found[0]


def test_uvloop_is_refused_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(UVLOOP="true").uvloop
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert "pip install '.[uvloop]'" in faults(UVLOOP="true")[0]
    assert not read().uvloop


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


def test_trusted_proxies_are_addresses_and_networks() -> None:
    found = read(TRUSTED_PROXIES="127.0.0.1, ::1,10.0.0.0/8,").trusted_proxies
    assert found == ("127.0.0.1", "::1", "10.0.0.0/8")


# What holds a password or a key may stand in a file of its own, as Docker and Kubernetes hand out
# secrets.
SECRETS = {
    "COOKIE_SECRET": SECRET,
    "DATABASE_URL": "sqlite+aiosqlite:///another.db",
    "SMTP_URL": "smtps://me:pw@mail.example.com",
}


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_read_from_the_file_that_its_variable_names(name: str, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRETS[name]}\n")
    environ = {"BASE_URL": "https://www.example.com", "COOKIE_SECRET": SECRET, name: ""}
    settings = read_settings(["app"], {**environ, f"{name}_FILE": str(file)})
    assert getattr(settings, name.lower()) == SECRETS[name]


def test_a_secret_that_is_given_twice_is_a_fault(tmp_path: Path) -> None:
    (fault,) = faults(COOKIE_SECRET_FILE=str(tmp_path / "secret"))
    assert fault == "COOKIE_SECRET and COOKIE_SECRET_FILE are both given: keep one"


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00"])
def test_a_file_without_a_secret_is_named(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    found = faults(COOKIE_SECRET="", COOKIE_SECRET_FILE=str(file))
    assert len(found) == 1  # and not that the secret is missing
    assert f"COOKIE_SECRET_FILE: {file} " in found[0]
    assert all("\n" not in fault for fault in found)


def test_a_number_has_no_file() -> None:
    assert read(PORT="80", PORT_FILE="/nowhere").port == 80


def test_a_misspelt_variable_is_said(caplog: pytest.LogCaptureFixture) -> None:
    read(TRUSTED_PROXYS="127.0.0.1", PATH="/bin", HOME="/")
    assert "TRUSTED_PROXYS has no effect: did you mean TRUSTED_PROXIES?" in caplog.text
    assert len(caplog.records) == 1


def test_a_config_file_that_fails_says_how(tmp_path: Path) -> None:
    config = tmp_path / "app.conf"
    config.write_text("port = 1 / 0")
    assert "ZeroDivisionError" in faults(f"--config={config}")[0]


def test_a_switch_in_a_config_file_means_what_it_says(tmp_path: Path) -> None:
    config = tmp_path / "app.conf"
    config.write_text('debug = "off"')
    assert not read(f"--config={config}").debug
    config.write_text('debug = "perhaps"')
    assert "write true or false" in faults(f"--config={config}")[0]


@pytest.mark.parametrize(
    ("given", "sender"),
    [
        ("https://www.example.com/", "noreply@www.example.com"),
        ("http://[::1]:8888", "noreply@[IPv6:::1]"),
    ],
)
def test_mail_comes_from_the_address_that_people_use(given: str, sender: str) -> None:
    assert Address(addr_spec=read(BASE_URL=given).sender).addr_spec == sender


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


@pytest.fixture
def usual_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has changed the default of base_url."""
    monkeypatch.setattr(Settings, "base_url", f"http://localhost:{Settings.port}")


@pytest.mark.usefixtures("usual_address")
def test_the_address_that_people_use_follows_the_port() -> None:
    assert read(PORT="9000").base_url == "http://localhost:9000"
    named = read(PORT="9000", BASE_URL="https://WWW.example.com/")
    assert named.base_url == "https://www.example.com"


def test_a_default_of_the_address_that_was_changed_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Settings, "base_url", "https://www.example.org")
    named = read(PORT="9000", SMTP_URL="smtp://mail.example.org")
    assert named.base_url == "https://www.example.org"
    assert "drop the cookie" in faults(COOKIE_DOMAIN="example.com")[0]


@pytest.mark.usefixtures("usual_address")
@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"BASE_URL": "www.example.com"}, "https://www.example.com"),
        ({"BASE_URL": "https://example.com/app"}, "scheme and host alone"),
        ({"ALLOWED_HOSTS": "https://example.com"}, "without scheme"),
        ({"SMTP_URL": "smtp://me:pw@mail.example.com"}, "BASE_URL is missing"),
        ({"SMTP_URL": "mail.example.com"}, "smtp://user:password@host:587"),
        ({"SMTP_URL": "memory:", "BASE_URL": "https://example.com"}, "sends nothing"),
        ({"MAIL_FROM": "me"}, "name@example.com"),
    ],
)
def test_settings_of_mail_that_cannot_work_are_refused(environ: dict[str, str], words: str) -> None:
    (fault,) = faults(**environ)
    assert words in fault


def test_lifetimes_and_domain_reach_the_sessions() -> None:
    settings = read(
        BASE_URL="https://www.example.com",
        IDLE_TIMEOUT="600",
        ABSOLUTE_TIMEOUT="172800",
        REMEMBER_DAYS="2",
        COOKIE_DOMAIN="example.com",
    )
    config = SessionConfig.from_settings(settings.sessions)
    assert (config.idle_timeout, config.absolute_timeout) == (600, 172800)
    assert config.cookie.domain == "example.com"
    assert config.cookie.name == "__Secure-{{cookiecutter.project_slug}}"
    assert settings.remember_days == 2


@pytest.mark.usefixtures("usual_address")
@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"IDLE_TIMEOUT": "0"}, "IDLE_TIMEOUT"),
        ({**LIMITS, "IDLE_TIMEOUT": "9000000"}, "ABSOLUTE_TIMEOUT=9000000"),
        ({**LIMITS, "REMEMBER_DAYS": "3"}, "ABSOLUTE_TIMEOUT=259200"),
        ({"REMEMBER_DAYS": "0"}, "1 or more"),
        ({"COOKIE_DOMAIN": "https://example.com"}, "COOKIE_DOMAIN"),
        ({"COOKIE_DOMAIN": "example.com", "BASE_URL": "https://example.org"}, "drop the cookie"),
        ({"COOKIE_DOMAIN": "ample.com", "BASE_URL": "https://example.com"}, "drop the cookie"),
        ({"MAX_BODY_BYTES": "20"}, "MAX_BODY_BYTES"),
        ({"CSP_SOURCES": "script-src 'unsafe-inline'"}, "a file of static/"),
        ({"CSP_SOURCES": "script-src data:"}, "a file of static/"),
        ({"CSP_SOURCES": "img-src *"}, "is no site"),
        ({"CSP_SOURCES": "https://cdn.example.com"}, "script-src"),
        ({"CSP_SOURCES": "frame-ancestors https://example.com"}, "cannot be added to"),
    ],
)
def test_what_people_change_is_checked(environ: dict[str, str], words: str) -> None:
    (fault,) = faults(**environ)
    assert words in fault


def test_other_sites_are_added_to_the_policy() -> None:
    sources = "img-src https://images.example.com data:; form-action https://pay.example.com;"
    policy = content_security_policy(read(CSP_SOURCES=sources).csp_sources).split("; ")
    assert "img-src 'self' https://images.example.com data:" in policy
    assert "form-action 'self' https://pay.example.com" in policy
    assert "default-src 'self'" in policy
    assert sum(each.startswith("form-action") for each in policy) == 1
