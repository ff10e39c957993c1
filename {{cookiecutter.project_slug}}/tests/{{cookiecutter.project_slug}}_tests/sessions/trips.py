"""Counts the trips to the store, and holds one up while a test does something else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from {{cookiecutter.project_slug}}.sessions import Store


class Trips:
    """The trips of one store since `clear()`. In a row, those under way at one time count once."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.in_a_row = 0
        self.made: list[str] = []
        self._under_way = 0
        for role in ("sessions", "notifications"):
            for call in ("load", "write", "end"):
                records = getattr(store, role)
                counted = self._counted(f"{call} {role}", getattr(records, call))
                monkeypatch.setattr(records, call, counted)

    def clear(self) -> None:
        self.in_a_row, self.made = 0, []

    def _counted(self, name: str, call: Any) -> Any:
        async def counted(*args: Any, **options: Any) -> Any:
            self.made.append(name)
            self.in_a_row += not self._under_way
            self._under_way += 1
            try:
                for _ in range(3):  # lets those begin that go at the same time
                    await asyncio.sleep(0)
                return await call(*args, **options)
            finally:
                self._under_way -= 1

        return counted


class Paused:
    """The next trip of one kind, such as "write sessions": it waits before the store until a test
    lets it go on; `on_its_way_back`: behind it. Those after it do not wait.
    """

    def __init__(
        self,
        store: Store,
        monkeypatch: pytest.MonkeyPatch,
        name: str,
        *,
        on_its_way_back: bool = False,
    ) -> None:
        self._begun, self._goes_on = asyncio.Event(), asyncio.Event()
        call, role = name.split()
        records = getattr(store, role)
        made = getattr(records, call)

        async def paused(*args: Any, **options: Any) -> Any:
            monkeypatch.setattr(records, call, made)
            answer = await made(*args, **options) if on_its_way_back else None
            self._begun.set()
            await self._goes_on.wait()
            return answer if on_its_way_back else await made(*args, **options)

        monkeypatch.setattr(records, call, paused)

    async def begun(self) -> None:
        """Wait until the trip is under way."""
        async with asyncio.timeout(5):
            await self._begun.wait()

    def go_on(self) -> None:
        """Let the trip reach the store."""
        self._goes_on.set()
