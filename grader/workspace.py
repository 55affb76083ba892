"""Where things live: the learner's exercises, the references, the data and the kept state.

Only paths and how they are found. Nothing here reads an exercise (`grader.catalog`) or writes a file
(`grader.files`, `grader.progress`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from grader.errors import GraderError, PracticeError

MARKER: Final = ".practice-workspace"
"""The empty file that makes a folder a workspace without a clone; `practice init` writes it."""

PACKAGE: Final = Path(__file__).resolve().parent


class Named(Protocol):
    """Anything with an exercise's id."""

    @property
    def id(self) -> str: ...


@dataclass(frozen=True)
class Workspace:
    """A folder in which somebody practises."""

    root: Path

    @property
    def exercises(self) -> Path:
        """The files that the learner edits."""
        return self.root / "exercises"

    @property
    def solutions(self) -> Path:
        """The references: always the kit's own, so that a learner's folder can't stand in for them."""
        return kit_solutions()

    @property
    def datasets(self) -> Path:
        return self.root / "datasets_cache"

    @property
    def state(self) -> Path:
        """What the kit keeps between runs: `progress.sqlite` and `backups/`. It may not exist yet."""
        return self.root / ".practice"

    def exercise_file(self, exercise: Named) -> Path:
        return self.exercises / f"{exercise.id}.py"

    def solution_file(self, exercise: Named) -> Path:
        return self.solutions / f"{exercise.id}.py"

    def shown(self, path: Path) -> str:
        """`path` as a person would type it: relative to the current folder, else to the root, else whole."""
        for base in (_here(), self.root):
            if base is not None and path.is_relative_to(base):
                return str(path.relative_to(base))
        return str(path)


def find(start: Path | None = None, environ: Mapping[str, str] = os.environ) -> Workspace:
    """The workspace to use.

    `PRACTICE_HOME`, else the nearest folder from `start` (the current one) upwards that is a workspace, else
    the clone that this package lies in. Raises PracticeError when there is none.
    """
    home = environ.get("PRACTICE_HOME")
    if home:
        root = Path(home).expanduser()
        if not root.is_dir():
            raise PracticeError(
                f"PRACTICE_HOME names {root}, which is not a folder.",
                hint=f"Create it with `practice init {quoted(root)}`, or unset PRACTICE_HOME.",
            )
        return Workspace(root.resolve())
    origin = start if start is not None else _here()
    for folder in _upwards(origin):
        if is_workspace(folder):
            return Workspace(folder)
    if _is_clone(PACKAGE.parent):
        return Workspace(PACKAGE.parent)
    raise PracticeError(
        "There is no workspace here: no folder from this one upwards holds exercises/.",
        hint="Make one with `practice init DIR`, then `cd DIR`.",
    )


def is_workspace(folder: Path) -> bool:
    """Whether `folder` holds `exercises/` and either the marker or this project's pyproject.toml."""
    try:
        if not (folder / "exercises").is_dir():
            return False
        return (folder / MARKER).exists() or _is_clone(folder)
    except OSError:  # a folder above that may not be read is none
        return False


def kit_bank(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of the exercises' own files; `PRACTICE_BANK` names another one (for tests, for authors)."""
    other = environ.get("PRACTICE_BANK")
    return Path(other).expanduser().resolve() if other else PACKAGE / "bank"


def kit_solutions(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of the references: in a wheel, in a clone, or beside the bank that `PRACTICE_BANK` names."""
    if environ.get("PRACTICE_BANK"):
        return kit_bank(environ).parent / "solutions"
    for folder in (PACKAGE / "_solutions", PACKAGE.parent / "solutions"):
        if folder.is_dir():
            return folder
    raise GraderError(
        "The reference solutions are missing from this installation.",
        hint="Install the kit again: `pip install --force-reinstall practice-vision`.",
    )


def quoted(path: Path | str) -> str:
    """`path` as a shell takes it, for the commands that messages name."""
    import shlex

    return shlex.quote(str(path))


def _here() -> Path | None:
    try:
        return Path.cwd()
    except OSError:  # the current folder was deleted
        return None


def _upwards(origin: Path | None) -> Iterator[Path]:
    if origin is not None:
        resolved = origin.resolve()
        yield resolved
        yield from resolved.parents


def _is_clone(folder: Path) -> bool:
    try:
        return 'name = "practice-vision"' in (folder / "pyproject.toml").read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return False
