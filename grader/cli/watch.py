"""`practice watch`: show an exercise, and grade it on every save."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from grader.cli.arguments import EXERCISE
from grader.errors import UsageProblem

if TYPE_CHECKING:
    from grader.catalog import Catalog, Exercise
    from grader.cli.grading import Source
    from grader.interactive.model import State
    from grader.workspace import Workspace


@click.command()
@click.argument("exercise", required=False, metavar="[ID]", type=EXERCISE)
@click.option(
    "--data",
    type=click.Choice(["real", "embedded"]),
    help="Which data to use (default: real when it is there).",
)
def command(exercise: Exercise | None, data: Source | None) -> None:
    """Show the exercise ID and grade it whenever you save it. Without an ID: the next one that isn't passed.

    Keys are named at the bottom of the screen; ? explains them. Needs a terminal; `practice check` doesn't.
    """
    _require_terminal(exercise)
    import asyncio

    from grader import workspace as workspaces
    from grader.catalog import Catalog
    from grader.interactive.session import Session

    workspace, catalog = workspaces.find(), Catalog.load()
    session = Session(workspace, catalog, exercise or _next(workspace, catalog), data)
    code = asyncio.run(session.run())
    _farewell(session.state)
    raise click.exceptions.Exit(code)


def _require_terminal(exercise: Exercise | None) -> None:
    if sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") not in ("dumb", "unknown", "", None):
        return
    name = f"{exercise.number:02d}" if exercise is not None else "ID"
    raise UsageProblem(
        "`practice watch` needs a terminal that it can draw on, for input and output.",
        hint=f"Grade once instead: `practice check {name}`",
    )


def _next(workspace: Workspace, catalog: Catalog) -> Exercise:
    """The first exercise that isn't passed; the first of all when every one is."""
    from grader.cli.advice import next_exercise, rows
    from grader.errors import ContentError
    from grader.progress import Store

    with Store.open(workspace) as store:
        found = rows(catalog, store)
    if not found:
        raise ContentError("This installation has no exercises.", hint="`practice doctor` says more.")
    return next_exercise(found) or found[0][0]


def _farewell(state: State) -> None:
    """The screen is gone; what the learner still needs stays in the terminal."""
    from grader.views.light import screen
    from grader.views.plain import show_steps

    id, run = state.place.exercise.id, state.run
    card = run.card if run is not None else None
    standing = f": {card.score}/{card.max_score}" if card is not None and not card.has_grader_error else ""
    steps = [f"{id}{standing}"]
    if state.passed and state.place.following is not None:
        steps.append(f"  `practice watch {state.place.following.number:02d}` goes on with the next exercise")
    else:
        steps.append(f"  `practice watch {state.place.exercise.number:02d}` goes on from here")
    if run is not None and run.failures and not state.passed:
        steps.append(f"  `practice hint {state.place.exercise.number:02d}` helps")
    show_steps(screen(), steps)
