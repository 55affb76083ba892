"""The tables and short texts of the plain commands: the list, the progress, the history.

They lay out what they are given; status and scores come from `grader.progress`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from grader.views.console import with_commands

if TYPE_CHECKING:
    from grader.catalog import Exercise
    from grader.progress import Attempt, Standing

LEVELS: Final = ("", "easy", "medium", "hard")
STYLES: Final = {"new": "quiet", "started": "yellow", "passed": "good"}

_UNBOUNDED: Final = 200
"""Columns when nobody looks: a table piped into another program keeps each row on one line."""

Row = tuple["Exercise", "Standing"]


def show_list(console: Console, rows: Sequence[Row]) -> None:
    """All exercises by track, with status and best score. Narrow terminals lose the less needed columns."""
    width = console.width = _width(console)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("Exercise", no_wrap=True)
    if width >= 60:
        table.add_column("Title")
    if width >= 72:
        table.add_column("Level", no_wrap=True)
        table.add_column("Min", justify="right", no_wrap=True)
    table.add_column("Status", no_wrap=True)
    table.add_column("Best", justify="right", no_wrap=True)
    for track, members in by_track(rows).items():
        table.add_row(Text(track, style="bold"))
        for exercise, standing in members:
            table.add_row(*_cells(exercise, standing, width))
    console.print(table)


def show_progress(console: Console, rows: Sequence[Row], next_steps: Sequence[str]) -> None:
    """How far the learner is, per track, and what to do next."""
    passed = sum(standing.status == "passed" for _, standing in rows)
    console.print(Text(f"{passed} of {len(rows)} exercises passed", style="bold"))
    tracks = by_track(rows)
    widest = max((len(track) for track in tracks), default=0)
    for track, members in tracks.items():
        done = sum(standing.status == "passed" for _, standing in members)
        best = sum(standing.best_score or 0 for _, standing in members)
        line = Text(f"  {track.ljust(widest)}  ")
        line.append_text(_bar(best / (100 * len(members))))
        console.print(line.append(f"  {done}/{len(members)}"))
    console.print()
    show_steps(console, next_steps)


def show_steps(console: Console, steps: Iterable[str]) -> None:
    """Sentences with `commands` in them, one a line, each line whole so that it can be copied."""
    for step in steps:
        console.print(with_commands(step), soft_wrap=True)


def show_history(console: Console, attempts: Sequence[Attempt]) -> None:
    """The attempts on one exercise, oldest first."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for title, justify in (("No", "right"), ("When", "left"), ("Score", "right")):
        table.add_column(title, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("")
    wide = _width(console) >= 70
    if wide:
        table.add_column("Data", no_wrap=True)
        table.add_column("Seconds", justify="right", no_wrap=True)
    for attempt in attempts:
        style = "good" if attempt.passed else ""
        share = attempt.score / attempt.max_score if attempt.max_score else 0.0
        data = attempt.data + (" (full)" if attempt.full else "")
        more = (data, f"{attempt.seconds:.1f}") if wide else ()
        table.add_row(
            str(attempt.n),
            attempt.at.strftime("%Y-%m-%d %H:%M"),
            Text(f"{attempt.score}/{attempt.max_score}", style=style),
            _bar(share),
            *more,
        )
    console.print(table)


def by_track(rows: Iterable[Row]) -> Mapping[str, list[Row]]:
    """The rows grouped by track, tracks in the order in which they first come."""
    tracks: dict[str, list[Row]] = {}
    for exercise, standing in rows:
        tracks.setdefault(exercise.track, []).append((exercise, standing))
    return tracks


def _cells(exercise: Exercise, standing: Standing, width: int) -> list[Text]:
    cells = [Text(f"  {exercise.id}")]
    if width >= 60:
        cells.append(Text(exercise.title))
    if width >= 72:
        cells += [Text(LEVELS[exercise.difficulty]), Text(str(exercise.minutes))]
    status = standing.status + (" *" if standing.revealed else "")
    best = "" if standing.best_score is None else str(standing.best_score)
    return [*cells, Text(status, style=STYLES[standing.status]), Text(best)]


def _bar(share: float, cells: int = 20) -> Text:
    full = round(share * cells) if share < 1 else cells
    return Text.assemble(("█" * full, "good"), ("░" * (cells - full), "quiet"))


def _width(console: Console) -> int:
    if console.is_terminal or "COLUMNS" in os.environ:
        return console.width
    return _UNBOUNDED
