"""Accounts: names, passwords and hashes, without HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest
from tornado.ioloop import IOLoop

from {{cookiecutter.project_slug}}.accounts import (
    Accounts,
    User,
    UsernameTaken,
    WrongPassword,
)
from {{cookiecutter.project_slug}}.database import Database
from {{cookiecutter.project_slug}}.sessions import Store
from {{cookiecutter.project_slug}}.usernames import (
    UsernameRefused,
    check_username,
)

from .conftest import CHEAP_HASHES, COOKIE_SECRET


@pytest.fixture
def database(database_url: str, io_loop: IOLoop) -> Iterator[Database]:
    database = Database(database_url)
    io_loop.run_sync(database.start)
    yield database
    io_loop.run_sync(database.close)


@pytest.fixture
def store() -> Store:
    return Store({"pycket": {"engine": "memory"}, "cookie_secret": COOKIE_SECRET})


@pytest.fixture
def accounts(database: Database, store: Store, io_loop: IOLoop) -> Iterator[Accounts]:
    accounts = Accounts(database, store, CHEAP_HASHES)
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
        ("o'brien", "o'brien"),
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
        "ada@example.com",  # an address logs in, too
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


@pytest.mark.gen_test
async def test_31_only_a_salted_argon2id_hash_is_stored(accounts: Accounts) -> None:
    ada = await accounts.register("ada", "correct horse")
    eve = await accounts.register("eve", "correct horse")
    assert (ada.password_hash or "").startswith("$argon2id$")
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
    accounts: Accounts, store: Store, database_url: str
) -> None:
    other_process = Database(database_url)
    second = Accounts(other_process, store, CHEAP_HASHES)
    tries = [(accounts, second)[n % 2].register("ada", "correct horse") for n in range(10)]
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(each, User) for each in results) == 1
    assert sum(isinstance(each, UsernameTaken) for each in results) == 9
    await second.close()
    await other_process.close()


@pytest.mark.gen_test
async def test_a_hash_is_renewed_at_login_when_the_cost_changes(
    accounts: Accounts, database: Database, store: Store
) -> None:
    old = await accounts.register("ada", "correct horse")
    dearer = Accounts(database, store, replace(CHEAP_HASHES, time_cost=2))
    user = await dearer.authenticate("ada", "correct horse")
    assert user is not None
    assert user.password_hash != old.password_hash
    assert "t=2" in (user.password_hash or "")
    assert await dearer.note_login(user)
    assert await accounts.authenticate("ada", "wrong horse") is None
    await dearer.close()


@pytest.mark.gen_test
async def test_renewing_a_hash_never_undoes_a_password_change(accounts: Accounts) -> None:
    stale = await accounts.register("ada", "correct horse")
    current = await accounts.find(stale.id)
    assert current is not None
    await accounts.set_password(current, "another horse")
    await accounts._renew_hash(stale, "correct horse")
    assert await accounts.authenticate("ada", "correct horse") is None
    assert await accounts.authenticate("ada", "another horse") is not None


@pytest.mark.gen_test
async def test_of_two_password_changes_at_once_one_is_told_that_it_lost(accounts: Accounts) -> None:
    user = await accounts.register("ada", "correct horse")
    changes = [accounts.set_password(user, f"new horse {n}") for n in range(2)]
    results = await asyncio.gather(*changes, return_exceptions=True)
    assert sum(isinstance(each, WrongPassword) for each in results) == 1
    winner = results.index(0)
    assert await accounts.authenticate("ada", f"new horse {winner}") is not None


@pytest.mark.gen_test
async def test_a_password_typed_on_another_keyboard_is_the_same(accounts: Accounts) -> None:
    await accounts.register("ada", "caf\u00e9 au lait")
    assert await accounts.authenticate("ada", "cafe\u0301 au lait") is not None


@pytest.mark.gen_test
async def test_31_a_password_that_is_too_long_is_refused_before_hashing(accounts: Accounts) -> None:
    await accounts.register("ada", "correct horse")

    accounts._hasher._argon2 = None  # type: ignore[assignment]  # whoever uses it fails
    assert await accounts.authenticate("ada", "x" * 1025) is None
