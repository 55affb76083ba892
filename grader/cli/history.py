"""`practice history`: scores over time, and the way back to an earlier attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from grader.cli.arguments import exercise_argument

if TYPE_CHECKING:
    from grader.catalog import Exercise
    from grader.progress import Attempt, Store
    from grader.workspace import Workspace


@click.command()
@exercise_argument
@click.option("--show", "shown", type=click.IntRange(1), metavar="N", help="Print the source of attempt N.")
@click.option("--restore", "restored", type=click.IntRange(1), metavar="N", help="Put the source of attempt N back.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list instead of the table.")
def command(exercise: Exercise, shown: int | None, restored: int | None, as_json: bool) -> None:
    """Show your attempts on the exercise ID: when, the score, and the data they were graded on."""
    from grader import workspace as workspaces
    from grader.errors import UsageProblem
    from grader.progress import Store

    if sum((shown is not None, restored is not None, as_json)) > 1:
        raise UsageProblem("--show, --restore and --json exclude each other.", hint="`practice history --help`")
    workspace = workspaces.find()
    with Store.open(workspace) as store:
        if shown is not None:
            _show(store, store.attempt(exercise.id, shown))
        elif restored is not None:
            _restore(workspace, exercise, store, store.attempt(exercise.id, restored))
        elif as_json:
            import json

            click.echo(json.dumps([attempt.to_json() for attempt in store.attempts(exercise.id)], indent=2))
        else:
            _table(exercise, store.attempts(exercise.id))


def _show(store: Store, attempt: Attempt) -> None:
    """The source, highlighted on a terminal, byte for byte in a pipe."""
    import sys

    source = store.source(attempt)
    if not sys.stdout.isatty():
        sys.stdout.buffer.write(source)
        return
    from grader.views.code import show_code
    from grader.views.console import console

    show_code(console(), source.decode("utf-8", errors="replace"))


def _restore(workspace: Workspace, exercise: Exercise, store: Store, attempt: Attempt) -> None:
    from grader.files import back_up, read, write_atomic
    from grader.views.light import screen
    from grader.views.plain import show_steps

    source = store.source(attempt)
    path = workspace.exercise_file(exercise)
    shown = workspace.shown(path)
    said = []
    if path.exists():
        if read(path) == source:
            show_steps(screen(), [f"{shown} already is attempt {attempt.n}; nothing was changed."])
            return
        copy = back_up(path, workspace.state / "backups")
        said.append(f"What {shown} held is kept in {workspace.shown(copy)}.")
    write_atomic(path, source)
    said.append(f"Attempt {attempt.n} ({attempt.score}/{attempt.max_score}) is back in {shown}.")
    show_steps(screen(), [*said, f"`practice check {exercise.number:02d}` grades it again."])


def _table(exercise: Exercise, attempts: list[Attempt]) -> None:
    from grader.views.light import remarks, screen
    from grader.views.plain import show_history, show_steps

    number = f"{exercise.number:02d}"
    if not attempts:
        first = f"`practice check {number}` makes the first."
        show_steps(screen(), [f"No attempt on {exercise.id} yet. {first}"])
        return
    show_history(screen(), attempts)
    latest = attempts[-1].n
    show_steps(
        remarks(),
        [
            f"`practice history {number} --show {latest}` prints the source of attempt {latest},",
            f"`practice history {number} --restore {latest}` puts it back (after a backup).",
        ],
    )
