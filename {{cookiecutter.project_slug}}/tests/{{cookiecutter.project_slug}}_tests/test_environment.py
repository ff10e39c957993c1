"""The file .env: what is read from it, and what is refused because another reader would stumble."""

from __future__ import annotations

from pathlib import Path

import pytest

from {{cookiecutter.project_slug}}.environment import read_environment
from {{cookiecutter.project_slug}}.sessions import ConfigurationError
from {{cookiecutter.project_slug}}.settings import read_settings

SECRET = "s3cret-" * 6


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / ".env"


def faults(file: Path, content: str) -> list[str]:
    file.write_text(content)
    with pytest.raises(ConfigurationError) as error:
        read_environment({}, file)
    return error.value.faults


def test_a_project_without_the_file_goes_by_its_environment(file: Path) -> None:
    assert read_environment({"PORT": "80"}, file) == {"PORT": "80"}


def test_the_environment_wins_and_an_empty_variable_does_not(file: Path) -> None:
    file.write_text("PORT=1\nADDRESS=::1\nDATABASE_URL=\n")
    read = read_environment({"PORT": "2", "ADDRESS": " "}, file)
    assert read == {"PORT": "2", "ADDRESS": "::1"}


def test_quotes_keep_what_a_shell_would_take_apart(file: Path) -> None:
    url = "postgresql://me:a b&c@db/app?sslmode=require&x=#1"
    file.write_text(f"# comment\n\nDATABASE_URL='{url}'\nADDRESS=\"::1\"\n")
    assert read_environment({}, file) == {"DATABASE_URL": url, "ADDRESS": "::1"}


@pytest.mark.parametrize(
    "line",
    [
        "DATABASE_URL=postgresql://db/app?sslmode=require&connect_timeout=5",
        "PORT=80 90",
        "PORT=80 # the usual one",
        "PORT = 80",
        "export PORT=80",
        " PORT=80",
        "PORT",
        "PORT='80",
        "PORT='80'90",
        "SECRET=a$b",
        'SECRET="a$b"',
        "SECRET=`id`",
        "SECRET=a\\b",
        "HOME=~/x",
        "2PORT=80",
    ],
)
def test_a_doubtful_line_is_named_by_its_number_and_never_shown(file: Path, line: str) -> None:
    (fault,) = faults(file, f"# one\n{line}\nPORT=80\n")
    assert f"{file}, line 2 is unclear" in fault
    assert "\n" not in fault
    assert line not in fault


def test_every_doubtful_line_is_reported(file: Path) -> None:
    assert len(faults(file, "A=b c\nB=c\nC=d&e\n")) == 2


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_of_windows_are_no_part_of_a_secret(file: Path, mark: str) -> None:
    file.write_bytes(f"{mark}COOKIE_SECRET={SECRET}\r\nPORT=80\r\n".encode())
    settings = read_settings(["app"], read_environment({}, file))
    assert (settings.cookie_secret, settings.port) == (SECRET, 80)


def test_a_file_that_is_no_text_is_one_line(file: Path) -> None:
    file.write_bytes(b"COOKIE_SECRET=\xff\xfe\n")
    with pytest.raises(ConfigurationError, match="cannot be read") as error:
        read_environment({}, file)
    assert len(error.value.faults) == 1


@pytest.mark.parametrize(
    "foreign", [{"CONFIG": "Release"}, {"DEBUG": "*"}, {"DEBUG": "app:*"}, {"ENGINE": "docker"}]
)
def test_a_variable_that_is_meant_for_another_program_stops_no_start(
    file: Path, foreign: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    environ = read_environment({"COOKIE_SECRET": SECRET, "PORT": "80", **foreign}, file)
    settings = read_settings(["app"], environ)
    assert (settings.port, settings.debug) == (80, False)
    assert ("DEBUG=" in caplog.text) == ("DEBUG" in foreign)


def test_an_unclear_switch_in_the_file_itself_is_a_fault(file: Path) -> None:
    file.write_text(f"COOKIE_SECRET={SECRET}\nDEBUG=maybe\n")
    with pytest.raises(ConfigurationError, match="write true or false"):
        read_settings(["app"], read_environment({}, file))
