"""`practice list`: all exercises with status and best score."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from grader.catalog import Exercise
    from grader.progress import Standing


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list instead of the table.")
def command(as_json: bool) -> None:
    """Show all exercises: track, title, level, minutes, status and best score."""
    from grader import workspace as workspaces
    from grader.catalog import Catalog
    from grader.cli.advice import rows
    from grader.progress import Store

    with Store.open(workspaces.find()) as store:
        found = rows(Catalog.load(), store)
    if as_json:
        import json

        click.echo(json.dumps([to_json(exercise, standing) for exercise, standing in found], indent=2))
        return
    from grader.views.light import screen
    from grader.views.plain import show_list

    show_list(screen(), found)
    if any(standing.revealed for _, standing in found):
        click.echo("* its solution was shown before it was passed", err=True)


def to_json(exercise: Exercise, standing: Standing) -> dict[str, Any]:
    """One row, as docs and scripts know it."""
    return {
        "id": exercise.id,
        "number": exercise.number,
        "title": exercise.title,
        "track": exercise.track,
        "kind": exercise.kind,
        "difficulty": exercise.difficulty,
        "minutes": exercise.minutes,
        "status": standing.status,
        "best_score": standing.best_score,
    }
