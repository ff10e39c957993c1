"""A job that goes on with a request's session after the response."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from typing import Any, ClassVar

import pytest
from tornado.web import HTTPError, RequestHandler

from {{cookiecutter.project_slug}}.sessions import (
    SessionLost,
    SessionManager,
    SessionMixin,
    Store,
    StoreUnavailable,
)

from .conftest import (
    Browser,
    MakeBrowser,
    Pause,
    Routes,
    Script,
    messages_of,
    run,
    send,
    value_of,
)

pytestmark = pytest.mark.gen_test


async def in_a_block(session: Any) -> None:
    async with session:
        session["count"] = 1


async def works(session: Any, store: Store) -> None:
    async with session:
        session["first"] = "stored"
        await trips(store, 5)  # enough for another one to fail meanwhile


async def fails(session: Any, store: Store) -> None:
    async with session:
        session["second"] = "discarded"
        await trips(store, 1)
        raise ZeroDivisionError


class OpenBlock:
    """A job with a block that stays open until `end`."""

    def __init__(self) -> None:
        self._inside, self._may_end = asyncio.Event(), asyncio.Event()

    async def start(self, handler: Script) -> None:
        self._task = asyncio.create_task(self._work(handler))
        await self._inside.wait()

    async def _work(self, handler: Script) -> None:
        async with handler.session as session:
            self._inside.set()
            await self._may_end.wait()
            session["done"] = "stored"

    async def end(self) -> None:
        self._may_end.set()
        await self._task


class ImportHandler(SessionMixin, RequestHandler):
    jobs: ClassVar[list[asyncio.Task[None]]] = []

    def get(self) -> None:
        self.write(dict(self.session))

    def post(self) -> None:
        self.session["file"] = "names.csv"
        self.jobs.append(asyncio.create_task(self.job()))
        self.redirect("/")

    async def job(self) -> None:
        async with self.session as session:
            session["done"] = True


class PlainHandler(RequestHandler):
    """Has no mixins, and starts a job that waits until it may go on."""

    job: ClassVar[asyncio.Task[None]]
    may_go_on: ClassVar[asyncio.Event]

    async def get(self) -> None:
        async with SessionManager(self) as session:
            session["begun"] = True
        PlainHandler.may_go_on = asyncio.Event()
        PlainHandler.job = asyncio.create_task(self.work())

    async def work(self) -> None:
        await self.may_go_on.wait()
        async with SessionManager(self) as session:
            session["done"] = True


@pytest.fixture
def handlers() -> Routes:
    return [("/", Script), ("/import", ImportHandler), ("/plain", PlainHandler)]


async def test_a_job_that_runs_while_the_response_is_saved_loses_nothing(browser: Browser) -> None:
    for _ in ("the first request of a visitor", "another one"):
        await browser.post("/import", follow=False)
        await ImportHandler.jobs.pop()
        assert (await browser.get("/import")).text == '{"done": true, "file": "names.csv"}'


async def job_session(browser: Browser) -> Any:
    """Return what a job has of a request that is over: its session, and nothing else."""
    kept: list[Any] = []
    await run(browser, lambda handler: handler.session.set("a", 1))
    await run(browser, lambda handler: kept.append(handler.session))
    gc.collect()
    return kept[0]


async def test_a_job_changes_the_session_in_a_block_or_with_modify(
    make_browser: MakeBrowser,
) -> None:
    browser = make_browser()
    session = await job_session(browser)
    async with session:
        session["count"] = session["a"]
    assert await session.modify("count", lambda count: count + 1) == 2
    assert await value_of(browser, "count") == 2
    await session.save()  # there is nothing to save
    assert session["count"] == 2


async def test_a_job_that_changes_the_session_without_a_block_is_refused(
    make_browser: MakeBrowser,
) -> None:
    session = await job_session(make_browser())
    for _ in range(2):
        with pytest.raises(RuntimeError, match="in a job, inside of `async with session:`"):
            session["count"] = 1
        async with session:
            session["count"] = 2


async def test_a_job_whose_session_has_ended_learns_that(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    session = await job_session(browser)
    await run(browser, lambda handler: handler.session.destroy())
    with pytest.raises(SessionLost):
        await session.modify("count", lambda count: count + 1, 0)


async def test_a_job_cannot_begin_a_session_which_needs_a_cookie(make_browser: MakeBrowser) -> None:
    kept: list[Any] = []
    await run(make_browser(), lambda handler: kept.append(handler.session))
    gc.collect()
    with pytest.raises(RuntimeError, match="needs a cookie"):
        await in_a_block(kept[0])
    with pytest.raises(RuntimeError, match="needs a cookie"):
        await kept[0].modify("count", lambda count: count + 1, 0)


@pytest.mark.parametrize("operation", ["load", "write"])
async def test_a_job_without_the_mixins_learns_that_the_store_does_not_answer(
    browser: Browser, store: Store, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    await browser.get("/plain")

    async def unavailable(*args: Any, **kwargs: Any) -> None:
        raise StoreUnavailable("the store", "no answer")

    monkeypatch.setattr(store.sessions, operation, unavailable)
    PlainHandler.may_go_on.set()
    with pytest.raises(StoreUnavailable):
        await PlainHandler.job


# --- several jobs on one session


async def trips(store: Store, number: int) -> None:
    """Wait for this many replies of the store, one after the other."""
    for _ in range(number):
        await store.sessions.load("nothing")


async def test_two_jobs_that_change_one_session_at_once_lose_nothing(
    make_browser: MakeBrowser, store: Store
) -> None:
    browser = make_browser()
    session = await job_session(browser)

    async def job(name: str) -> None:
        async with session:
            session[name] = "stored"
            await trips(store, 1)

    await asyncio.gather(job("first"), job("second"))
    assert await value_of(browser, "first") == await value_of(browser, "second") == "stored"


async def test_a_job_that_begins_while_another_is_at_work_waits_for_it(
    make_browser: MakeBrowser,
) -> None:
    browser = make_browser()
    session = await job_session(browser)
    inside, waits = asyncio.Event(), asyncio.Event()

    async def first() -> None:
        async with session:
            session["first"] = "stored"
            inside.set()
            await waits.wait()

    async def second() -> None:
        await inside.wait()
        asyncio.get_running_loop().call_soon(waits.set)
        async with session:
            session["second"] = "stored"

    await asyncio.gather(first(), second())
    assert await value_of(browser, "first") == await value_of(browser, "second") == "stored"


async def test_a_block_that_is_open_when_the_response_leaves_goes_on(
    make_browser: MakeBrowser,
) -> None:
    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("first", 1))
    job = OpenBlock()
    await run(browser, job.start)
    await job.end()
    assert await value_of(browser, "done") == "stored"


@pytest.mark.parametrize("status", [404, 500])
async def test_a_block_that_is_open_when_the_response_fails_saves_nothing_and_raises(
    make_browser: MakeBrowser, status: int
) -> None:
    browser = make_browser()
    await run(browser, lambda handler: handler.notifications.add("once"))
    jobs: list[asyncio.Task[Any]] = []
    inside, answered = asyncio.Event(), asyncio.Event()

    async def job(handler: Script) -> Any:
        async with handler.session as session:
            session["first"] = 1
            taken = await handler.notifications.take()
            inside.set()
            await answered.wait()
            session["second"] = 2
        return [message.value for message in taken]

    async def does(handler: Script) -> None:
        jobs.append(asyncio.create_task(job(handler)))
        await inside.wait()
        raise HTTPError(status)

    assert (await run(browser, does)).status == status
    answered.set()
    if status == 404:  # an answer like any other
        assert await jobs[0] == ["once"]
    else:
        with pytest.raises(RuntimeError, match="the response of the request has failed"):
            await jobs[0]
    kept = status == 404
    assert await messages_of(browser) == ([] if kept else ["once"])
    names = [await value_of(browser, name) for name in ("first", "second")]
    assert names == ([1, 2] if kept else ["absent", "absent"])


@pytest.mark.parametrize("busy", [False, True], ids=["at once", "while another write is under way"])
async def test_a_block_that_is_leaving_when_the_response_fails_saves_or_raises(
    make_browser: MakeBrowser, pause: Pause, busy: bool
) -> None:
    browser = make_browser()
    await run(browser, lambda handler: handler.notifications.add("once"))
    jobs: list[asyncio.Task[None]] = []
    inside, leaves = asyncio.Event(), asyncio.Event()

    async def job(handler: Script) -> None:
        async with handler.session as session:
            session["paid"] = True
            inside.set()
            await leaves.wait()

    async def does(handler: Script) -> None:
        jobs.append(asyncio.create_task(job(handler)))
        await inside.wait()
        if busy:
            written = pause("write notifications")
            taking = asyncio.create_task(handler.notifications.take())
            await written.begun()
        leaves.set()
        await asyncio.sleep(0)
        if busy:
            asyncio.get_running_loop().call_soon(written.go_on)
            taking.add_done_callback(lambda done: done.exception())
        raise HTTPError(500)

    assert (await run(browser, does)).status == 500
    (told,) = await asyncio.gather(*jobs, return_exceptions=True)
    assert await value_of(browser, "paid") == (True if told is None else "absent")
    assert told is None or "the response of the request has failed" in str(told)


@pytest.mark.parametrize("how", ["save", "modify"])
async def test_a_block_that_is_open_when_the_response_fails_stores_no_half_of_it(
    make_browser: MakeBrowser, how: str
) -> None:
    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("first", 1))
    jobs: list[asyncio.Task[None]] = []
    inside, answered = asyncio.Event(), asyncio.Event()

    async def job(handler: Script) -> None:
        async with handler.session as session:
            session["debit"] = 1
            inside.set()
            await answered.wait()
            if how == "save":
                session["credit"] = 1
                stores = session.save()
            else:
                stores = session.modify("credit", lambda credit: credit + 1, 0)
            with pytest.raises(RuntimeError, match="the response of the request has failed"):
                await stores

    async def does(handler: Script) -> None:
        jobs.append(asyncio.create_task(job(handler)))
        await inside.wait()
        raise HTTPError(500)

    assert (await run(browser, does)).status == 500
    answered.set()
    with pytest.raises(RuntimeError, match="the response of the request has failed"):
        await jobs[0]
    assert [await value_of(browser, name) for name in ("debit", "credit")] == 2 * ["absent"]


async def test_blocks_of_two_sessions_may_be_nested_in_any_order(make_browser: MakeBrowser) -> None:
    first, second = [await job_session(make_browser()) for _ in range(2)]
    async with asyncio.timeout(5), first, second:
        await in_a_block(first)
        await in_a_block(second)
    async with asyncio.timeout(5), first:
        await in_a_block(second)


async def test_a_client_that_does_not_read_holds_up_no_job(
    make_browser: MakeBrowser, base_url: str
) -> None:
    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("first", 1))
    done = asyncio.Event()
    jobs: list[asyncio.Task[None]] = []

    async def job(handler: Script) -> None:
        async with handler.session as session:
            session["done"] = True
        done.set()

    def does(handler: Script) -> None:
        handler.session["first"] = 2
        handler.write(b"x" * 30_000_000)
        jobs.append(asyncio.create_task(job(handler)))

    Script.does = staticmethod(does)
    writer = await send(browser)
    async with asyncio.timeout(5):
        await done.wait()
    writer.transport.abort()


async def test_a_job_that_fails_discards_nothing_of_another(
    make_browser: MakeBrowser, store: Store
) -> None:
    browser = make_browser()
    session = await job_session(browser)

    jobs = works(session, store), fails(session, store)
    results = await asyncio.gather(*jobs, return_exceptions=True)
    assert [type(result) for result in results] == [type(None), ZeroDivisionError]
    assert await value_of(browser, "first") == "stored"
    assert await value_of(browser, "second") == "absent"


@pytest.mark.parametrize("task", ["the same task", "a task of its own"])
async def test_a_block_inside_of_a_block_is_a_part_of_it(
    make_browser: MakeBrowser, task: str
) -> None:
    browser = make_browser()
    session = await job_session(browser)
    async with asyncio.timeout(5), session:
        session["before"] = 1
        if task == "the same task":
            await in_a_block(session)
        else:
            await asyncio.create_task(in_a_block(session))
        session["after"] = 1
    held: list[dict[str, Any]] = []
    await run(browser, lambda handler: held.append(dict(handler.session)))
    assert held == [{"a": 1, "after": 1, "before": 1, "count": 1}]


async def test_tasks_inside_of_a_block_work_at_once_and_are_saved_with_it(
    make_browser: MakeBrowser, store: Store
) -> None:
    browser = make_browser()
    session = await job_session(browser)
    both_are_inside = asyncio.Barrier(2)

    async def job(name: str) -> None:
        async with session:
            session[name] = "stored"
            await both_are_inside.wait()

    async with asyncio.timeout(5), session:
        session["outer"] = "stored"
        await asyncio.gather(job("first"), job("second"))
    for name in ("outer", "first", "second"):
        assert await value_of(browser, name) == "stored"


@pytest.mark.parametrize("where", ["the same task", "tasks of their own"])
async def test_a_block_fails_if_one_inside_of_it_did(
    make_browser: MakeBrowser, store: Store, where: str
) -> None:
    browser = make_browser()
    session = await job_session(browser)

    async def catches() -> None:
        async with session:
            session["outer"] = "discarded"
            if where == "the same task":
                with contextlib.suppress(ZeroDivisionError):
                    await fails(session, store)
            else:
                jobs = fails(session, store), works(session, store)
                await asyncio.gather(*jobs, return_exceptions=True)

    with pytest.raises(RuntimeError, match="a block inside of this block has failed: let"):
        await catches()
    for name in ("outer", "first", "second"):
        assert await value_of(browser, name) == "absent"


async def test_a_block_inside_of_a_block_may_end_with_an_answer(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    session = await job_session(browser)
    async with session:
        with contextlib.suppress(HTTPError):
            async with session:
                session["inner"] = "stored"
                raise HTTPError(404)
    assert await value_of(browser, "inner") == "stored"


async def test_a_block_that_ends_before_one_inside_of_it_says_so(make_browser: MakeBrowser) -> None:
    browser = make_browser()
    session = await job_session(browser)
    inside, may_end = asyncio.Event(), asyncio.Event()
    tasks: list[asyncio.Task[None]] = []

    async def works() -> None:
        async with session:
            inside.set()
            await may_end.wait()
            session["late"] = "stored"

    async def ends_too_early() -> None:
        async with session:
            session["outer"] = "stored"
            tasks.append(asyncio.create_task(works()))
            await inside.wait()

    with pytest.raises(RuntimeError, match="inside of this block"):
        await ends_too_early()
    may_end.set()
    async with asyncio.timeout(5):
        with pytest.raises(RuntimeError, match="would be lost"):
            await tasks[0]
        async with session:
            session["after"] = "stored"
    assert await value_of(browser, "after") == "stored"
    for name in ("outer", "late"):
        assert await value_of(browser, name) == "absent"


# --- messages


async def test_a_message_that_was_shown_is_not_put_back_because_a_job_fails_later(
    make_browser: MakeBrowser,
) -> None:
    browser = make_browser()
    await run(browser, lambda handler: handler.notifications.add("once"))
    jobs: list[asyncio.Task[None]] = []
    answered = asyncio.Event()

    async def job(handler: Script) -> None:
        await answered.wait()
        async with handler.session as session:
            session["done"] = True
            raise ZeroDivisionError

    async def does(handler: Script) -> None:
        taken = await handler.notifications.take()
        handler.write(taken[0].value)
        jobs.append(asyncio.create_task(job(handler)))

    assert (await run(browser, does)).text == "once"
    answered.set()
    with pytest.raises(ZeroDivisionError):
        await jobs[0]
    assert await messages_of(browser) == []


@pytest.mark.parametrize("where", ["before the block", "inside of it"])
async def test_a_block_that_fails_puts_back_only_what_it_took(
    make_browser: MakeBrowser, where: str
) -> None:
    browser = make_browser()
    await run(browser, lambda handler: handler.notifications.add("once"))
    shown: list[Any] = []

    async def does(handler: Script) -> None:
        if where == "before the block":
            shown.extend(await handler.notifications.take())
        with contextlib.suppress(ZeroDivisionError):
            async with handler.session as session:
                session["done"] = True
                if where == "inside of it":
                    shown.extend(await handler.notifications.take())
                raise ZeroDivisionError

    await run(browser, does)
    assert shown == [("once", "info")]
    assert await messages_of(browser) == ([] if where == "before the block" else ["once"])


async def test_a_page_that_fails_beside_a_job_puts_back_what_the_page_took(
    make_browser: MakeBrowser,
) -> None:
    browser = make_browser()
    await run(browser, lambda handler: handler.notifications.add("once"))
    job = OpenBlock()

    async def does(handler: Script) -> None:
        await job.start(handler)
        assert len(await handler.notifications.take()) == 1
        raise HTTPError(500)

    assert (await run(browser, does)).status == 500
    assert await messages_of(browser) == ["once"]
    with pytest.raises(RuntimeError, match="the response of the request has failed"):
        await job.end()
    assert await value_of(browser, "done") == "absent"
