"""`practice demo`: the untouched stub and then the reference of one exercise, graded live.

It grades copies in a temporary folder: nothing of the learner's is read, changed or recorded.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from rich.console import Console

    from grader.catalog import Exercise
    from grader.judge.scorecard import Scorecard
    from grader.workspace import Workspace

EXERCISE: Final = "02_cifar10_cnn"


@click.command("demo", short_help="See a stub and a finished solution graded, in under a minute.")
def command() -> None:
    """Grade the untouched stub and the reference of 02_cifar10_cnn, live, on embedded data."""
    raise click.exceptions.Exit(_demo())


def _demo() -> int:
    from grader import stubs
    from grader.catalog import Catalog
    from grader.cli.grading import make_data_ready
    from grader.views.console import console

    exercise = Catalog.load().find(EXERCISE)
    out = console()
    with tempfile.TemporaryDirectory(prefix="practice-demo-") as folder:
        workspace = _place(Path(folder))
        _say(
            out,
            f"This grades exercise {exercise.id}: “{exercise.title}”. First the stub as you would find it, "
            "then a finished solution. Both are copies; your own files are left alone.",
        )
        make_data_ready(workspace, [exercise], "embedded", console(stderr=True))
        _say(out, "1. The untouched stub. Its functions only say TODO, so there is nothing to earn yet:")
        _grade(exercise, stubs.stub_text(exercise), Path(folder), workspace, out)
        _say(
            out,
            "2. The reference. Each check runs this code in a confined process of its own and judges from "
            "outside what comes back. The cheap checks come first; the last ones really train the network:",
        )
        card = _grade(exercise, stubs.solution_text(exercise), Path(folder), workspace, out)
    if not card.passed:
        _explain_failure(out, card)
        return 3
    _farewell(out, exercise, card)
    return 0


def _place(folder: Path) -> Workspace:
    """The learner's workspace, for its data and its warm server; without one, a passing place."""
    from grader import workspace as workspaces
    from grader.errors import PracticeError

    try:
        return workspaces.find()
    except PracticeError:
        root = folder / "workspace"
        (root / "exercises").mkdir(parents=True)
        return workspaces.Workspace(root)


def _grade(exercise: Exercise, source: str, folder: Path, workspace: Workspace, out: Console) -> Scorecard:
    from grader.judge.client import grade
    from grader.judge.submission import read_submission
    from grader.views.terminal import CheckView, Subject, show_score

    path = folder / f"{exercise.id}.py"
    path.write_text(source, "utf-8")
    subject = Subject(exercise.id, exercise.title, f"practice check {exercise.id}", own=False)
    with CheckView(out, subject) as view:
        card = grade(
            exercise,
            read_submission(path),
            workspace=workspace,
            data="embedded",
            full=False,
            on_event=view.on_event,
        )
    view.complete(card)
    show_score(out, card)
    out.print()
    return card


def _explain_failure(out: Console, card: Scorecard) -> None:
    from grader.views.terminal import show_failures

    show_failures(out, card, verbose=True)
    _say(out, "The reference should have passed. `practice doctor` says whether this machine is set up well.")


def _farewell(out: Console, exercise: Exercise, card: Scorecard) -> None:
    from grader.views.terminal import show_commands

    _say(
        out,
        f"{card.score} of {card.max_score} points. When yours fails a check, you read what was expected, "
        "what your code did, why it matters, and which command helps.",
        end="\n",
    )
    show_commands(
        out,
        [
            (f"practice show {exercise.id}", "read the task"),
            (f"practice check {exercise.id}", f"grade your exercises/{exercise.id}.py"),
            ("practice list", "all exercises"),
        ],
    )


def _say(out: Console, text: str, *, end: str = "\n\n") -> None:
    width = min(out.width, 100)
    out.print(text, markup=False, highlight=False, soft_wrap=not out.is_terminal, width=width, end=end)
