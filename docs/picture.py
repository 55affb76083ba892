"""Draws docs/run.svg: a real `practice check` of the article's flatten bug, then of the reference.

    python docs/picture.py

Grades on embedded data in the workspace of this clone; nothing is recorded as an attempt.
"""

from __future__ import annotations

import io
import re
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

from grader import stubs, workspace
from grader.catalog import Catalog, Exercise
from grader.cli.check import subject_of
from grader.cli.grading import make_data_ready, target
from grader.files import write_atomic
from grader.judge import proof
from grader.judge.client import grade
from grader.judge.submission import read_submission
from grader.views.terminal import CheckView, show_result

EXERCISE = "01_mnist_cnn"
MUTANT = "article-flatten-6x6"
TARGET = Path(__file__).with_name("run.svg")


def main() -> None:
    exercise = Catalog.load().get(EXERCISE)
    place = workspace.find()
    make_data_ready(place, [exercise], "embedded", Console(stderr=True))
    console = Console(record=True, width=92, force_terminal=True, color_system="truecolor", file=io.StringIO())
    for source in (_mutant(exercise), stubs.solution_text(exercise)):
        console.print(Text.assemble(("$ ", "dim"), (f"practice check {EXERCISE[:2]}", "bold")))
        _show(exercise, source, place, console)
        console.print()
    svg = console.export_svg(title="practice", clear=False)
    # The page would fetch a font from elsewhere; the reader's own monospace font does.
    write_atomic(TARGET, re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL))
    print(f"wrote {TARGET.name}")


def _mutant(exercise: Exercise) -> str:
    return next(case.source for case in proof.cases(exercise) if case.name == MUTANT)


def _show(exercise: Exercise, source: str, place: workspace.Workspace, console: Console) -> None:
    subject = subject_of(target(place, exercise, solution=False, file=None))
    view = CheckView(console, subject)  # not entered: a picture has no spinner
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{exercise.id}.py"
        path.write_text(source, "utf-8")
        submission = read_submission(path, f"exercises/{exercise.id}.py")
        card = grade(exercise, submission, workspace=place, data="embedded", on_event=view.on_event)
    show_result(console, card, subject)


if __name__ == "__main__":
    main()
