"""What to do next, as sentences with commands in them: the same words in every command."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grader.catalog import Catalog, Exercise
    from grader.progress import Standing, Store
    from grader.workspace import Workspace


def rows(catalog: Catalog, store: Store) -> list[tuple[Exercise, Standing]]:
    """Every exercise with where the learner stands in it."""
    from grader.progress import Standing

    standings = store.standings()
    return [(exercise, standings.get(exercise.id, Standing())) for exercise in catalog]


def next_exercise(found: Sequence[tuple[Exercise, Standing]]) -> Exercise | None:
    """The first exercise in order that isn't passed yet."""
    return next((exercise for exercise, standing in found if standing.status != "passed"), None)


def steps(workspace: Workspace, exercise: Exercise) -> list[str]:
    """How to work on one exercise."""
    number = f"{exercise.number:02d}"
    path = workspace.exercise_file(exercise)
    shown = workspace.shown(path)
    edit = f"Edit {shown}" if path.exists() else f"`practice reset {number}` writes the missing {shown}"
    check = f"`practice check {number}` grades it, `practice watch {number}` does so on every save"
    return [f"  {edit}", f"  {check}", f"  `practice hint {number}` helps"]


def next_steps(workspace: Workspace, found: Sequence[tuple[Exercise, Standing]]) -> list[str]:
    """What to do next in the workspace as a whole."""
    exercise = next_exercise(found)
    if not found:
        return ["This installation has no exercises: `practice doctor` says more."]
    if exercise is None:
        return ["Everything is passed. `practice list` shows the scores, `practice reset ID` begins anew."]
    number = f"{exercise.number:02d}"
    return [
        f"Next: {exercise.id}, {exercise.title} (about {exercise.minutes} min)",
        f"  `practice show {number}` says what it asks for",
        *steps(workspace, exercise),
    ]
