"""A campaign: the mutants of one exercise, each graded as a learner's file would be, and what came of them.

How a file is graded is handed in; nothing here renders.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from grader.catalog import Exercise
from grader.errors import ContentError, GraderError, UsageProblem
from grader.judge.proof import Grade
from grader.judge.scorecard import Scorecard
from grader.mutation import equivalents
from grader.mutation.equivalents import Equivalent
from grader.mutation.operators import Operator, all_operators
from grader.mutation.sites import Mutant, mutants
from grader.workspace import kit_solutions

Status = Literal["killed", "timed-out", "equivalent", "survived", "revived", "grader-error"]
STATUSES: Final[tuple[Status, ...]] = ("killed", "timed-out", "equivalent", "survived", "revived", "grader-error")


@dataclass(frozen=True)
class Part:
    """The share K of N: of every N mutants in a row the K-th, so that each share meets every operator."""

    number: int = 1
    of: int = 1

    @classmethod
    def read(cls, text: str) -> Part:
        """From "2/5". Raises UsageProblem."""
        try:
            number, of = (int(part) for part in text.split("/"))
        except ValueError:
            number, of = 0, 0
        if not 1 <= number <= of:
            raise UsageProblem(f"{text!r} is no part.", hint="Write it as K/N, for example `--part 2/5`.")
        return cls(number, of)


@dataclass(frozen=True)
class Result:
    """What came of one mutant. `killed_by` is the first check that failed."""

    mutant: Mutant
    status: Status
    killed_by: str | None
    scorecard: Scorecard
    why: str = ""
    """For an equivalent the reason that is given, for an error of the grader what it was."""

    @property
    def ok(self) -> bool:
        return self.status in ("killed", "timed-out", "equivalent")


@dataclass
class Campaign:
    """The mutants of one exercise, in the order in which they are to be graded."""

    exercise: Exercise
    mutants: list[Mutant]
    equivalents: dict[equivalents.Key, Equivalent]
    stale: list[Equivalent]
    """Listed equivalents that no mutant matches."""
    results: list[Result] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.stale and all(result.ok for result in self.results)

    def grade(self, mutant: Mutant, grade: Grade) -> Result:
        """Grade one mutant until its first failure."""
        with tempfile.TemporaryDirectory(prefix="practice-mutant-") as folder:
            path = Path(folder) / f"{self.exercise.id}.py"
            path.write_text(mutant.source, "utf-8")
            try:
                card = grade(path, True)
            except GraderError as error:
                return Result(mutant, "grader-error", None, _no_card(self.exercise), error.message)
        listed = self.equivalents.get(mutant.key)
        first = card.first_failure
        killed_by = first.id if first is not None else None
        return Result(mutant, _status(card, listed), killed_by, card, listed.why if listed else "")


def plan(
    exercise: Exercise, *, operators: Sequence[str] = (), only: str | None = None, part: Part | None = None
) -> Campaign:
    """The campaign for one exercise: all its mutants, or those of some operators, of one text, of one part.

    Raises ContentError for a malformed equivalent.toml, UsageProblem for an unknown operator.
    """
    every = mutants(_solution(exercise), all_operators())
    listed = equivalents.load(exercise)
    stale = equivalents.stale(listed.values(), every)
    names = {operator.name for operator in _chosen(operators)}
    found = [mutant for mutant in every if mutant.operator.name in names and _has(mutant, only)]
    # The cheap ones first: what only a training check can tell comes late, what none can tell comes last.
    found.sort(key=lambda mutant: (mutant.key in listed, mutant.operator.late))
    share = part or Part()
    return Campaign(exercise, found[share.number - 1 :: share.of], listed, stale)


def _status(card: Scorecard, listed: Equivalent | None) -> Status:
    first = card.first_failure
    if card.has_grader_error:
        return "grader-error"
    if first is None and not card.problem:
        return "equivalent" if listed is not None else "survived"
    if listed is not None:
        return "revived"
    return "timed-out" if first is not None and first.verdict == "timed-out" else "killed"


def _no_card(exercise: Exercise) -> Scorecard:
    return Scorecard(exercise.id, "", "", "", ())


def _chosen(names: Sequence[str]) -> list[Operator]:
    every = all_operators()
    if not names:
        return every
    unknown = sorted(set(names) - {operator.name for operator in every})
    if unknown:
        raise UsageProblem(
            f"There is no operator {unknown[0]!r}.", hint="`practice author mutate --list` shows the names."
        )
    return [operator for operator in every if operator.name in names]


def _has(mutant: Mutant, text: str | None) -> bool:
    if text is None:
        return True
    return any(text in part for part in (mutant.operator.name, mutant.where, mutant.before, mutant.after))


def _solution(exercise: Exercise) -> str:
    path = kit_solutions() / f"{exercise.id}.py"
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ContentError(f"{path}: can't be read: {error}.") from error
