"""The start of a new exercise: a small working one, to be rewritten piece by piece.

The files under `implement` and `debug` are templates (`string.Template`), laid out as in the bank. What they make
passes `practice author verify` as it is, so that an author begins with something that works. Nothing here grades.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from grader.catalog import Catalog
from grader.errors import PracticeError, UsageProblem
from grader.files import write_atomic
from grader.workspace import kit_bank, kit_solutions

_TEMPLATES: Final = Path(__file__).resolve().parent
_ID: Final = re.compile(r"\d\d_[a-z0-9][a-z0-9_]*")


@dataclass(frozen=True)
class Plan:
    """What is to be made. Texts as a person gives them."""

    id: str
    kind: str = "implement"
    track: str = "core"
    title: str = ""

    @property
    def words(self) -> dict[str, str]:
        title = self.title.strip() or self.id[3:].replace("_", " ").capitalize()
        quoted = title.replace("\\", "\\\\").replace('"', '\\"')
        return {"id": self.id, "number": self.id[:2], "track": self.track, "title": title, "quoted_title": quoted}


def write(plan: Plan) -> list[Path]:
    """Write the files of a new exercise; return their paths.

    Raises UsageProblem when the id is none or taken, PracticeError when the kit isn't a clone. Nothing that exists
    is overwritten.
    """
    _check(plan)
    written = []
    for target, template in _files(plan):
        write_atomic(target, string.Template(template.read_text("utf-8")).substitute(plan.words))
        written.append(target)
    return written


def _files(plan: Plan) -> Iterator[tuple[Path, Path]]:
    root = _TEMPLATES / plan.kind
    for template in sorted(root.rglob("*.tmpl")):
        name = template.relative_to(root).with_suffix("")
        if name.name == "solution.py":
            yield kit_solutions() / f"{plan.id}.py", template
        else:
            yield kit_bank() / plan.id / name, template


def _check(plan: Plan) -> None:
    if not _ID.fullmatch(plan.id):
        raise UsageProblem(
            f"`{plan.id}` can't be the id of an exercise.",
            hint="Two digits and a name in lower case: `practice author new 40_focal_loss`.",
        )
    if kit_solutions().name == "_solutions":
        raise PracticeError(
            "This kit is installed as a package; exercises are written in a clone of it.",
            hint='In the clone: `pip install -e ".[dev]"`, then run the command again.',
        )
    number = int(plan.id[:2])
    for exercise in Catalog.load():
        if exercise.number == number:
            raise UsageProblem(
                f"The number {number:02d} is taken by {exercise.id}.", hint="`practice list` shows which are in use."
            )
    for target, _ in _files(plan):
        if target.exists():
            raise UsageProblem(f"{target} is there already.", hint="Take it away, or choose another id.")
