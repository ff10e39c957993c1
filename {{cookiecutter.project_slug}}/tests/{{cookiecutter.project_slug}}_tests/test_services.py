"""What lives as long as the application: services, background jobs, and who may import whom."""

from __future__ import annotations

import ast
import asyncio
import contextvars
from pathlib import Path

import pytest
from sqlalchemy import text

import {{cookiecutter.project_slug}}
from {{cookiecutter.project_slug}} import application
from {{cookiecutter.project_slug}}.app import App, make_app
from {{cookiecutter.project_slug}}.load import Client, check_client, client
from {{cookiecutter.project_slug}}.services import make_services
from {{cookiecutter.project_slug}}.sessions import Store
from {{cookiecutter.project_slug}}.settings import Settings

from .conftest import Start

PACKAGE = Path({{cookiecutter.project_slug}}.__file__).parent


def imports(module: str) -> set[str]:
    """The modules of the package that `module` imports, types included."""
    path = PACKAGE.joinpath(*module.split("."))
    is_package = path.is_dir()
    file = path / "__init__.py" if is_package else path.with_suffix(".py")
    parts = module.split(".")
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*parts[: len(parts) - node.level + is_package], *(node.module or "").split(".")]
            name = ".".join(filter(None, base))
            found |= {name} | {f"{name}.{each.name}".lstrip(".") for each in node.names}
    return found & MODULES - {module}


MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
} - {"__init__"}


def test_nothing_imports_the_pages_but_the_application() -> None:
    assert "handlers" in imports("app")
    for module in MODULES - {"app"}:
        if not module.startswith("handlers"):
            assert not {each for each in imports(module) if each.startswith("handlers")}, module


def test_no_two_modules_need_each_other() -> None:
    outside = {each for each in MODULES if not each.startswith("sessions.")}
    left = {module: imports(module) & outside for module in outside}
    # A package and its own modules count as one, in that direction.
    left = {m: {n for n in names if not m.startswith(f"{n}.")} for m, names in left.items()}
    while free := [module for module, names in left.items() if not names & left.keys()]:
        for module in free:
            del left[module]
    assert not left


@pytest.mark.gen_test
async def test_handlers_and_services_share_one_store(app: App) -> None:
    assert Store.of(app) is app.services.store


@pytest.mark.gen_test
async def test_services_work_without_an_application(app: App, settings: Settings) -> None:
    services = make_services(settings)
    await services.start()
    ada = await services.accounts.register("ada", "correct horse")
    await services.close()
    assert await app.services.accounts.find(ada.id) is not None


# One after the other: two event loops, and one of a process that was forked from theirs.
LOOPS = """
import asyncio, os, sys
from {{cookiecutter.project_slug}}.services import make_services
from {{cookiecutter.project_slug}}.settings import read_settings

accounts = make_services(read_settings(["app"], os.environ)).accounts

async def log_in():
    async with asyncio.timeout(10):
        assert await accounts.authenticate("nobody", "correct horse") is None
        print("done", flush=True)

asyncio.run(log_in())
asyncio.run(log_in())
if child := os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
asyncio.run(log_in())
"""


def test_services_work_in_several_loops_and_after_a_fork(start: Start, database_url: str) -> None:
    status, output = start(program=("-c", LOOPS), DATABASE_URL=database_url).end(60)
    assert (status, output.count("done")) == (0, 3), output


# --- Background jobs


@pytest.mark.gen_test
async def test_a_job_runs_from_the_start_of_the_app(settings: Settings) -> None:
    app = make_app(settings)
    ran = asyncio.Event()

    async def job() -> None:
        ran.set()

    app.background(job)
    await asyncio.sleep(0)
    assert not ran.is_set()
    await app.start()
    await ran.wait()
    await app.close()


@pytest.mark.gen_test
async def test_a_job_given_to_a_running_app_runs_at_once(app: App) -> None:
    ran = asyncio.Event()

    async def job(number: int) -> None:
        assert number == 1
        ran.set()

    app.background(job(1))
    await ran.wait()


@pytest.mark.gen_test
async def test_a_job_that_fails_is_logged_once_and_stops_no_other(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    done = asyncio.Event()

    async def tidy_up() -> None:
        raise ValueError("no broom")

    async def other() -> None:
        await asyncio.sleep(0)
        done.set()

    app.background(tidy_up)
    app.background(other)
    await done.wait()
    (record,) = [each for each in caplog.records if each.name == application.__name__]
    assert "tidy_up failed" in record.getMessage()
    assert "no broom" in caplog.text


@pytest.mark.gen_test
async def test_a_job_can_use_the_database_until_it_has_ended(app: App, settings: Settings) -> None:
    last_words = []

    async def job() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await app.services.store.ping()
            async with app.services.database.session() as db:
                last_words.append((await db.execute(text("SELECT 'bye'"))).scalar())

    app.background(job)
    await asyncio.sleep(0)
    await app.close()
    assert last_words == ["bye"]


@pytest.mark.gen_test
async def test_a_job_that_does_not_end_holds_up_nobody(
    app: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(application, "job_timeout_s", 0.05)
    may_end = asyncio.Event()

    async def job() -> None:
        while not may_end.is_set():
            try:
                await may_end.wait()
            except asyncio.CancelledError:
                continue

    app.background(job)
    await asyncio.sleep(0)
    await app.close()
    assert "1 background jobs did not end" in caplog.text
    may_end.set()


@pytest.mark.gen_test
async def test_a_job_of_an_app_that_never_started_is_not_left_behind(settings: Settings) -> None:
    app = make_app(settings)

    async def job() -> None:
        raise AssertionError

    app.background(job())  # a coroutine that nobody awaits is a warning, and a warning is an error
    await app.close()


@pytest.mark.gen_test
async def test_a_job_goes_on_when_the_client_is_gone_whose_request_began_it(app: App) -> None:
    done = asyncio.Event()

    async def job() -> None:
        check_client()
        done.set()

    request = contextvars.copy_context()
    gone = Client()
    gone.gone = True
    request.run(client.set, gone)
    request.run(app.background, job)
    await done.wait()
