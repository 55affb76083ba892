"""`practice show`: an exercise's statement, its file and the next command."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from grader.cli.arguments import exercise_argument

if TYPE_CHECKING:
    from grader.catalog import Exercise


@click.command()
@exercise_argument
def command(exercise: Exercise) -> None:
    """Show what the exercise ID asks for, and which file to edit."""
    from grader import workspace as workspaces
    from grader.cli.advice import steps
    from grader.views.console import console
    from grader.views.light import screen
    from grader.views.markdown import show_markdown
    from grader.views.plain import LEVELS, show_steps

    workspace = workspaces.find()
    statement = exercise.statement
    out = console()
    facts = (exercise.track, LEVELS[exercise.difficulty], f"about {exercise.minutes} min", *exercise.topics)
    out.print(f"{exercise.id}: {exercise.title}", style="bold", markup=False, soft_wrap=True)
    out.print(" · ".join(facts), style="quiet", markup=False, soft_wrap=True)
    out.print()
    show_markdown(out, statement)
    show_steps(screen(), ["", "Next:", *steps(workspace, exercise)])
