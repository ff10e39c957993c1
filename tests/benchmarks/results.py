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
    round: int
    value: float


@dataclass(frozen=True)
class Summary:
    """A figure over all rounds."""

    by_round: dict[int, float]

    @property
    def median(self) -> float:
        return median(self.by_round.values())

    @property
    def spread(self) -> float:
        """Half the range, as a part of the median."""
        half = (max(self.by_round.values()) - min(self.by_round.values())) / 2
        return half / self.median if self.median else 0.0

    def ratio(self, other: Summary) -> float:
        """How many times `other` it is: the median of the rounds' own ratios.

        What else goes on on the machine hits both of a round, and less so both of the medians.
        """
        rounds = self.by_round.keys() & other.by_round.keys()
        if not rounds:
            return self.median / other.median
        return median(self.by_round[number] / other.by_round[number] for number in rounds)


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
        values = {
            s.round: s.value
            for s in self.samples
            if (s.workload, s.engine, s.app, s.connections, s.metric) == wanted
        }
        return Summary(values) if values else None

    def save(self, path: Path) -> None:
        samples = [asdict(sample) for sample in self.samples]
        path.write_text(json.dumps({"about": self.about, "samples": samples}, indent=1) + "\n")

    @staticmethod
    def load(path: Path) -> Results:
        content = json.loads(path.read_text())
        return Results(content["about"], [Sample(**sample) for sample in content["samples"]])
