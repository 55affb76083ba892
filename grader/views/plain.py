"""The tables and short texts of the plain commands: the list, the progress, the history.

They lay out what they are given; status and scores come from `grader.progress`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from grader.views.light import Cell, Screen, table

if TYPE_CHECKING:
    from grader.catalog import Exercise
    from grader.progress import Attempt, Standing

LEVELS: Final = ("", "easy", "medium", "hard")
STATUS_STYLES: Final = {"new": "quiet", "started": "warn", "passed": "good"}

Row = tuple["Exercise", "Standing"]


def show_list(on: Screen, rows: Sequence[Row]) -> None:
    """All exercises by track, with status and best score. Narrow terminals lose the less needed columns."""
    width = on.width or 1000
    header = ["Exercise", "Status", "Best"]
    if width >= 60:
        header.insert(1, "Title")
    if width >= 72:
        header[2:2] = ["Level", "Min"]
    lines: list[list[Cell]] = []
    for track, members in by_track(rows).items():
        lines.append([(track, "bold")])
        for exercise, standing in members:
            known = _cells(exercise, standing)
            lines.append([known[title] for title in header])
    table(on, header, lines, right=[n for n, title in enumerate(header) if title in ("Min", "Best")])


def show_progress(on: Screen, rows: Sequence[Row]) -> None:
    """How far the learner is, as a whole and per track."""
    passed = sum(standing.status == "passed" for _, standing in rows)
    on.line(on.paint(f"{passed} of {len(rows)} exercises passed", "bold"))
    tracks = by_track(rows)
    widest = max((len(track) for track in tracks), default=0)
    for track, members in tracks.items():
        done = sum(standing.status == "passed" for _, standing in members)
        best = sum(standing.best_score or 0 for _, standing in members)
        on.line(f"  {track.ljust(widest)}  {_bar(on, best / (100 * len(members)))}  {done}/{len(members)}")


def show_steps(on: Screen, steps: Iterable[str]) -> None:
    """Sentences with `commands` in them, one a line."""
    for step in steps:
        on.sentence(step)


def show_history(on: Screen, attempts: Sequence[Attempt]) -> None:
    """The attempts on one exercise, oldest first."""
    header = ["No", "When", "Score", "Data", "Seconds"]
    if on.width is not None and on.width < 50:
        header = header[:3]
    lines: list[list[Cell]] = []
    for attempt in attempts:
        known = {
            "No": (str(attempt.n), ""),
            "When": (attempt.at.strftime("%Y-%m-%d %H:%M"), ""),
            "Score": (f"{attempt.score}/{attempt.max_score}", "good" if attempt.passed else ""),
            "Data": (_data(attempt), ""),
            "Seconds": (f"{attempt.seconds:.1f}", ""),
        }
        lines.append([known[title] for title in header])
    table(on, header, lines, right=[n for n, title in enumerate(header) if title in ("No", "Score", "Seconds")])


def by_track(rows: Iterable[Row]) -> Mapping[str, list[Row]]:
    """The rows grouped by track, tracks in the order in which they first come."""
    tracks: dict[str, list[Row]] = {}
    for exercise, standing in rows:
        tracks.setdefault(exercise.track, []).append((exercise, standing))
    return tracks


def _cells(exercise: Exercise, standing: Standing) -> dict[str, Cell]:
    """Every cell that a list may show, by its header."""
    return {
        "Exercise": (f"  {exercise.id}", ""),
        "Title": (" ".join(exercise.title.split()), ""),
        "Level": (LEVELS[exercise.difficulty], ""),
        "Min": (str(exercise.minutes), ""),
        "Status": (standing.status + (" *" if standing.revealed else ""), STATUS_STYLES[standing.status]),
        "Best": ("" if standing.best_score is None else str(standing.best_score), ""),
    }


def _data(attempt: Attempt) -> str:
    source = "" if attempt.data == "none" else attempt.data
    return f"{source} (full)".lstrip() if attempt.full else source


def _bar(on: Screen, share: float, width: int = 20) -> str:
    full = min(round(share * width), width)
    return on.paint("█" * full, "good") + on.paint("░" * (width - full), "quiet")
