"""An `async with` block of a session: if it fails, its changes are undone and messages put back.

Blocks of several tasks take turns. A block inside another one is part of it.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING

from .codec import decode
from .record import Notice, State

if TYPE_CHECKING:
    from .manager import SessionManager

_innermost: ContextVar[Block | None] = ContextVar("_innermost", default=None)
"""The innermost block around the running code, of any session. Tasks inherit it."""


class Block:
    """A block that is open."""

    def __init__(self, session: SessionManager, outer: Block | None, turns: asyncio.Lock) -> None:
        self.session, self.outer = session, outer
        self.is_open, self.has_failed = True, False
        self.turns = asyncio.Lock()
        """Held while a block inside this one is open."""
        self.taken: list[dict[str, Notice]] = []
        """Notices that were taken in the block, to be put back if it fails."""
        self.sent: set[str] = set()
        """Fields of the notices stored while the block is open. Only the outermost block has them."""
        self._turn = turns
        self._id, self._state, self._stored = session.id, session.state, session.stored
        self._changes, self._outgoing = session.changes(), session.outgoing.copy()
        self._before = _innermost.get()
        while self._before is not None and not self._before.is_open:
            self._before = self._before._before
        _innermost.set(self)

    @staticmethod
    def of(session: SessionManager) -> Block | None:
        """Return the innermost open block of `session` around the running code."""
        block = _innermost.get()
        while block is not None and not (block.is_open and block.session is session):
            block = block._before
        return block

    @staticmethod
    def fail(session: SessionManager) -> None:
        """Mark the blocks around the running code as failed, since the response has: save nothing."""
        block = Block.of(session)
        while block is not None:
            block.has_failed = True
            block = block.outer

    def restore(self) -> None:
        """Undo the changes made in the block that were not saved."""
        session = self.session
        if session.state is State.LOST:
            return
        stored = self._stored if session.state is State.ENDED else session.stored
        session.discard()
        if session.id == self._id:  # otherwise it has begun, moved or ended since
            sent = session.block.sent if session.block is not None else set()
            session.outgoing = {f: each for f, each in self._outgoing.items() if f not in sent}
            session.state = self._state
            session.replace(stored)
            for name, raw in self._changes.items():
                session.set_own(name, None if raw is None else decode(raw))

    def close(self) -> None:
        """Let the next block have its turn."""
        self.is_open = False
        _innermost.set(self._before)
        self._turn.release()
