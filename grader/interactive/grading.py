"""Grades in a thread, so that keys and saves are heard meanwhile, and keeps the warm server from going to sleep."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from typing import Final

from rich.console import Console

from grader.catalog import Exercise
from grader.cli.grading import Source, keep_attempt, make_data_ready
from grader.errors import PracticeError
from grader.interactive.model import Event, Failed, Graded, Judged, Said
from grader.judge.client import Cancellation, Cancelled, grade
from grader.judge.scorecard import Event as JudgeEvent
from grader.judge.scorecard import Scorecard
from grader.judge.submission import Submission
from grader.sandbox import warm
from grader.workspace import Workspace

AWAKE_SECONDS: Final = 240.0
"""Less than the time after which an idle warm server ends."""
_PREPARING: Final = threading.Lock()


class Grading:
    """One grading of one submission. What happens is told as events that carry the run's number."""

    def __init__(
        self,
        run: int,
        exercise: Exercise,
        submission: Submission,
        workspace: Workspace,
        data: Source | None,
        tell: Callable[[Event], None],
    ) -> None:
        self._run = run
        self._exercise = exercise
        self._submission = submission
        self._workspace = workspace
        self._data = data
        self._tell = tell
        self._cancellation = Cancellation()
        self._thread = threading.Thread(target=self._work, name=f"grading {run}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def cancel(self) -> None:
        """End it at once: the judge and all that it started are gone a moment later."""
        self._cancellation.cancel()

    def join(self, seconds: float) -> None:
        self._thread.join(seconds)

    def _work(self) -> None:
        try:
            self._prepare()
            card = grade(
                self._exercise,
                self._submission,
                workspace=self._workspace,
                data=self._data,
                on_event=self._on_event,
                cancellation=self._cancellation,
            )
        except Cancelled:
            return
        except PracticeError as error:
            self._tell(Failed(self._run, error.message, error.hint or "", time.monotonic()))
            return
        except Exception as error:
            said = f"This is a mistake in the kit: {type(error).__name__}: {error}"
            hint = f"`practice --debug check {self._exercise.number:02d}` shows where; please report it."
            self._tell(Failed(self._run, said, hint, time.monotonic()))
            return
        self._tell(Graded(self._run, card, time.monotonic()))
        self._record(card)

    def _prepare(self) -> None:
        """Data that a cancelled grading is still making is waited for, not made twice."""
        with _PREPARING:
            if self._cancellation.requested:
                raise Cancelled
            make_data_ready(self._workspace, [self._exercise], self._data, Console(file=_Lines(self._say), width=200))

    def _on_event(self, event: JudgeEvent) -> None:
        self._tell(Judged(self._run, event, time.monotonic()))

    def _say(self, text: str) -> None:
        if not self._cancellation.requested:
            self._tell(Said(text))

    def _record(self, card: Scorecard) -> None:
        keep_attempt(self._workspace, card, self._submission, self._say)


class _Lines(io.StringIO):
    """A stream that hands on every line written to it."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__()
        self._say = say

    def write(self, text: str) -> int:
        if text.strip():
            self._say(" ".join(text.split()))
        return len(text)


class Warmth:
    """Starts the warm server while the learner reads, and keeps it while the session lasts."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="warmth", daemon=True)

    def start(self) -> None:
        if warm.enabled():
            self._thread.start()

    def stop(self) -> None:
        self._ended.set()

    def _keep(self) -> None:
        """Whatever goes wrong here shows at the first grading, where it can be said."""
        try:
            warm.prepare(self._workspace)
            while not self._ended.wait(AWAKE_SECONDS):
                warm.status(self._workspace)
        except (PracticeError, OSError):
            return
