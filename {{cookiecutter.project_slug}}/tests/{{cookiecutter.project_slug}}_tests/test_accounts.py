"""Accounts: names, passwords and hashes, without HTTP."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import argon2
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from tornado.ioloop import IOLoop

from {{cookiecutter.project_slug}} import accounts as module
from {{cookiecutter.project_slug}}.accounts import (
    PASSWORD_COST,
    Accounts,
    DatabaseUnavailable,
    PasswordRefused,
    User,
    UsernameRefused,
    UsernameTaken,
    WrongPassword,
    check_password,
    check_username,
)

from .conftest import CHEAP_HASHES


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path / 'app.db'}"


@pytest.fixture
def accounts(database_url: str, io_loop: IOLoop) -> Iterator[Accounts]:
    accounts = Accounts(database_url, CHEAP_HASHES)
    io_loop.run_sync(accounts.start)
    yield accounts
    io_loop.run_sync(accounts.close)


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("ada", "ada"),
        ("  Ada Lovelace ", "Ada Lovelace"),
        ("\uff21da", "Ada"),
        ("e\u0301lise", "\u00e9lise"),
        ("\u5b6b\u609f\u7a7a", "\u5b6b\u609f\u7a7a"),
        ("o'brien@example.com", "o'brien@example.com"),
        ("x" * 64, "x" * 64),
    ],
)
def test_a_username_is_kept_as_written_but_for_its_form(typed: str, kept: str) -> None:
    assert check_username(typed) == kept


@pytest.mark.parametrize(
    "name",
    [
        "",
        "   ",
        "x" * 65,
        "x" * 1_000_000,
        "\ufdfa" * 5,  # one character that becomes 18
        "a\x00b",
        "a\nb",
        "a\u202eb",  # turns the text around
        "a\u200bb",  # zero width space
        "a\u3164b",  # a filler that shows nothing
        "a\ufe0fb",
        "a\ue000b",  # private use
        "a  b",
        "a\u2028b",
    ],
)
def test_a_username_that_people_could_not_read_is_refused(name: str) -> None:
    with pytest.raises(UsernameRefused) as error:
        check_username(name)
    assert str(error.value).endswith(".")


@pytest.mark.parametrize(
    "password", ["12345678", "x" * 7, "x" * 1025, "\u00e9" * 513, "Ada Lovelace"]
)
def test_31_a_weak_password_is_refused(password: str) -> None:
    with pytest.raises(PasswordRefused):
        check_password(password, "ada lovelace")


@pytest.mark.parametrize("password", ["correct horse", "x" * 1024, "\u00e9" * 512, " " * 8 + "a"])
def test_31_a_long_password_is_accepted(password: str) -> None:
    check_password(password, "ada")


def test_the_common_passwords_are_long_enough_to_matter() -> None:
    for password in module._common_passwords():
        assert len(password) >= module.min_password_characters
        assert password == module.username_key(password)
    assert len(module._common_passwords()) > 200


def test_hashes_cost_what_owasp_recommends() -> None:
    assert PASSWORD_COST.type is argon2.Type.ID
    assert PASSWORD_COST.memory_cost >= 19 * 1024
    assert PASSWORD_COST.time_cost >= 2


@pytest.mark.gen_test
async def test_31_only_a_salted_argon2id_hash_is_stored(accounts: Accounts) -> None:
    ada = await accounts.register("ada", "correct horse")
    eve = await accounts.register("eve", "correct horse")
    assert ada.password_hash.startswith("$argon2id$")
    assert ada.password_hash != eve.password_hash


@pytest.mark.gen_test
async def test_a_user_is_found_by_any_spelling_of_the_name(accounts: Accounts) -> None:
    user = await accounts.register("Stra\u00dfe", "correct horse")
    found = await accounts.authenticate(" STRASSE", "correct horse")
    assert found is not None
    assert (found.id, found.username) == (user.id, "Stra\u00dfe")
    assert found.created_at.tzinfo is not None


@pytest.mark.gen_test
async def test_one_of_many_concurrent_registrations_wins(
    accounts: Accounts, database_url: str
) -> None:
    second = Accounts(database_url, CHEAP_HASHES)  # as in another process
    tries = [(accounts, second)[n % 2].register("ada", "correct horse") for n in range(10)]
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(each, User) for each in results) == 1
    assert sum(isinstance(each, UsernameTaken) for each in results) == 9
    await second.close()


@pytest.mark.gen_test
async def test_a_hash_is_renewed_at_login_when_the_cost_changes(
    accounts: Accounts, database_url: str
) -> None:
    old = await accounts.register("ada", "correct horse")
    dearer = Accounts(database_url, replace(CHEAP_HASHES, time_cost=2))
    user = await dearer.authenticate("ada", "correct horse")
    assert user is not None
    assert user.password_hash != old.password_hash
    assert "t=2" in user.password_hash
    assert await dearer.is_current(user)
    assert await accounts.authenticate("ada", "wrong horse") is None
    await dearer.close()


@pytest.mark.gen_test
async def test_renewing_a_hash_never_undoes_a_password_change(
    accounts: Accounts, database_url: str
) -> None:
    stale = await accounts.register("ada", "correct horse")
    await accounts.change_password(stale.id, "correct horse", "another horse")
    assert not await accounts._replace_hash(stale, "correct horse")
    assert await accounts.authenticate("ada", "correct horse") is None
    assert await accounts.authenticate("ada", "another horse") is not None


@pytest.mark.gen_test
async def test_of_two_password_changes_at_once_one_is_told_that_it_lost(accounts: Accounts) -> None:
    user = await accounts.register("ada", "correct horse")
    changes = [
        accounts.change_password(user.id, "correct horse", f"new horse {n}") for n in range(2)
    ]
    results = await asyncio.gather(*changes, return_exceptions=True)
    assert sum(isinstance(each, WrongPassword) for each in results) == 1
    winner = results.index(None)
    assert await accounts.authenticate("ada", f"new horse {winner}") is not None


@pytest.mark.gen_test
async def test_a_password_typed_on_another_keyboard_is_the_same(accounts: Accounts) -> None:
    await accounts.register("ada", "caf\u00e9 au lait")
    assert await accounts.authenticate("ada", "cafe\u0301 au lait") is not None


@pytest.mark.gen_test
async def test_31_a_password_that_is_too_long_is_refused_before_hashing(accounts: Accounts) -> None:
    await accounts.register("ada", "correct horse")

    accounts._hasher = None  # type: ignore[assignment]  # whoever uses it fails
    assert await accounts.authenticate("ada", "x" * 1025) is None


@pytest.mark.gen_test
async def test_hashing_does_not_hold_up_the_event_loop(accounts: Accounts) -> None:
    await accounts.register("ada", "correct horse")
    the_loop_runs_on = threading.Event()

    class Slow:
        def verify(self, *_: str) -> bool:
            return the_loop_runs_on.wait(timeout=1)

        def check_needs_rehash(self, _: str) -> bool:
            return False

    accounts._hasher = Slow()  # type: ignore[assignment]
    login = asyncio.create_task(accounts.authenticate("ada", "correct horse"))
    await asyncio.sleep(0.05)
    the_loop_runs_on.set()
    assert await login is not None


@pytest.mark.gen_test
async def test_23_no_error_of_the_database_shows_what_it_was_asked_for(accounts: Accounts) -> None:
    with pytest.raises(DBAPIError) as error:
        async with accounts._engine.connect() as connection:
            await connection.execute(text("SELECT :name FROM nowhere"), {"name": "hunter2"})
    assert "hunter2" not in str(error.value)


@pytest.mark.gen_test
async def test_sqlite_lets_readers_and_a_writer_work_at_once(accounts: Accounts) -> None:
    async with accounts._engine.connect() as connection:
        mode = await connection.exec_driver_sql("PRAGMA journal_mode")
        timeout_ms = await connection.exec_driver_sql("PRAGMA busy_timeout")
        assert (mode.scalar(), timeout_ms.scalar()) == ("wal", 5000)


@pytest.mark.gen_test
async def test_a_database_that_cannot_be_reached_is_said_so(tmp_path: Path) -> None:
    accounts = Accounts(f"sqlite+aiosqlite:///{tmp_path}/no/such/folder/app.db", CHEAP_HASHES)
    with pytest.raises(DatabaseUnavailable) as error:
        await accounts.start()
    assert error.value.status_code == 503
    assert "unable to open database file" in str(error.value)
    await accounts.close()
