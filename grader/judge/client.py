"""Asks for a grading and follows it: the one function that commands call. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from grader.errors import GraderError, PracticeError
from grader.judge.request import Request, Source
from grader.judge.scorecard import Event, Finished, Scorecard
from grader.judge.submission import Submission
from grader.sandbox import messages, warm
from grader.workspace import Workspace

if TYPE_CHECKING:
    from grader.catalog import Exercise


class Cancelled(Exception):
    """A grading was ended through its `Cancellation`."""


class Cancellation:
    """Ends a grading from another thread, at once, wherever it stands. It serves for one grading."""

    def __init__(self) -> None:
        self.requested = False
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None

    def cancel(self) -> None:
        """Close the connection: what waits on it wakes, and the judge at its other end gives up."""
        with self._lock:
            self.requested = True
            if self._connection is not None:
                with contextlib.suppress(OSError):
                    self._connection.shutdown(socket.SHUT_RDWR)

    def attach(self, connection: socket.socket) -> None:
        """Name the connection to close. Raises `Cancelled` when it is too late to begin."""
        with self._lock:
            self._connection = connection
            if self.requested:
                raise Cancelled


def _ignore(event: Event) -> None:
    pass


def grade(
    exercise: Exercise,
    submission: Submission,
    *,
    workspace: Workspace,
    data: Source | None = None,
    full: bool = False,
    on_event: Callable[[Event], None] = _ignore,
    until_failure: bool = False,
    seed: int = 0,
    cancellation: Cancellation | None = None,
) -> Scorecard:
    """Grades one submission and returns its scorecard; `on_event` is called as things happen.

    `seed` shifts the seeds of all probes; 0 is what learners get.

    Leaving by an exception (Ctrl-C included) closes the connection, which ends the judge and all it started.

    Raises:
        Cancelled: `cancellation` was used.
        ContentError, GraderError: the exercise or the grader failed, not the submission.
    """
    request = Request(
        exercise=exercise.id,
        bank=str(exercise.folder.parent),
        solutions=str(workspace.solutions),
        datasets=str(workspace.datasets),
        state=str(workspace.state),
        path=str(Path(submission.path).absolute()),
        source="" if submission.problem else submission.text,
        sha256=submission.sha256,
        problem=submission.problem,
        data=data,
        full=full,
        until_failure=until_failure,
        seed=seed,
    )
    for _ in range(3):
        try:
            card = _ask(request, exercise, workspace, on_event, cancellation or Cancellation())
        except _ServerStops:  # it was of another version, or was stopped just now: the next one is new
            continue
        return dataclasses.replace(card, file=submission.path)
    raise GraderError(
        "The grading process ended three times before it began.",
        hint="`practice doctor` says what is amiss; `PRACTICE_WARM=0 practice check …` grades without the warm server.",
    )


class _ServerStops(Exception):
    """The server is on its way out and won't grade."""


def _ask(
    request: Request,
    exercise: Exercise,
    workspace: Workspace,
    on_event: Callable[[Event], None],
    cancellation: Cancellation,
) -> Scorecard:
    try:
        connection, process = warm.connect(workspace, exercise.needs)
    except warm.Unreachable:
        raise _ServerStops from None
    try:
        with connection:
            cancellation.attach(connection)
            try:
                messages.send(connection, warm.hello(exercise.needs, request.to_json()))
            except OSError:
                raise _ServerStops from None
            return _follow(connection, on_event)
    except (GraderError, _ServerStops, OSError):
        if cancellation.requested:
            raise Cancelled from None
        raise
    finally:
        if process is not None:
            process.wait(10)


def _follow(connection: object, on_event: Callable[[Event], None]) -> Scorecard:
    begun = False
    while True:
        try:
            message = messages.receive(connection)  # type: ignore[arg-type]
        except (messages.Broken, OSError):
            if not begun:
                raise _ServerStops from None
            raise GraderError(
                "The grading process ended before it gave a verdict.",
                hint="Run the check again; if it repeats, run `practice doctor`.",
            ) from None
        if message.get("answer") == "stopping":
            raise _ServerStops
        begun = True
        if "error" in message:
            error = PracticeError(message["error"], hint=message["hint"])
            error.exit_code = message["exit_code"]
            raise error
        if "crash" in message:
            if os.environ.get("PRACTICE_DEBUG"):
                raise GraderError(f"The grader failed:\n{message['crash']}")
            last = message["crash"].strip().splitlines()[-1]
            raise GraderError(
                f"The grader itself failed: {last}",
                hint="This is a mistake in the kit, not in your code. Run again with --debug and report it.",
            )
        event = messages.read_event(message)
        on_event(event)
        if isinstance(event, Finished):
            return event.scorecard
