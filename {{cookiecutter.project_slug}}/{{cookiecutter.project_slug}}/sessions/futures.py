"""A future for a handler to wait for its response, which it cannot cancel."""

from __future__ import annotations

import asyncio


def after(task: asyncio.Task[None]) -> asyncio.Future[None]:
    """Return a future for a handler to wait for: where it gives up, the task goes on."""
    waiter = asyncio.Future[None]()

    def hand_on(task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if waiter.done():
            return
        if error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(error)
            waiter.exception()  # most handlers never wait: do not report it once more

    task.add_done_callback(hand_on)
    return waiter
