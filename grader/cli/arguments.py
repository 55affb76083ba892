"""The argument that several commands share: an exercise, completed by the shell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from grader.catalog import Exercise

    _ParamType = click.ParamType[Any]  # generic for the type checker, and at run time only in newer versions
else:
    _ParamType = click.ParamType


class ExerciseType(_ParamType):
    """Turns what a person types into the exercise; raises UsageProblem with suggestions."""

    name = "exercise"

    def convert(self, value: Exercise | str, param: click.Parameter | None, ctx: click.Context | None) -> Exercise:
        if not isinstance(value, str):
            return value
        from grader.catalog import Catalog

        return Catalog.load().find(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        from grader.catalog import Catalog

        asked = incomplete.casefold()
        return [CompletionItem(e.id, help=e.title) for e in Catalog.load() if asked in e.id]


EXERCISE = ExerciseType()

exercise_argument = click.argument("exercise", type=EXERCISE, metavar="ID")
