"""What the two managers have in common: used without a mixin, they load and save by themselves."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from tornado.web import RequestHandler

from .visit import Visit


class Manager:
    """A part of a request's visit, as handlers use it."""

    def __init__(self, handler: RequestHandler) -> None:
        self._visit = Visit.of(handler)

    async def __aenter__(self) -> Self:
        await self._visit.load()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            await self._visit.save()
