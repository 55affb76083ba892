"""Measures what the thresholds of training checks rest on: the numbers that checks record, over many seeds.

Grades the reference, the alternates and the mutants that get as far as a measurement, each with several seeds, and
sums up every recorded measure. It decides nothing: where a threshold lies is the author's to say, in
`calibration.toml`, and a test holds it to four standard deviations.
"""

from __future__ import annotations

import statistics
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grader.catalog import Exercise
from grader.judge.proof import Case
from grader.judge.scorecard import Scorecard

Grade = Callable[[Case, int], Scorecard]
"""Grades a case with a seed, to the end."""


@dataclass(frozen=True)
class Distribution:
    """One measure of one file over seeds."""

    check: str
    measure: str
    kind: str
    """`solution`, `alternate` or `mutant`."""
    name: str
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def sd(self) -> float:
        """Sample standard deviation; 0 for a single value."""
        return statistics.stdev(self.values) if len(self.values) > 1 else 0.0

    def distance(self, threshold: float) -> float:
        """How many standard deviations the mean lies from a threshold; infinite when nothing varies."""
        gap = abs(self.mean - threshold)
        return gap / self.sd if self.sd else float("inf") if gap else 0.0


def measure(cases: Iterable[Case], seeds: Sequence[int], grade: Grade) -> Iterator[Distribution]:
    """Yields the distributions of each case in turn. A mutant that measures nothing with the first seed is left."""
    for case in cases:
        found: dict[tuple[str, str], list[float]] = {}
        for seed in seeds:
            card = grade(case, seed)
            for record in card.checks:
                for name, value in record.measures.items():
                    found.setdefault((record.id, name), []).append(value)
            if not found and case.kind == "mutant":
                break
        for (check, name), values in found.items():
            yield Distribution(check, name, case.kind, case.name, tuple(values))


@dataclass(frozen=True)
class Recorded:
    """One row of a `calibration.toml`."""

    check: str
    what: str
    seeds: int
    threshold: float
    mean: float
    sd: float
    mutants: dict[str, dict[str, Any]]

    @property
    def reference_distance(self) -> float:
        gap = abs(self.mean - self.threshold)
        return gap / self.sd if self.sd else float("inf")


def recorded(exercise: Exercise) -> list[Recorded]:
    """What the exercise's `calibration.toml` holds; empty when it trains nothing."""
    path: Path = exercise.folder / "calibration.toml"
    if not path.is_file():
        return []
    rows = tomllib.loads(path.read_text(encoding="utf-8")).get("measured", [])
    return [
        Recorded(
            check=row["check"],
            what=row["what"],
            seeds=row["seeds"],
            threshold=float(row["threshold"]),
            mean=float(row["reference"]["mean"]),
            sd=float(row["reference"]["sd"]),
            mutants=row.get("mutants", {}),
        )
        for row in rows
    ]
