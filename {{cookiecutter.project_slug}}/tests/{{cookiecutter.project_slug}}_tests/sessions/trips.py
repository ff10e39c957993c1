"""Counts trips to the store in a row: those that are under way at the same time count once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from {{cookiecutter.project_slug}}.sessions import Store


class Trips:
    """The trips of one store since `clear()`."""

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
