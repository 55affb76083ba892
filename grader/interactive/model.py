"""What watch mode knows (`State`), what can happen (`Event`) and what it can do (`Effect`). Frozen data only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from grader.catalog import Exercise
from grader.interactive.picker import Picker, Row
from grader.judge.scorecard import CheckRecord, Progress, Scorecard
from grader.judge.scorecard import Event as JudgeEvent
from grader.judge.submission import Submission

Page = Literal["check", "statement", "details", "curve", "pictures", "hint", "reference", "help", "list"]
Phase = Literal["waiting", "running", "done", "stopped", "failed"]


@dataclass(frozen=True)
class Place:
    """The exercise that is open, and what is known of it apart from the runs."""

    exercise: Exercise
    file: str
    """The learner's file as a person would type it."""
    stub_sha256: str
    hints_taken: int = 0
    passed_before: bool = False
    following: Exercise | None = None
    """The exercise that `n` goes to."""
    can_edit: bool = False
    """Whether there is an editor that `o` can start."""


@dataclass(frozen=True)
class Run:
    """One grading of one saved file. `began` is on the monotonic clock, in seconds."""

    number: int
    began: float
    phase: Phase = "waiting"
    sha256: str = ""
    data: str = ""
    checks: tuple[tuple[str, str, int], ...] = ()
    records: tuple[CheckRecord, ...] = ()
    stale: tuple[CheckRecord, ...] = ()
    """What earlier runs said of checks that this one hasn't finished."""
    running: str | None = None
    halted: str | None = None
    """The check that was running when the run was stopped."""
    since: float = 0.0
    fresh: bool = False
    """Whether the judge has begun."""
    progress: Progress | None = None
    losses: tuple[tuple[str, tuple[float, ...]], ...] = ()
    """Per check that trained: the losses that it reported, in order."""
    trained_before: tuple[str, tuple[float, ...]] | None = None
    """The last training check of earlier runs, to be looked at until this run has one."""
    card: Scorecard | None = None
    before: Scorecard | None = None
    """The verdict before this run, to be read until there is a new one."""
    ended: float = 0.0
    error: tuple[str, str] = ("", "")
    """What the grader said when it couldn't grade, and what to do."""

    @property
    def active(self) -> bool:
        return self.phase in ("waiting", "running")

    @property
    def failures(self) -> tuple[CheckRecord, ...]:
        """What didn't pass for a reason of its own, in order."""
        records = self.card.checks if self.card is not None else self.records
        return tuple(r for r in records if not r.passed and r.verdict != "blocked")

    @property
    def unloadable(self) -> bool:
        """Whether the file couldn't even be loaded, so that no check ran."""
        return self.card is not None and self.card.problem is not None

    @property
    def failing(self) -> str | None:
        """The check to help with, when one ran and failed."""
        return self.failures[0].id if self.failures and not self.unloadable else None

    @property
    def passed(self) -> bool:
        return self.card is not None and self.card.passed

    @property
    def pictured(self) -> bool:
        """Whether there is something to look at."""
        return self.card is not None and bool(self.card.pictures)

    @property
    def trained(self) -> tuple[str, tuple[float, ...]] | None:
        """The last training check with its losses."""
        return next((entry for entry in reversed(self.losses) if len(entry[1]) > 1), self.trained_before)


@dataclass(frozen=True)
class State:
    """Everything that the screen shows."""

    place: Place
    run: Run | None = None
    runs: int = 0
    page: Page = "statement"
    scroll: int | None = None
    """Lines away from where the page is anchored; None until the learner scrolls."""
    read: int = 0
    """How far the statement was scrolled when it was left: reading goes on there."""
    notice: str = ""
    asking: bool = False
    """Whether the reset waits for a yes."""
    missing: bool = False
    """Whether the file isn't there."""
    is_stub: bool = False
    resetting: bool = False
    """Whether the stub is just being written, which isn't worth a check."""
    saved: Submission | None = None
    hints: tuple[int, ...] = ()
    hinted_for: str | None = None
    picker: Picker | None = None
    leaving: int | None = None
    """The exit code, once the session ends."""

    @property
    def passed(self) -> bool:
        return self.run is not None and self.run.passed

    def seen(self, page: Page, **more: object) -> State:
        """The same on another page, from where that page begins; the statement, from where it was left."""
        read = self.scroll or 0 if self.page == "statement" else self.read
        scroll = read if page == "statement" else None
        return replace(self, page=page, scroll=scroll, read=read, notice="", **more)  # type: ignore[arg-type]


# --- events --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Key:
    """A key was pressed. `limit` is how far the page that was shown can be scrolled, `room` its height in lines.

    `away` is how far from its anchor it was shown.
    """

    name: str
    away: int = 0
    limit: int = 0
    room: int = 20
    at: float = 0.0


@dataclass(frozen=True)
class Tick:
    """Time passed while something runs."""


@dataclass(frozen=True)
class Found:
    """The exercise's file as it was when it was opened; None when there is none."""

    exercise: str
    submission: Submission | None
    at: float


@dataclass(frozen=True)
class Changed:
    """The file's bytes are changing; what they become isn't known yet."""

    exercise: str
    at: float


@dataclass(frozen=True)
class Saved:
    """The file has come to rest with new content."""

    exercise: str
    submission: Submission
    at: float


@dataclass(frozen=True)
class Unchanged:
    """The file was written with the bytes that it had."""

    exercise: str
    at: float


@dataclass(frozen=True)
class Vanished:
    """The file is gone and didn't come back."""

    exercise: str


@dataclass(frozen=True)
class Judged:
    """Something happened in a grading."""

    run: int
    event: JudgeEvent
    at: float


@dataclass(frozen=True)
class Graded:
    """A grading came to its end."""

    run: int
    card: Scorecard
    at: float


@dataclass(frozen=True)
class Failed:
    """A grading couldn't be done, through no fault of the learner's."""

    run: int
    message: str
    hint: str
    at: float


@dataclass(frozen=True)
class Said:
    """Something to tell that changes nothing else."""

    text: str


@dataclass(frozen=True)
class Listed:
    """The exercises with where the learner stands, for the list."""

    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Opened:
    """Another exercise is open now."""

    place: Place


@dataclass(frozen=True)
class Stop:
    """The session has to end, with this exit code."""

    code: int


Event = (
    Key
    | Tick
    | Found
    | Changed
    | Saved
    | Unchanged
    | Vanished
    | Judged
    | Graded
    | Failed
    | Said
    | Listed
    | Opened
    | Stop
)

# --- effects -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Grade:
    run: int
    submission: Submission


@dataclass(frozen=True)
class Cancel:
    """End the grading that runs, if one does."""


@dataclass(frozen=True)
class ReadList:
    pass


@dataclass(frozen=True)
class Open:
    exercise: Exercise


@dataclass(frozen=True)
class TakeHint:
    """Remember that one hint more was shown."""


@dataclass(frozen=True)
class WriteStub:
    pass


@dataclass(frozen=True)
class Edit:
    pass


@dataclass(frozen=True)
class Suspend:
    pass


Effect = Grade | Cancel | ReadList | Open | TakeHint | WriteStub | Edit | Suspend
Step = tuple[State, tuple[Effect, ...]]


def fresh(place: Place) -> State:
    """The state in which an exercise is opened: its statement, and nothing run."""
    return State(place, hints=tuple(range(min(place.hints_taken, len(place.exercise.hints)))))
