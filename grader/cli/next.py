"""`practice next`: the exercise to do next."""

from __future__ import annotations

import click


@click.command()
def command() -> None:
    """Show the first exercise that you haven't passed, and how to work on it."""
    from grader import workspace as workspaces
    from grader.catalog import Catalog
    from grader.cli.advice import next_steps, rows
    from grader.progress import Store
    from grader.views.light import screen
    from grader.views.plain import show_steps

    workspace = workspaces.find()
    with Store.open(workspace) as store:
        found = rows(Catalog.load(), store)
    show_steps(screen(), next_steps(workspace, found))
