"""What the command line asks of a judge: plain data, sent as JSON."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

Source = Literal["real", "embedded"]


@dataclass(frozen=True)
class Request:
    """One submission to grade. Paths are absolute; `source` is the submission's text."""

    exercise: str
    bank: str
    solutions: str
    datasets: str
    state: str
    path: str
    source: str
    sha256: str
    problem: str | None = None
    data: Source | None = None
    full: bool = False
    until_failure: bool = False
    seed: int = 0
    """Added to the seed of every probe: another draw of whatever is random in it, for calibration."""

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Request:
        return cls(**row)
