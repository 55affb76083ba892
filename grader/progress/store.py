"""Attempts and events, in the words of the rest of the kit."""

from __future__ import annotations

import sqlite3
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Self

from grader.errors import PracticeError, UsageProblem
from grader.progress.database import Database
from grader.workspace import Workspace

if TYPE_CHECKING:
    from grader.judge.scorecard import Scorecard

Status = Literal["new", "started", "passed"]

_COLUMNS = "id, exercise, at, score, max_score, passed, seconds, data, full, sha256"


@dataclass(frozen=True)
class Attempt:
    """One graded file. `n` counts its exercise's attempts from 1; `at` is local time, `seconds` wall time."""

    n: int
    exercise: str
    at: datetime
    score: int
    max_score: int
    passed: bool
    seconds: float
    data: str
    full: bool
    sha256: str

    def to_json(self) -> dict[str, Any]:
        return {
            "n": self.n,
            "at": self.at.isoformat(timespec="seconds"),
            "score": self.score,
            "max_score": self.max_score,
            "passed": self.passed,
            "seconds": round(self.seconds, 3),
            "data": self.data,
            "full": self.full,
            "sha256": self.sha256,
        }


@dataclass(frozen=True)
class Standing:
    """Where the learner stands in one exercise. `best_score` is None before the first attempt."""

    status: Status = "new"
    best_score: int | None = None
    attempts: int = 0
    hints: int = 0
    revealed: bool = False


