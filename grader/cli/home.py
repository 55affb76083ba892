"""Bare `practice`: progress and what to do next."""

from __future__ import annotations

import click


@click.command()
def command() -> None:
    """Your progress and what to do next."""
    from grader import workspace as workspaces
    from grader.catalog import Catalog
    from grader.cli.advice import next_steps, rows
    from grader.progress import Store
    from grader.views.light import screen
    from grader.views.plain import show_progress, show_steps

    workspace = workspaces.find()
    with Store.open(workspace) as store:
        found = rows(Catalog.load(), store)
    out = screen()
    more = "`practice list` shows all exercises, `practice --help` all commands."
    show_progress(out, found)
    show_steps(out, ["", *next_steps(workspace, found), "", more])
