"""Measures what the thresholds of training checks rest on: the numbers that checks record, over many seeds.

Grades the reference, the alternates and the mutants that get as far as a measurement, each with several seeds, and
sums up every recorded measure. It decides nothing: where a threshold lies is the author's to say, in
`calibration.toml`, and a test holds it to four standard deviations. `write` brings the measured numbers there.
"""

from __future__ import annotations

import math
import statistics
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grader.catalog import Exercise
from grader.errors import ContentError
from grader.files import write_atomic
from grader.judge.proof import Case, cases
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

    @property
    def logarithm(self) -> Distribution | None:
        """The same of the natural logarithms, for what spreads over orders of magnitude. None with a value ≤ 0."""
        if min(self.values) <= 0:
            return None
        logs = tuple(math.log(value) for value in self.values)
        return Distribution(self.check, f"ln {self.measure}", self.kind, self.name, logs)


def measure(chosen: Iterable[Case], seeds: Sequence[int], grade: Grade) -> Iterator[Distribution]:
    """Yields the distributions of each case in turn. A mutant that measures nothing with the first seed is left."""
    for case in chosen:
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


def write(exercise: Exercise, source: str | None, full: bool, found: Sequence[Distribution]) -> int:
    """Put what was measured into the exercise's `calibration.toml`; return how many rows are new.

    Of each `[[measured]]` row with this data source the reference and the strongest mutant that its check has to
    catch are replaced; threshold, budget and comments stay. Rows that nothing measured stay as they are.
    Raises ContentError where the exercise has no such file.
    """
    import tomlkit

    path = exercise.folder / "calibration.toml"
    if not path.is_file():
        raise ContentError(f"{path} doesn't exist: write its [[measured]] rows with thresholds and budgets first.")
    document = tomlkit.parse(path.read_text(encoding="utf-8"))
    killers = {case.name: case.killed_by for case in cases(exercise)}
    every = [*found, *(one.logarithm for one in found if one.logarithm is not None)]
    count = 0
    for row in document.get("measured", []):
        if row.get("data") not in (None, source) or bool(row.get("full", False)) != full:
            continue
        mine = [one for one in every if (one.check, one.measure) == (row["check"], row["measure"])]
        reference = next((one for one in mine if one.kind == "solution"), None)
        if reference is None:
            continue
        row["seeds"] = len(reference.values)
        row["reference"] = _inline(reference)
        wrong = [one for one in mine if one.kind == "mutant" and killers.get(one.name) == row["check"]]
        if wrong:
            strongest = (max if row["side"] == "at least" else min)(wrong, key=lambda one: one.mean)
            row["strongest_mutant"] = _inline(strongest, strongest.name)
            row.pop("why_no_mutant", None)
        count += 1
    write_atomic(path, tomlkit.dumps(document))
    return count


def _inline(found: Distribution, name: str | None = None) -> Any:
    import tomlkit

    table = tomlkit.inline_table()
    if name is not None:
        table.append("name", name)
    numbers = {"mean": found.mean, "sd": found.sd, "min": min(found.values), "max": max(found.values)}
    for key, value in numbers.items():
        table.append(key, float(f"{value:.4g}"))
    return table
