"""Figures of a run: collected, kept as JSON, summed up."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Sample:
    """One figure of one round."""

    workload: str
    engine: str
    app: str
    connections: int
    metric: str
    value: float


@dataclass(frozen=True)
class Summary:
    """A figure over all rounds."""

    median: float
    lowest: float
    highest: float

    @property
    def spread(self) -> float:
        """Half the range, as a part of the median."""
        return (self.highest - self.lowest) / 2 / self.median if self.median else 0.0


class Results:
    def __init__(self, about: dict[str, Any], samples: Iterable[Sample] = ()) -> None:
        self.about = about
        """When, on what, with which versions."""
        self.samples = list(samples)
        self.failures: list[str] = []
        """What could not be measured, and why."""

    def add(self, sample: Sample) -> None:
        self.samples.append(sample)

    def find(
        self, workload: str, engine: str, app: str, connections: int, metric: str
    ) -> Summary | None:
        """Return a figure, or None where it was not measured."""
        wanted = (workload, engine, app, connections, metric)
        values = [
            s.value
            for s in self.samples
            if (s.workload, s.engine, s.app, s.connections, s.metric) == wanted
        ]
        return Summary(median(values), min(values), max(values)) if values else None

    def save(self, path: Path) -> None:
        samples = [asdict(sample) for sample in self.samples]
        path.write_text(json.dumps({"about": self.about, "samples": samples}, indent=1) + "\n")

    @staticmethod
    def load(path: Path) -> Results:
        content = json.loads(path.read_text())
        return Results(content["about"], [Sample(**sample) for sample in content["samples"]])
