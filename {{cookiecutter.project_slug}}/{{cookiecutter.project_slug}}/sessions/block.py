"""An `async with` block of a session: what it changed and took goes back where it fails.

Blocks of several tasks take turns. One inside of another is a part of it.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING

from .codec import decode
from .record import Notice

if TYPE_CHECKING:
    from .manager import SessionManager

_innermost: ContextVar[Block | None] = ContextVar("_innermost", default=None)
"""The block that this code is inside of, those of other sessions and of its parent task included."""


class Block:
    """A block that is open."""

    def __init__(self, session: SessionManager, outer: Block | None, turns: asyncio.Lock) -> None:
        self.session, self.outer = session, outer
        self.is_open = True
        self.turns = asyncio.Lock()
        """Held while a block inside of this one is open."""
        self.taken: dict[str, Notice] = {}
        """Notices that were read in it, to be put back if it fails."""
        self._turn = turns
        self._id, self._state, self._stored = session.id, session.state, session.stored
        self._changes, self._outgoing = session.changes(), session.outgoing.copy()
        self._before = _innermost.get()
        _innermost.set(self)

    @staticmethod
    def of(session: SessionManager) -> Block | None:
        """Return the innermost open block of `session` that this code is inside of."""
        block = _innermost.get()
        while block is not None and not (block.is_open and block.session is session):
            block = block._before
        return block

    def restore(self) -> None:
        """Take back what was changed in it, and not saved."""
        session = self.session
        session.discard()
        if session.id == self._id:  # otherwise it has begun, moved or ended since
            session.state, session.outgoing = self._state, self._outgoing
            session.replace(self._stored)
            for name, raw in self._changes.items():
                session.set_own(name, None if raw is None else decode(raw))

    def close(self) -> None:
        """Let the next one have its turn."""
        self.is_open = False
        _innermost.set(self._before)
        self._turn.release()
