"""`practice reset`: start an exercise anew, with a backup of what was there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from grader.cli.arguments import exercise_argument
from grader.cli.questions import confirm, yes_option

if TYPE_CHECKING:
    from grader.catalog import Exercise


@click.command()
@exercise_argument
@yes_option
def command(exercise: Exercise, yes: bool) -> None:
    """Write the stub of the exercise ID anew. Your file is kept in .practice/backups/ first."""
    from grader import workspace as workspaces
    from grader.files import back_up, read, write_atomic
    from grader.stubs import stub_text
    from grader.views.light import screen
    from grader.views.plain import show_steps

    workspace = workspaces.find()
    path = workspace.exercise_file(exercise)
    shown = workspace.shown(path)
    stub = stub_text(exercise)
    number = f"{exercise.number:02d}"
    said = []
    if path.is_symlink() or path.exists():
        if read(path) == stub.encode("utf-8"):
            show_steps(screen(), [f"{shown} already is the stub; nothing was changed."])
            return
        confirm(
            f"Replace {shown} by the stub? A backup is kept.",
            yes=yes,
            refusal=f"{shown} has your code; it is only replaced when you say so.",
            command=f"practice reset {number}",
        )
        copy = back_up(path, workspace.state / "backups")
        said.append(f"Your code is kept in {workspace.shown(copy)}.")
    write_atomic(path, stub)
    said += [f"Wrote the stub {shown}.", f"`practice show {number}` says what to do."]
    show_steps(screen(), said)