class Store:
    """The progress of one workspace. Each method may raise PracticeError saying why it can't be used."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, workspace: Workspace, say: Callable[[str], None] | None = None) -> Store:
        """The progress of `workspace`. Nothing is created before something is written.

        `say` gets the message when a damaged file was put aside; it is printed to stderr otherwise.
        """
        return cls(Database(workspace.state / "progress.sqlite", say or _warn))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._database.close()

    # --- attempts ------------------------------------------------------------------------------------

    def record(self, scorecard: Scorecard, source: str | bytes) -> int:
        """Keep an attempt with the source that was graded; return its number within the exercise."""
        import json

        payload = source.encode("utf-8") if isinstance(source, str) else source
        row = (
            scorecard.exercise,
            time.time(),
            scorecard.score,
            scorecard.max_score,
            scorecard.passed,
            scorecard.seconds,
            scorecard.data,
            scorecard.full,
            scorecard.sha256,
            zlib.compress(payload),
            json.dumps(scorecard.to_json(), allow_nan=False),
        )

        def insert(connection: sqlite3.Connection) -> int:
            connection.execute(
                "INSERT INTO attempts (exercise, at, score, max_score, passed, seconds, data, full, sha256,"
                " source, scorecard) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )
            counted = connection.execute("SELECT count(*) FROM attempts WHERE exercise = ?", row[:1])
            return int(counted.fetchone()[0])

        return self._database.write(insert)

    def attempts(self, exercise: str) -> list[Attempt]:
        """All attempts on the exercise, oldest first."""
        rows = self._rows(f"SELECT {_COLUMNS} FROM attempts WHERE exercise = ? ORDER BY id", exercise)
        return [_attempt(n, row) for n, row in enumerate(rows, start=1)]

    def attempt(self, exercise: str, n: int) -> Attempt:
        """Attempt number `n`, else UsageProblem saying which there are."""
        found = self.attempts(exercise)
        if not 1 <= n <= len(found):
            have = f"the latest is {len(found)}" if found else "there is none yet"
            then = f"`practice history {exercise}` lists them." if found else f"`practice check {exercise}`"
            raise UsageProblem(f"There is no attempt {n} on {exercise}: {have}.", hint=then)
        return found[n - 1]

    def source(self, attempt: Attempt) -> bytes:
        """The file as it was graded."""
        row = self._row_of(attempt, "source")
        try:
            return zlib.decompress(row)
        except zlib.error as error:
            raise PracticeError(
                f"The source kept with attempt {attempt.n} on {attempt.exercise} is damaged.",
                hint=f"Try another one: `practice history {attempt.exercise}`.",
            ) from error

    def scorecard(self, attempt: Attempt) -> dict[str, Any]:
        """The scorecard as JSON, schema 1."""
        import json

        value: dict[str, Any] = json.loads(self._row_of(attempt, "scorecard"))
        return value

    def best(self, exercise: str) -> int | None:
        """The highest score so far, None before the first attempt."""
        return self.standing(exercise).best_score

    def status(self, exercise: str) -> Status:
        return self.standing(exercise).status

    def standing(self, exercise: str) -> Standing:
        return self.standings().get(exercise, Standing())

    def standings(self) -> dict[str, Standing]:
        """Where the learner stands, for every exercise that was touched."""
        tried = {
            name: (best, count, passed)
            for name, best, count, passed in self._rows(
                "SELECT exercise, max(score), count(*), max(passed) FROM attempts GROUP BY exercise"
            )
        }
        shown = "SELECT exercise, max(number) FROM events WHERE kind = 'hint' GROUP BY exercise"
        hints: dict[str, int] = dict(self._rows(shown))
        revealed = "SELECT DISTINCT exercise FROM events WHERE kind = 'revealed'"
        seen = {name for (name,) in self._rows(revealed)}
        standings = {}
        for name in tried.keys() | hints.keys() | seen:
            best, count, passed = tried.get(name, (None, 0, 0))
            status: Status = "passed" if passed else "started" if count else "new"
            standings[name] = Standing(status, best, count, hints.get(name, 0), name in seen)
        return standings

    # --- events --------------------------------------------------------------------------------------

    def hints_shown(self, exercise: str) -> int:
        """How many hints were shown so far."""
        rows = self._rows("SELECT max(number) FROM events WHERE kind = 'hint' AND exercise = ?", exercise)
        return int(rows[0][0] or 0)

    def show_hint(self, exercise: str, up_to: int | None = None) -> int:
        """Remember that one hint more was shown (or all `up_to` that number); return how many now are."""

        def step(connection: sqlite3.Connection) -> int:
            query = "SELECT max(number) FROM events WHERE kind = 'hint' AND exercise = ?"
            shown = int(connection.execute(query, (exercise,)).fetchone()[0] or 0)
            target = shown + 1 if up_to is None else max(shown, up_to)
            if target > shown:
                _insert_event(connection, exercise, "hint", target)
            return target

        return self._database.write(step)

    def mark_revealed(self, exercise: str) -> None:
        """Remember that the solution was shown before the exercise was passed."""
        self._database.write(lambda connection: _insert_event(connection, exercise, "revealed", 0))

    def revealed(self, exercise: str) -> bool:
        query = "SELECT count(*) FROM events WHERE kind = 'revealed' AND exercise = ?"
        return bool(self._rows(query, exercise)[0][0])

    # --- rows ----------------------------------------------------------------------------------------

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        return self._database.read(lambda connection: connection.execute(query, values).fetchall())

    def _row_of(self, attempt: Attempt, column: str) -> Any:
        rows = self._rows(
            f"SELECT {column} FROM attempts WHERE exercise = ? ORDER BY id LIMIT 1 OFFSET ?",
            attempt.exercise,
            attempt.n - 1,
        )
        return rows[0][0]


def record_or_warn(
    workspace: Workspace,
    scorecard: Scorecard,
    source: str | bytes,
    warn: Callable[[str], None] | None = None,
) -> int | None:
    """Keep the attempt; when that is impossible say so and return None: a verdict is never lost over it."""
    say = warn or _warn
    try:
        with Store.open(workspace, say) as store:
            return store.record(scorecard, source)
    except PracticeError as error:
        say(f"This attempt was not recorded. {error.message}" + (f" {error.hint}" if error.hint else ""))
        return None


def _insert_event(connection: sqlite3.Connection, exercise: str, kind: str, number: int) -> None:
    connection.execute(
        "INSERT INTO events (exercise, at, kind, number) VALUES (?, ?, ?, ?)",
        (exercise, time.time(), kind, number),
    )


def _attempt(n: int, row: tuple[Any, ...]) -> Attempt:
    _, exercise, at, score, max_score, passed, seconds, data, full, sha256 = row
    return Attempt(
        n=n,
        exercise=exercise,
        at=datetime.fromtimestamp(at).astimezone(),
        score=score,
        max_score=max_score,
        passed=bool(passed),
        seconds=seconds,
        data=data,
        full=bool(full),
        sha256=sha256,
    )


def _warn(message: str) -> None:
    print(f"Warning: {message}", file=sys.stderr)
