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
from grader.errors import ContentError
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
    """One `[[measured]]` row of a `calibration.toml`: a threshold, and how far both sides lie from it."""

    check: str
    measure: str
    data: str | None
    """`real`, `embedded`, or None where the check uses no data set."""
    full: bool
    budget: str
    seeds: int
    side: str
    """`at least` or `at most`: where a right solution lies."""
    threshold: float
    reference: Spread
    strongest_mutant: tuple[str, Spread] | None
    """The mutant that trains best of those that this threshold has to tell apart."""
    why_no_mutant: str = ""
    """Which other checks catch the mutants that come nearer, when none is left to this threshold."""


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over seeds."""

    mean: float
    sd: float

    def distance(self, threshold: float) -> float:
        """In standard deviations; positive above the threshold, negative below."""
        gap = self.mean - threshold
        return gap / self.sd if self.sd else float("inf") if gap > 0 else float("-inf")


def recorded(exercise: Exercise) -> list[Recorded]:
    """What the exercise's `calibration.toml` holds; empty when it trains nothing. Raises ContentError."""
    path: Path = exercise.folder / "calibration.toml"
    if not path.is_file():
        return []
    rows = tomllib.loads(path.read_text(encoding="utf-8")).get("measured", [])
    try:
        return [_row(row) for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise ContentError(f"{path}: a [[measured]] row lacks or misstates {error}") from None


def _row(row: dict[str, Any]) -> Recorded:
    mutant = row.get("strongest_mutant")
    if mutant is None and not row.get("why_no_mutant"):
        raise KeyError("strongest_mutant (or why_no_mutant)")
    if row["side"] not in ("at least", "at most"):
        raise ValueError("side")
    return Recorded(
        check=row["check"],
        measure=row["measure"],
        data=row.get("data"),
        full=bool(row.get("full", False)),
        budget=row["budget"],
        seeds=int(row["seeds"]),
        side=row["side"],
        threshold=float(row["threshold"]),
        reference=Spread(float(row["reference"]["mean"]), float(row["reference"]["sd"])),
        strongest_mutant=mutant and (mutant["name"], Spread(float(mutant["mean"]), float(mutant["sd"]))),
        why_no_mutant=row.get("why_no_mutant", ""),
    )
