"""The result of grading one submission, and the events that announce it while it grows.

Plain, frozen data: a view renders a scorecard, none computes one. Nothing here imports torch or pytest.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

SCHEMA: Final = 1

Verdict = Literal[
    "passed",
    "failed",
    "blocked",
    "timed-out",
    "out-of-memory",
    "crashed",
    "exited",
    "output-limit",
    "not-loadable",
    "not-implemented",
    "forbidden",
    "grader-error",
]
VERDICTS: Final[tuple[Verdict, ...]] = get_args(Verdict)


@dataclass(frozen=True)
class Picture:
    """Something to look at that the candidate's code made: filters, samples. Never part of a verdict."""

    title: str
    width: int
    """In pixels, as `height`."""
    height: int
    png: str
    """The file's bytes in base64."""


@dataclass(frozen=True)
class CheckRecord:
    """What one check found. `output` is what the candidate's code printed, capped."""

    id: str
    title: str
    verdict: Verdict
    points: int
    max_points: int
    seconds: float = 0.0
    expected: str | None = None
    actual: str | None = None
    because: str | None = None
    looks_like: str | None = None
    location: str | None = None
    """Where in the learner's file, with the code: `line 12, in forward: x = x.view(-1, 64*6*6)`."""
    why: str | None = None
    """Why an interviewer cares about this check, whatever its verdict."""
    blocked_by: str | None = None
    """The id of the check that has to pass first, when the verdict is `blocked`."""
    output: str = ""
    measures: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    details: tuple[tuple[str, str], ...] = ()
    """More about the evidence, as label and text: shapes, dtypes, errors, a corner of both tensors."""
    pictures: tuple[Picture, ...] = ()

    @property
    def passed(self) -> bool:
        return self.verdict == "passed"


@dataclass(frozen=True)
class Scorecard:
    """The whole result of one run. `seconds` is wall time from request to verdict."""

    exercise: str
    file: str
    sha256: str
    data: str
    checks: tuple[CheckRecord, ...]
    seconds: float = 0.0
    full: bool = False
    problem: str | None = None
    """What kept the file from being loaded at all (syntax error with line and caret, not UTF-8, empty …)."""

    @property
    def score(self) -> int:
        return sum(record.points for record in self.checks)

    @property
    def max_score(self) -> int:
        return sum(record.max_points for record in self.checks)

    @property
    def passed(self) -> bool:
        return bool(self.checks) and all(record.passed for record in self.checks)

    @property
    def pictures(self) -> tuple[Picture, ...]:
        return tuple(picture for record in self.checks for picture in record.pictures)

    @property
    def has_grader_error(self) -> bool:
        return any(record.verdict == "grader-error" for record in self.checks)

    @property
    def first_failure(self) -> CheckRecord | None:
        """The first check that was not passed and not merely blocked by another."""
        return next((r for r in self.checks if not r.passed and r.verdict != "blocked"), None)

    def to_json(self) -> dict[str, Any]:
        """The public form, schema 1: stable names, safe for `json.dumps(…, allow_nan=False)`."""
        checks = []
        for record in self.checks:
            row = dataclasses.asdict(record)
            row["notes"] = list(record.notes)
            row["pictures"] = list(row["pictures"])
            row["measures"] = {k: v if v == v and abs(v) != float("inf") else None for k, v in record.measures.items()}
            checks.append(row)
        return {
            "schema": SCHEMA,
            "exercise": self.exercise,
            "file": self.file,
            "sha256": self.sha256,
            "data": self.data,
            "full": self.full,
            "passed": self.passed,
            "score": self.score,
            "max_score": self.max_score,
            "seconds": round(self.seconds, 3),
            "problem": self.problem,
            "checks": checks,
        }


# --- events, in the order in which they come -----------------------------------------------------------


@dataclass(frozen=True)
class Started:
    """Grading began: the declared checks as (id, title, points), in order."""

    checks: tuple[tuple[str, str, int], ...]
    data: str


@dataclass(frozen=True)
class CheckStarted:
    id: str


@dataclass(frozen=True)
class Progress:
    """A training check got on: `done` of `total` steps; `loss` of the latest one, when known."""

    id: str
    done: int
    total: int
    loss: float | None = None


@dataclass(frozen=True)
class CheckFinished:
    record: CheckRecord


@dataclass(frozen=True)
class Finished:
    scorecard: Scorecard


Event = Started | CheckStarted | Progress | CheckFinished | Finished
