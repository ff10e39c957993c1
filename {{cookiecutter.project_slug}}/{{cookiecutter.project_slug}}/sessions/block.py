"""`async with` blocks of a session: one that fails undoes its changes and puts back its messages.

Blocks of several tasks take turns. A block inside another one, in tasks that it starts too, is part
of it: saved with it, or not at all.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Final

from tornado.web import Finish, HTTPError

from .dictionary import Dictionary
from .errors import SessionError
from .handler import is_finished, is_over
from .record import Notice, State
from .trips import put_back, refresh

if TYPE_CHECKING:
    from .manager import SessionManager

CLOSED: Final = (
    "the response has been given: what the session changes now would be lost. Change it before "
    "finish() or redirect(); in a job, inside of `async with session:`, or with session.modify()"
)
OUTSIDE: Final = (
    "what the session changes outside of its block would be lost: change it inside of "
    "`async with SessionManager(self) as session:`, or use SessionMixin"
)
_OPEN_INSIDE: Final = (
    "nothing is saved, since a task still has a block open inside of this block: await it first"
)
_FAULT_INSIDE: Final = (
    "nothing is saved, since a block inside of this block has failed: let its exception pass"
)

RESPONSE_FAILED: Final = (
    "nothing more is saved, since the response of the request has failed while this block was open: "
    "begin it after the response"
)

_entered: ContextVar[tuple[Block, ...]] = ContextVar("_entered", default=())
"""The blocks around the running code, of any session: an outermost block once more for each block
inside of it. Tasks inherit them, and may outlive them.
"""


class Block:
    """An outermost block."""

    is_open = True
    is_dropped = False
    """Whether the response has failed: nothing more is saved."""
    open_inside = 0
    """How many blocks inside of it are open."""
    fault: str | None = None
    """Why it saves nothing; "" where the response, which has failed, says so."""

    def __init__(self, session: SessionManager) -> None:
        self.session = session
        self.taken: list[dict[str, Notice]] = []
        """Notices that were taken in the block, to be put back if it fails."""
        self.is_settled = False
        """Whether what was changed before the block has been saved or dropped: then a block that fails
        does not restore it.
        """
        self._id, self._state = session.id, session.state
        self._changes, self._outgoing = session.changes(), session.outgoing.copy()

    def restore(self) -> None:
        """Undo the changes made in the block that were not saved."""
        session, state = self.session, self.session.state
        session.discard()
        if session.id == self._id and not self.is_settled:
            session.state = state if state is State.LOST else self._state
            session.outgoing = self._outgoing
            if session.state is State.ENDED:
                session.forget()
            for name, raw in self._changes.items():
                session.set_raw(name, raw)

    def drop(self, fault: str) -> None:
        """Let the block save nothing, and restore nothing of what was changed before it."""
        self.fault, self.is_dropped, self.is_settled = fault, True, True


def block_around(session: SessionManager) -> Block | None:
    """Return the open block of `session` around the running code."""
    if session.block is None:  # as in most requests
        return None
    blocks = (each for each in _entered.get() if each.session is session and each.is_open)
    return next(blocks, None)


async def enter(session: SessionManager) -> None:
    """Begin a block, with what the store holds by now, or one inside of it. See `SessionManager`."""
    if (block := block_around(session)) is not None:
        block.open_inside += 1
    else:
        await session.turns.acquire()
        try:
            await _load(session)
            async with session.saving:
                session.closed = ""  # not earlier: the response may leave while we load
                session.block = block = Block(session)
        except BaseException as fault:
            session.turns.release()
            session.fail(fault)
    _entered.set((*_entered.get(), block))


async def _load(session: SessionManager) -> None:
    handler = session.handler()
    is_answered = handler is None or is_finished(handler)
    session.is_plain = not session.has_mixins and not is_answered
    if session.closed:
        if session.leaves is not None:
            await asyncio.wait([session.leaves])  # for the handler's own commit
        await session.reload()
    elif session.state is State.ALIVE and is_answered:
        async with session.saving:  # a WebSocket, which may have been open for hours
            await refresh(session, partial(Dictionary.merge, replace_unchanged=True))
    else:
        await session.load()


async def leave(session: SessionManager, error: BaseException | None) -> None:
    """End the block: save, or undo what was changed in it and raise the reason."""
    block, is_inside = _left(session)
    if is_inside:
        block.open_inside -= 1
        if _is_failure(error):
            block.fault = _FAULT_INSIDE
        return
    block.is_open = False  # a block that is entered from now on is not inside it
    handler = session.handler()
    is_answered = is_over(handler)
    status = handler.get_status() if session.is_plain and handler and is_answered else 200
    reason = _OPEN_INSIDE if block.open_inside else block.fault
    try:
        if reason is not None or _is_failure(error) or status >= 500:
            block.restore()
            await put_back(session, block.taken)
            if reason and error is None:
                raise RuntimeError(reason)
        elif session.is_plain and is_answered and session.unsaved():
            raise RuntimeError(
                "the response has left before the session was saved: call redirect() or "
                "finish() after the `async with` block, or use SessionMixin"
            )
        else:
            await session.save()
            if handler is not None and not is_finished(handler):
                session.note_taken(block)  # the response may still fail
    except BaseException as fault:
        if not isinstance(fault, asyncio.CancelledError):  # which does not stop a save
            block.restore()
        await put_back(session, block.taken)
        session.fail(fault)
    finally:
        session.block = None
        if not session.has_mixins:
            session.close(OUTSIDE)
        elif is_over(session.handler()):
            session.close(CLOSED)
            if session.leaves is None:  # a WebSocket has closed meanwhile, with changes of its own
                session.leaves = asyncio.create_task(session.save_last())
        session.turns.release()
    if isinstance(error, SessionError):
        session.fail(error)


def _left(session: SessionManager) -> tuple[Block, bool]:
    """Return the block that ends, and whether it is only a part of that block."""
    entered = list(_entered.get())
    block = next((each for each in reversed(entered) if each.session is session), session.block)
    if block is None:
        raise RuntimeError("this block was entered in another task: `async with` in one task")
    if block in entered:
        entered.remove(block)
        _entered.set(tuple(entered))
    return block, block in entered


def _is_failure(error: BaseException | None) -> bool:
    """Return whether Tornado answers it with a 5xx."""
    if isinstance(error, HTTPError):
        return error.status_code >= 500
    return not isinstance(error, Finish | None)
