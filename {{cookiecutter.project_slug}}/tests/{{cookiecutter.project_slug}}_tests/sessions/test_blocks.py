"""`async with` blocks of a session: what a block that fails takes back, and what goes on around it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from tornado.web import HTTPError

from {{cookiecutter.project_slug}}.sessions import (
    SessionLost,
    Store,
    StoreUnavailable,
)
from {{cookiecutter.project_slug}}.sessions.codec import encode

from .conftest import (
    Browser,
    Clock,
    MakeBrowser,
    Pause,
    Script,
    leave_during,
    messages_of,
    run,
    value_of,
)

pytestmark = pytest.mark.gen_test


async def visitor(make_browser: MakeBrowser) -> Browser:
    browser = make_browser()

    def begin(handler: Script) -> None:
        handler.session["a"] = 1
        handler.notifications.add("once")

    await run(browser, begin)
    return browser


# --- blocks inside of blocks


async def test_an_inner_block_is_saved_by_the_outer_one_or_not_at_all(
    make_browser: MakeBrowser,
) -> None:
    browser = await visitor(make_browser)

    async def does(handler: Script) -> None:
        with contextlib.suppress(ZeroDivisionError):
            async with handler.session as session:
                session["outer"] = "discarded"
                async with session:
                    session["inner"] = "discarded"
                raise ZeroDivisionError
        assert dict(handler.session) == {"a": 1}

    assert (await run(browser, does)).status == 200
    assert await value_of(browser, "outer") == await value_of(browser, "inner") == "absent"


async def test_messages_that_an_inner_block_took_go_back_if_the_outer_one_fails(
    make_browser: MakeBrowser,
) -> None:
    browser = await visitor(make_browser)
    sessions: list[Any] = []
    await run(browser, lambda handler: sessions.append((handler.session, handler.notifications)))
    session, notifications = sessions[0]
    with contextlib.suppress(ZeroDivisionError):
        async with session:
            async with session:
                assert len(await notifications.take()) == 1
            raise ZeroDivisionError
    assert await messages_of(browser) == ["once"]


async def test_a_job_that_was_started_inside_of_a_block_has_its_turn_after_it(
    make_browser: MakeBrowser,
) -> None:
    browser = await visitor(make_browser)
    jobs: list[asyncio.Task[None]] = []

    async def job(handler: Script) -> None:
        async with handler.session as session:
            await asyncio.sleep(0.05)
            session["imported"] = "done"

    async def does(handler: Script) -> None:
        async with handler.session as session:
            session["imported"] = "under way"
            jobs.append(asyncio.create_task(job(handler)))

    assert (await run(browser, does)).status == 200
    await jobs[0]
    assert await value_of(browser, "imported") == "done"


async def test_a_block_that_opens_while_the_response_leaves_is_saved(
    make_browser: MakeBrowser, pause: Pause
) -> None:
    browser = await visitor(make_browser)
    jobs: list[asyncio.Task[None]] = []

    async def job(handler: Script) -> None:
        async with handler.session as session:
            session["b"] = 2

    async def does(handler: Script) -> None:
        writes = pause("write sessions")
        counts = asyncio.create_task(handler.session.modify("a", lambda a: a + 1))
        await writes.begun()
        jobs.append(asyncio.create_task(job(handler)))
        await asyncio.sleep(0)  # the block waits for the write
        handler.finish()
        writes.go_on()
        await counts

    assert (await run(browser, does)).status == 200
    await jobs[0]
    assert (await value_of(browser, "a"), await value_of(browser, "b")) == (2, 2)


async def test_a_change_after_a_response_that_was_given_while_a_block_was_saved_raises(
    make_browser: MakeBrowser, pause: Pause
) -> None:
    browser = await visitor(make_browser)
    jobs: list[asyncio.Task[None]] = []
    sessions: list[Any] = []

    async def job(handler: Script) -> None:
        async with handler.session as session:
            session["b"] = 2

    async def does(handler: Script) -> None:
        sessions.append(handler.session)
        writes = pause("write sessions")
        jobs.append(asyncio.create_task(job(handler)))
        await writes.begun()
        handler.finish()
        writes.go_on()

    assert (await run(browser, does)).status == 200
    await jobs[0]
    with pytest.raises(RuntimeError, match="the response has been given"):
        sessions[0]["late"] = True
    assert await value_of(browser, "b") == 2


async def test_an_error_leaves_no_half_of_a_block_inside(make_browser: MakeBrowser) -> None:
    browser = await visitor(make_browser)
    inside, may_end = asyncio.Event(), asyncio.Event()
    tasks: list[asyncio.Task[None]] = []

    async def inner(handler: Script) -> None:
        async with handler.session as session:
            session["half"] = True
            inside.set()
            await may_end.wait()

    async def does(handler: Script) -> None:
        async with handler.session:
            tasks.append(asyncio.create_task(inner(handler)))
            await inside.wait()
            raise HTTPError(404)

    assert (await run(browser, does)).status == 404
    assert await value_of(browser, "half") == "absent"
    may_end.set()
    await asyncio.wait(tasks)


# --- what a block that fails takes back


async def test_a_block_that_cannot_be_saved_puts_back_what_it_took(
    make_browser: MakeBrowser, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = await visitor(make_browser)
    sessions: list[Any] = []
    await run(browser, lambda handler: sessions.append((handler.session, handler.notifications)))
    session, notifications = sessions[0]

    async def fail(*args: Any, **options: Any) -> None:
        raise StoreUnavailable("the store", "no answer")

    async def works(patch: pytest.MonkeyPatch) -> None:
        async with session:
            assert len(await notifications.take()) == 1
            session["done"] = True
            write = store.sessions.write

            async def once(*args: Any, **options: Any) -> Any:
                patch.setattr(store.sessions, "write", write)
                return await fail()

            patch.setattr(store.sessions, "write", once)

    with monkeypatch.context() as patch, pytest.raises(StoreUnavailable):
        await works(patch)
    assert await messages_of(browser) == ["once"]


async def test_a_block_with_a_value_that_cannot_be_kept_is_undone_and_the_request_goes_on(
    make_browser: MakeBrowser,
) -> None:
    browser = await visitor(make_browser)

    async def add_an_object(handler: Script) -> None:
        async with handler.session as session:
            session.setdefault("cart", []).append(object())

    async def does(handler: Script) -> None:
        with pytest.raises(TypeError, match="cart"):
            await add_an_object(handler)
        assert dict(handler.session) == {"a": 1}
        handler.session["b"] = 2

    assert (await run(browser, does)).status == 200
    assert await value_of(browser, "b") == 2


@pytest.mark.parametrize("status", [403, 503])
async def test_a_block_that_answers_with_an_error_has_failed_as_its_response(
    make_browser: MakeBrowser, status: int
) -> None:
    browser = await visitor(make_browser)
    ended = asyncio.Event()

    async def does(handler: Script) -> None:
        async with handler.session as session:
            session["early"] = True
            assert len(await handler.notifications.take()) == 1
            handler.send_error(status)
            session["late"] = True
        ended.set()

    assert (await run(browser, does)).status == status
    await ended.wait()  # the response leaves first
    kept = True if status == 403 else "absent"
    assert await value_of(browser, "early") == kept
    assert await messages_of(browser) == ([] if status == 403 else ["once"])


@pytest.mark.parametrize("ends", [None, "regenerate", "destroy"])
@pytest.mark.parametrize("when", ["before", "during"])
@pytest.mark.parametrize("does", ["answer by itself", "fail beside a job", "beside one that fails"])
async def test_a_response_that_fails_drops_what_it_changed_before_and_during_a_block(
    make_browser: MakeBrowser, does: str, when: str, ends: str | None
) -> None:
    browser = await visitor(make_browser)
    inside, answered = asyncio.Event(), asyncio.Event()
    jobs: list[asyncio.Task[None]] = []

    async def job(handler: Script) -> None:
        async with handler.session as session:
            session["by the job"] = True
            inside.set()
            await answered.wait()
            if does == "beside one that fails":
                raise ZeroDivisionError

    def change(handler: Script) -> None:
        if ends is not None:
            getattr(handler.session, ends)()
        handler.session["admin"] = True
        handler.session["a"] = 2
        handler.notifications.add("You are admin.")

    async def fail(handler: Script) -> None:
        if when == "before":
            change(handler)
        if does == "answer by itself":
            async with handler.session as session:
                session["b"] = 1
                if when == "during":
                    change(handler)
                handler.send_error(503)
        else:
            jobs.append(asyncio.create_task(job(handler)))
            await inside.wait()
            if when == "during":
                change(handler)
            raise HTTPError(500)

    assert (await run(browser, fail)).status >= 500
    answered.set()
    for fault in await asyncio.gather(*jobs, return_exceptions=True):
        assert isinstance(fault, RuntimeError | ZeroDivisionError)
    seen: list[Any] = []
    await run(browser, lambda handler: seen.append(dict(handler.session)))
    assert seen == [{"a": 1}]
    assert await messages_of(browser) == ["once"]


async def test_a_look_in_a_block_changes_no_id(make_browser: MakeBrowser, clock: Clock) -> None:
    browser = await visitor(make_browser)
    before = browser.session_token
    clock.advance(120)  # its use is due

    async def does(handler: Script) -> None:
        async with handler.session as session:
            session.regenerate()
            await session.reload()
            raise ZeroDivisionError

    assert (await run(browser, does)).status == 500
    assert browser.session_token == before
    assert await value_of(browser, "a") == 1


async def test_none_is_a_value_that_a_block_restores_like_any_other(
    make_browser: MakeBrowser,
) -> None:
    browser = await visitor(make_browser)

    async def does(handler: Script) -> None:
        handler.session["a"] = handler.session["new"] = None
        with contextlib.suppress(ZeroDivisionError):
            async with handler.session as session:
                session["a"] = session["b"] = session["new"] = 2
                raise ZeroDivisionError
        assert dict(handler.session) == {"a": None, "new": None}

    assert (await run(browser, does)).status == 200
    values = [await value_of(browser, name) for name in ("a", "b", "new")]
    assert values == [None, "absent", None]


@pytest.mark.parametrize("in_a_block", [True, False], ids=["in a block", "by save()"])
async def test_a_value_that_cannot_be_kept_lets_destroy_end_nothing(
    make_browser: MakeBrowser, in_a_block: bool
) -> None:
    browser = await visitor(make_browser)

    async def does(handler: Script) -> None:
        async with handler.session if in_a_block else contextlib.nullcontext():
            handler.session.destroy()
            handler.session["cart"] = []
            handler.session["cart"].append(object())
            await handler.session.save()

    assert (await run(browser, does)).status == 500
    assert await value_of(browser, "a") == 1
    assert await messages_of(browser) == ["once"]


async def test_what_was_taken_in_a_block_goes_back_if_the_client_leaves_before_it_answers(
    make_browser: MakeBrowser, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = await visitor(make_browser)
    blocks = contextlib.AsyncExitStack()

    async def take(handler: Script) -> None:
        await blocks.enter_async_context(handler.session)
        assert len(await handler.notifications.take()) == 1

    async def answer(handler: Script) -> None:
        handler.finish("once")
        await blocks.aclose()

    await leave_during(browser, monkeypatch, take, answer)
    assert await messages_of(browser) == ["once"]


async def test_what_was_shown_by_a_block_that_fails_after_its_answer_is_not_shown_again(
    make_browser: MakeBrowser,
) -> None:
    browser = await visitor(make_browser)

    async def does(handler: Script) -> None:
        async with handler.session:
            messages = await handler.notifications.take()
            await handler.finish(messages[0].value)
            raise ZeroDivisionError

    assert (await run(browser, does)).text == "once"
    assert await messages_of(browser) == []


async def test_a_message_that_was_saved_in_a_block_is_not_sent_again_because_it_failed(
    make_browser: MakeBrowser,
) -> None:
    browser = make_browser()
    await run(browser, lambda handler: handler.session.set("a", 1))

    async def does(handler: Script) -> None:
        handler.notifications.add("once")
        with contextlib.suppress(ZeroDivisionError):
            async with handler.session as session:
                await session.modify("a", lambda a: a + 1)
                assert len(await handler.notifications.take()) == 1
                raise ZeroDivisionError

    assert (await run(browser, does)).status == 200
    assert await messages_of(browser) == ["once"]
    assert await messages_of(browser) == []


async def test_a_session_that_has_ended_stays_so_after_a_block_that_failed(
    make_browser: MakeBrowser,
) -> None:
    browser, tab = await visitor(make_browser), make_browser()
    tab.cookies = dict(browser.cookies)
    seen: list[Any] = []

    async def does(handler: Script) -> None:
        await run(tab, lambda handler: handler.session.destroy(), "POST")
        with contextlib.suppress(SessionLost, ZeroDivisionError):
            async with handler.session as session:
                session["b"] = 2
                await session.save()
                raise ZeroDivisionError
        seen.append(dict(handler.session))

    assert (await run(browser, does)).status == 200
    assert seen == [{}]


@pytest.mark.parametrize("then", ["nothing", "a login"])
async def test_a_block_that_failed_with_a_session_that_had_ended_saves_nothing(
    make_browser: MakeBrowser, then: str
) -> None:
    browser, tab = await visitor(make_browser), make_browser()
    tab.cookies = dict(browser.cookies)
    await run(tab, lambda handler: handler.session.destroy(), "POST")

    async def does(handler: Script) -> None:
        with contextlib.suppress(ZeroDivisionError):
            async with handler.session as session:
                session["b"] = 2
                raise ZeroDivisionError
        if then == "a login":
            handler.session.regenerate()
            handler.session["name"] = "grace"

    assert (await run(browser, does, "POST")).status == 200
    assert await value_of(browser, "name") == ("grace" if then == "a login" else "absent")
    assert await value_of(browser, "b") == "absent"


@pytest.mark.parametrize("before", ["nothing", "a change", "a new id"])
async def test_a_session_that_was_destroyed_in_a_block_that_failed_is_as_it_was(
    make_browser: MakeBrowser, before: str
) -> None:
    browser = await visitor(make_browser)

    async def does(handler: Script) -> None:
        if before == "a change":
            handler.session["a"] = 2
        elif before == "a new id":
            handler.session.regenerate()
        with contextlib.suppress(ZeroDivisionError):
            async with handler.session as session:
                session.destroy()
                session["b"] = 2
                raise ZeroDivisionError
        assert dict(handler.session) == {"a": 2 if before == "a change" else 1}

    page = await run(browser, does)
    assert (page.status, len(page.set_cookies)) == (200, int(before == "a new id"))
    assert await value_of(browser, "a") == (2 if before == "a change" else 1)
    assert await value_of(browser, "b") == "absent"


async def test_a_block_that_read_the_session_again_and_failed_keeps_what_it_read(
    make_browser: MakeBrowser, store: Store
) -> None:
    browser = await visitor(make_browser)

    async def does(handler: Script) -> None:
        with contextlib.suppress(ZeroDivisionError):
            async with handler.session as session:
                key = store.key("session", str(session.id))
                await store.sessions.write(key, {"a": encode(7)}, 100, create=False)
                await session.reload()
                raise ZeroDivisionError
        assert handler.session["a"] == 7
        handler.session["a"] = 1

    assert (await run(browser, does)).status == 200
    assert await value_of(browser, "a") == 1


async def test_what_a_job_handed_out_changes_nothing_after_its_block(
    make_browser: MakeBrowser,
) -> None:
    browser = await visitor(make_browser)
    sessions: list[Any] = []
    await run(browser, lambda handler: sessions.append(handler.session))
    async with sessions[0] as session:
        session["cart"] = cart = ["first"]
    cart.append("late")
    await session.modify("a", lambda a: a + 1)
    assert await value_of(browser, "cart") == ["first"]


async def test_a_message_that_cannot_be_put_back_is_a_line_in_the_log(
    make_browser: MakeBrowser,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    browser = await visitor(make_browser)

    async def fail(*args: Any, **options: Any) -> None:
        raise StoreUnavailable("the store", "no answer")

    async def does(handler: Script) -> None:
        await handler.notifications.take()
        monkeypatch.setattr(store.sessions, "load", fail)
        raise HTTPError(500)

    assert (await run(browser, does)).status == 500
    line = "lost 1 notices that were to be put back: session store the store: no answer"
    assert line in caplog.messages


async def test_a_stream_that_looks_for_messages_for_days_keeps_nothing(
    make_browser: MakeBrowser,
) -> None:
    browser = await visitor(make_browser)
    kept: list[int] = []

    async def does(handler: Script) -> None:
        for _ in range(3):
            await handler.notifications.take()
            kept.append(len(handler.session.taken))

    await run(browser, does)
    assert kept == [1, 1, 1]


# --- what is cancelled


@pytest.mark.parametrize("on_its_way_back", [False, True])
async def test_messages_go_back_if_who_takes_them_gives_up(
    make_browser: MakeBrowser, pause: Pause, on_its_way_back: bool
) -> None:
    browser = await visitor(make_browser)

    async def does(handler: Script) -> None:
        trip = pause("write notifications", on_its_way_back=on_its_way_back)
        takes = asyncio.create_task(handler.notifications.take())
        await trip.begun()
        takes.cancel()
        trip.go_on()
        with contextlib.suppress(asyncio.CancelledError):
            await takes

    assert (await run(browser, does)).status == 200
    assert await messages_of(browser) == ["once"]
    assert await messages_of(browser) == []


async def test_a_save_that_nobody_waits_for_and_that_fails_is_one_line_in_the_log(
    make_browser: MakeBrowser,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    browser = await visitor(make_browser)
    write, begun, may_fail = store.sessions.write, asyncio.Event(), asyncio.Event()

    async def fail(*args: Any, **options: Any) -> None:
        begun.set()
        await may_fail.wait()
        monkeypatch.setattr(store.sessions, "write", write)
        raise StoreUnavailable("the store", "no answer")

    async def does(handler: Script) -> None:
        handler.session["b"] = 2
        monkeypatch.setattr(store.sessions, "write", fail)
        save = asyncio.create_task(handler.session.save())
        await begun.wait()
        save.cancel()
        await asyncio.wait([save])
        may_fail.set()

    caplog.clear()
    assert (await run(browser, does)).status == 200
    assert await value_of(browser, "b") == 2
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert errors == ["session store the store: no answer"]
