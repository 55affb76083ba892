"""The one way in which a command asks before it does something: `--yes` answers, a pipe refuses."""

from __future__ import annotations

import sys

import click

from grader.errors import UsageProblem

yes_option = click.option("-y", "--yes", is_flag=True, help="Don't ask.")


def confirm(question: str, *, yes: bool, refusal: str, command: str) -> None:
    """Return when the person agrees. Leaves with code 1 when not; UsageProblem when nobody can be asked."""
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageProblem(refusal, hint=f"There is no terminal to ask at: `{command} --yes`.")
    if not click.confirm(question, err=True):
        click.echo("Nothing was changed.", err=True)
        raise click.exceptions.Exit(1)
