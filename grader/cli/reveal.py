"""`practice reveal`: the reference solution, or how the learner's file differs from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from grader.cli.arguments import exercise_argument
from grader.cli.questions import confirm, yes_option

if TYPE_CHECKING:
    from grader.catalog import Exercise
    from grader.workspace import Workspace


@click.command()
@exercise_argument
@click.option("--diff", "as_diff", is_flag=True, help="Show how your file differs from the solution.")
@yes_option
def command(exercise: Exercise, as_diff: bool, yes: bool) -> None:
    """Show the solution of the exercise ID, with the questions an interviewer asks afterwards.

    Asks once when the exercise isn't passed yet, and remembers that the solution was shown.
    """
    from grader import workspace as workspaces
    from grader.stubs import solution_text
    from grader.views.code import show_code
    from grader.views.console import console

    workspace = workspaces.find()
    solution = solution_text(exercise)
    text = _difference(workspace, exercise, solution) if as_diff else solution
    _permit(workspace, exercise, yes)
    if text:
        show_code(console(), text, "diff" if as_diff else "python")
    else:
        click.echo("Your file is the same as the solution.", err=True)
    _show_questions(exercise)


def _permit(workspace: Workspace, exercise: Exercise, yes: bool) -> None:
    """Ask, unless the exercise is passed or its solution was shown before; remember the answer."""
    from grader.errors import PracticeError
    from grader.progress import Store
    from grader.views.console import warn

    with Store.open(workspace) as store:
        standing = store.standing(exercise.id)
        if standing.status == "passed" or standing.revealed:
            return
        number = f"{exercise.number:02d}"
        confirm(
            f"You haven't passed {exercise.id} yet. Show the solution?",
            yes=yes,
            refusal=f"{exercise.id} isn't passed yet, so its solution is only shown when you say so.",
            command=f"practice reveal {number}",
        )
        try:
            store.mark_revealed(exercise.id)
        except PracticeError as error:
            warn(f"That the solution was shown can't be recorded. {error.message}", error.hint)


def _difference(workspace: Workspace, exercise: Exercise, solution: str) -> str:
    from grader.errors import PracticeError
    from grader.files import read
    from grader.views.code import difference

    path = workspace.exercise_file(exercise)
    shown = workspace.shown(path)
    if not path.exists():
        raise PracticeError(
            f"{shown} doesn't exist, so there is nothing to compare.",
            hint=f"`practice reset {exercise.number:02d}` writes it anew.",
        )
    try:
        own = read(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise PracticeError(
            f"{shown} is not UTF-8 (byte {error.start}).", hint="Save it as UTF-8 in your editor."
        ) from error
    return difference(own, solution, before_name=shown, after_name=f"solutions/{exercise.id}.py")


def _show_questions(exercise: Exercise) -> None:
    from grader.views.console import prose
    from grader.views.markdown import show_markdown

    out = prose()
    if not exercise.follow_ups:
        return
    out.print("\nWhat an interviewer asks next", style="bold")
    for number, follow_up in enumerate(exercise.follow_ups, start=1):
        out.print()
        show_markdown(out, f"**{number}. {follow_up.question}**\n\n{follow_up.answer}")
