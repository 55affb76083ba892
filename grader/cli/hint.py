"""`practice hint`: one hint further each time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from grader.cli.arguments import exercise_argument

if TYPE_CHECKING:
    from grader.catalog import Exercise


@click.command()
@exercise_argument
@click.option("--all", "every", is_flag=True, help="Show all hints at once.")
def command(exercise: Exercise, every: bool) -> None:
    """Show the next hint for the exercise ID: first a nudge, in the end nearly the code."""
    hints = exercise.hints
    if not hints:
        from grader.errors import ContentError

        raise ContentError(f"{exercise.id} has no hints.", hint=f"`practice reveal {exercise.number:02d}`")
    if every:
        numbers, again = list(range(1, len(hints) + 1)), False
        _remember_all(exercise, len(hints))
    else:
        number, again = _advance(exercise, len(hints))
        numbers = [number]
    _print(exercise, hints, numbers, again)


def _advance(exercise: Exercise, count: int) -> tuple[int, bool]:
    """The hint's number that is due, remembered as shown; and whether it was seen before."""
    from grader import workspace as workspaces
    from grader.progress import Store

    with Store.open(workspaces.find()) as store:
        if store.hints_shown(exercise.id) >= count:
            return count, True
        return min(store.show_hint(exercise.id), count), False


def _remember_all(exercise: Exercise, count: int) -> None:
    """Remember that all were shown. They are shown even where nothing can be remembered."""
    from grader import workspace as workspaces
    from grader.errors import PracticeError
    from grader.progress import Store

    try:
        with Store.open(workspaces.find()) as store:
            store.show_hint(exercise.id, up_to=count)
    except PracticeError as error:
        from grader.views.console import warn

        warn(error.message, error.hint)


def _print(exercise: Exercise, hints: tuple[str, ...], numbers: list[int], again: bool) -> None:
    from grader.views.light import markdown, remarks, screen
    from grader.views.plain import show_steps

    out = screen()
    for number in numbers:
        out.line(out.paint(f"Hint {number} of {len(hints)}" + (", again" if again else ""), "bold"))
        markdown(out, hints[number - 1])
        out.line()
    name = f"{exercise.number:02d}"
    if numbers[-1] < len(hints):
        step = f"`practice hint {name}` shows the next one."
    else:
        step = f"That was the last hint. `practice reveal {name}` shows the solution."
    show_steps(remarks(), [step])
