"""What the commands that grade share: the file that is meant, and the data made ready beforehand."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console

from grader.catalog import Exercise
from grader.data import prepared
from grader.data.sets import set_info
from grader.errors import PracticeError, UsageProblem
from grader.judge.scorecard import Scorecard
from grader.judge.submission import Submission, read_submission
from grader.workspace import Workspace, quoted

Source = Literal["real", "embedded"]


@dataclass(frozen=True)
class Target:
    """One exercise with the file to grade. `own` says that it is the learner's file, whose attempts count."""

    exercise: Exercise
    path: Path
    own: bool
    again: str


def target(workspace: Workspace, exercise: Exercise, *, solution: bool, file: Path | None, options: str = "") -> Target:
    """The reference, the named file or the learner's own; `options` go into the command that repeats it."""
    command = f"practice check {exercise.id}"
    own = workspace.exercise_file(exercise)
    if solution:
        return Target(exercise, workspace.solution_file(exercise), False, f"{command} --solution{options}")
    if file is None or file.absolute() == own.absolute():
        return Target(exercise, own, True, f"{command}{options}")
    return Target(exercise, file, False, f"{command} --file {quoted(file)}{options}")


def read_target(one: Target, workspace: Workspace) -> Submission:
    """The file's content. A file that isn't there is a mistake in the command, not an attempt."""
    if not os.path.lexists(one.path):
        hint = f"Write it anew: `practice reset {one.exercise.number:02d}`" if one.own else "Check the path."
        raise UsageProblem(f"{workspace.shown(one.path)} does not exist.", hint=hint)
    return read_submission(one.path, workspace.shown(one.path))


def keep_attempt(
    workspace: Workspace, card: Scorecard, submission: Submission, say: Callable[[str], None]
) -> list[Path]:
    """Record an attempt, with its pictures as files; those files. What can't be kept is only said."""
    from grader.progress import record_or_warn

    if card.has_grader_error:
        say("This attempt was not recorded, because the grader itself failed.")
        return []
    number = record_or_warn(workspace, card, submission.source, say)
    if number is None or not card.pictures:
        return []
    from grader.views.pictures import save_pictures

    try:
        return save_pictures(card, workspace.state / "pictures" / card.exercise, number)
    except PracticeError as error:
        say(f"The pictures were not kept. {error.message}")
        return []


def make_data_ready(workspace: Workspace, exercises: Iterable[Exercise], data: Source | None, console: Console) -> None:
    """Make sure that the data sets which these exercises use are there.

    Embedded ones are generated when they are needed, in a child process, once. Real ones that were asked for
    and aren't there raise PracticeError with the command that brings them.
    """
    names = sorted({name for exercise in exercises for name in exercise.datasets})
    for name in names:
        if data == "real":
            _require_real(workspace.datasets, name)
        elif data == "embedded" or not _has_real(workspace.datasets, name):
            _embed(workspace.datasets, name, console)


def _has_real(datasets: Path, name: str) -> bool:
    """Whether the real set is to be used. One that is there but damaged is reported, never passed over."""
    if not prepared.prepared(datasets, name, "real"):
        return False
    _require_real(datasets, name)
    return True


def _require_real(datasets: Path, name: str) -> None:
    prepared.check_sizes(datasets, prepared.read_meta(datasets, name, "real"))


def _embed(datasets: Path, name: str, console: Console) -> None:
    if prepared.problem(datasets, name, "embedded") is None:
        return
    title = set_info(name).title
    console.print(f"Preparing the embedded {title} once; this takes some seconds.", highlight=False, markup=False)
    since = time.monotonic()
    if console.is_terminal and not console.is_dumb_terminal:
        with console.status(f"Drawing {title}") as status:
            prepared.ensure_embedded(
                datasets,
                name,
                lambda done, total, text: status.update(f"{text}: {done}/{total}" if total else text),
            )
    else:
        prepared.ensure_embedded(datasets, name)
    console.print(f"Prepared in {time.monotonic() - since:.0f} s.", style="dim", highlight=False)
