"""Links that are sent by mail: each proves once, for a while, that somebody reads what is sent there.

accounts.py uses this. What is in the link is a random token; the database knows only its hash, so
that whoever reads a backup can use none.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from sqlalchemy import ColumnElement, ForeignKey, String, delete, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from .database import Base, UtcDateTime


class Purpose(StrEnum):
    """What a link is for. A link for one is worth nothing for another."""

    CONFIRM = "confirm"
    CHANGE = "change"
    RESET = "reset"


LIFE = {
    Purpose.CONFIRM: timedelta(days=7),
    Purpose.CHANGE: timedelta(days=1),
    Purpose.RESET: timedelta(hours=1),
}


class Token(Base):
    __tablename__ = "tokens"

    hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    purpose: Mapped[str] = mapped_column(String(20))
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    email: Mapped[str] = mapped_column(String(254))
    """Where it was sent to."""
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)


async def make(db: AsyncSession, user_id: str, purpose: Purpose, email: str) -> str:
    """Return a new token for a link; those before it for the same purpose are worth nothing."""
    token, now = secrets.token_urlsafe(32), datetime.now(UTC)
    former = (Token.user_id == user_id) & (Token.purpose == purpose)
    await db.execute(delete(Token).where(former | (Token.expires_at <= now)))
    db.add(
        Token(
            hash=_hash(token),
            purpose=purpose,
            user_id=user_id,
            email=email,
            expires_at=now + LIFE[purpose],
        )
    )
    return token


async def find(db: AsyncSession, token: str, *purposes: Purpose) -> Token | None:
    """Return what the token is for; None if it was used, has expired, or is for something else."""
    return await db.scalar(select(Token).where(_valid(token, purposes)))


async def take(db: AsyncSession, token: str, *purposes: Purpose) -> Token | None:
    """Use the token up: of any number of requests that come with it, one gets it."""
    return await db.scalar(delete(Token).where(_valid(token, purposes)).returning(Token))


async def end_all(db: AsyncSession, user_id: str) -> None:
    """Make all links of a user worthless."""
    await db.execute(delete(Token).where(Token.user_id == user_id))


def _valid(token: str, purposes: tuple[Purpose, ...]) -> ColumnElement[bool]:
    return (
        (Token.hash == _hash(token))
        & Token.purpose.in_(purposes)
        & (Token.expires_at > datetime.now(UTC))
    )


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
