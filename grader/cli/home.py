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
    from grader.views.console import console
    from grader.views.plain import show_progress

    workspace = workspaces.find()
    with Store.open(workspace) as store:
        found = rows(Catalog.load(), store)
    out = console()
    show_progress(out, found, next_steps(workspace, found))
    show = "`practice list` shows all exercises, `practice --help` all commands."
    from grader.views.plain import show_steps

    show_steps(out, ["", show])
