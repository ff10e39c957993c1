"""`async with` blocks of a session: one that fails undoes its changes and puts back its messages.

Blocks of several tasks take turns. A block inside another one, in tasks that it starts too, is part
of it: saved with it, or not at all.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from .codec import decode
from .record import Notice, State

if TYPE_CHECKING:
    from .manager import SessionManager

_entered: ContextVar[tuple[Block, ...]] = ContextVar("_entered", default=())
"""The blocks around the running code, of any session: an outermost block once more for each block
inside of it. Tasks inherit them, and may outlive them.
"""


class Block:
    """An outermost block."""

    is_open = True
    open_inside = 0
    """How many blocks inside of it are open."""
    fault: str | None = None
    """Why it saves nothing; "" where the response, which has failed, says so."""

    def __init__(self, session: SessionManager) -> None:
        self.session = session
        self.taken: list[dict[str, Notice]] = []
        """Notices that were taken in the block, to be put back if it fails."""
        self.is_saved = False
        """Whether changes made before the block began were saved while it was open."""
        self._id, self._state = session.id, session.state
        self._changes, self._outgoing = session.changes(), session.outgoing.copy()

    def restore(self) -> None:
        """Undo the changes made in the block that were not saved."""
        session = self.session
        if session.state is State.LOST:
            return
        session.discard()
        if session.id == self._id and not self.is_saved:
            session.state, session.outgoing = self._state, self._outgoing
            for name, raw in self._changes.items():
                session.set_own(name, None if raw is None else decode(raw))


def block_around(session: SessionManager) -> Block | None:
    """Return the open block of `session` around the running code."""
    blocks = (each for each in _entered.get() if each.session is session and each.is_open)
    return next(blocks, None)


def enter(block: Block) -> None:
    _entered.set((*_entered.get(), block))


def leave(session: SessionManager) -> tuple[Block, bool]:
    """Return the block that ends, and whether it is only a part of that block."""
    entered = list(_entered.get())
    block = next((each for each in reversed(entered) if each.session is session), session.block)
    if block is None:
        raise RuntimeError("this block was entered in another task: `async with` in one task")
    if block in entered:
        entered.remove(block)
        _entered.set(tuple(entered))
    return block, block in entered
