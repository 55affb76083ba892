"""`practice warm`: the server that stays after a check, so that the next one needn't import torch."""

from __future__ import annotations

import click

from grader.errors import PracticeError


@click.group("warm", short_help="The server that makes the next check quick.")
def command() -> None:
    """The first `check` starts a server that has imported torch, and leaves it for ten idle minutes.

    It belongs to the workspace and listens on a private socket. PRACTICE_WARM=0 does without it.
    """


@command.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print what is known as JSON.")
def status(as_json: bool) -> None:
    """Say whether a server runs for this workspace."""
    import json

    from grader import workspace as workspaces
    from grader.sandbox import warm

    known = warm.status(workspaces.find())
    if as_json:
        facts = {name: value for name, value in (known or {}).items() if name != "answer"}
        click.echo(json.dumps({"running": known is not None, **facts}, indent=2))
        return
    if known is None:
        click.echo("No server runs for this workspace; the next `practice check` starts one.")
        return
    click.echo(f"Running as process {known['pid']}; {known['graded']} graded since it started.")


@command.command("stop")
def stop() -> None:
    """Stop the server of this workspace, if one runs."""
    from grader import workspace as workspaces
    from grader.sandbox import warm

    stopped = warm.stop(workspaces.find())
    click.echo("Stopped." if stopped else "No server was running for this workspace.")


@command.command("start")
def start() -> None:
    """Start the server now, so that the first check is quick, too."""
    from grader import workspace as workspaces
    from grader.sandbox import warm

    place = workspaces.find()
    if not warm.enabled():
        raise PracticeError("There is no warm server here: PRACTICE_WARM=0 is set, or this system lacks fork.")
    started = warm.start(place)
    click.echo("Started. It goes by itself after ten idle minutes." if started else "It runs already.")
