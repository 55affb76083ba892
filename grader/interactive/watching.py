"""Watches one file and tells, once per save, what it became. Knows nothing of exercises or of the screen.

Editors write in many ways: in place, through a temporary file and a rename, by moving the old file away first, in
several pieces, by deleting. What counts is the content once it rests: a change is told at once, its content when the
file has stood still for a moment. The moment is longer where the content looks half-written: empty, gone, or not
(yet) valid Python.
"""

from __future__ import annotations

import ast
import os
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Final

from grader.interactive.model import Changed, Event, Found, Saved, Unchanged, Vanished
from grader.judge.submission import Submission, read_submission

STEP_MS: Final = 15
"""watchfiles' own rhythm: a change is known after one to two steps."""
LOOK_MS: Final = 250
"""How often the file's status is looked at, in case that no notification arrives."""
SHORT_REST: Final = 0.0
"""Nothing beyond watchfiles' own rest: what reads as a whole file is checked, and the next save ends that check."""
LONG_REST: Final = 0.15
PATIENCE: Final = 0.4
"""Seconds for which an empty or vanished file may still become something."""
LONGEST: Final = 3.0
"""Seconds after which a file that never rests is taken as it is."""

_Status = tuple[int, int, int, int] | None


class FileWatcher:
    """Tells what happens to one exercise's file, from a thread of its own, until it is stopped."""

    def __init__(self, exercise: str, path: Path, shown: str, tell: Callable[[Event], None]) -> None:
        self._exercise = exercise
        self._path = path
        self._shown = shown
        self._tell = tell
        self._stopped = threading.Event()
        self._status: _Status = None
        self._known: tuple[str, str | None] | None = None  # what was told last
        self._thread = threading.Thread(target=self._run, name=f"watch {exercise}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends soon; what it still tells is of an exercise that nobody shows."""
        self._stopped.set()

    def _run(self) -> None:
        self._first()
        while not self._stopped.is_set():
            try:
                self._follow()
            except (OSError, RuntimeError):  # no such folder, or too many watches: looking still works
                while not self._stopped.wait(LOOK_MS / 1000):
                    self._look(notified=False)
                    if self._path.parent.is_dir():
                        break

    def _follow(self) -> None:
        from watchfiles import watch

        def ours(change: object, path: str) -> bool:
            return os.path.basename(path) == self._path.name  # noqa: PTH119

        changes = watch(
            self._path.parent,
            watch_filter=ours,
            step=STEP_MS,
            debounce=4 * STEP_MS,
            rust_timeout=LOOK_MS,
            yield_on_timeout=True,
            stop_event=self._stopped,
            recursive=False,
            raise_interrupt=False,
        )
        self._look(notified=False)  # what happened before the watch began
        for found in changes:
            self._look(notified=bool(found))

    def _first(self) -> None:
        self._status = _status(self._path)
        submission = self._read()
        self._known = _identity(submission)
        self._tell(Found(self._exercise, submission, time.monotonic()))

    def _look(self, *, notified: bool) -> None:
        """Read the file where there is reason to, and tell what changed."""
        status = _status(self._path)
        if not notified and status == self._status:
            return
        submission = self._read()
        if _identity(submission) == self._known:
            touched = status != self._status
            self._status = status
            if touched and submission is not None:
                self._tell(Unchanged(self._exercise, time.monotonic()))
            return
        self._tell(Changed(self._exercise, time.monotonic()))
        self._settle()

    def _settle(self) -> None:
        """Wait until the file rests; then tell what it is."""
        began = time.monotonic()
        while True:
            status = _status(self._path)
            submission = self._read()
            rested = self._rests(status, rest_for(submission))
            if self._stopped.is_set():
                return
            if rested or time.monotonic() - began > LONGEST:
                break
        self._status = status
        self._known = _identity(submission)
        if submission is None:
            self._tell(Vanished(self._exercise))
        else:
            self._tell(Saved(self._exercise, submission, time.monotonic()))

    def _rests(self, status: _Status, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while True:
            if _status(self._path) != status or self._stopped.is_set():
                return False
            if time.monotonic() >= until:
                return True
            time.sleep(0.01)

    def _read(self) -> Submission | None:
        submission = read_submission(self._path, self._shown)
        if not submission.source and not os.path.lexists(self._path):
            return None
        return submission


def _identity(submission: Submission | None) -> tuple[str, str | None] | None:
    """What makes two reads the same: the content, or why there is none (empty, a folder, not to be read)."""
    return None if submission is None else (submission.sha256, submission.problem)


def rest_for(submission: Submission | None) -> float:
    """Seconds for which a file with this content has to stand still before it counts as saved."""
    if submission is None or not submission.source.strip():
        return PATIENCE
    return SHORT_REST if _whole(submission.source) else LONG_REST


def _whole(source: bytes) -> bool:
    """Whether it looks like a file that was written to its end."""
    if not source.endswith(b"\n") or len(source) > 200_000:
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(source)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return True


def _status(path: Path) -> _Status:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
