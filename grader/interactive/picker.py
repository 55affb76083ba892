"""The list from which an exercise is chosen: what is filtered, and where the cursor stands. No drawing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from grader.catalog import Exercise
from grader.progress import Standing
from grader.views.plain import LEVELS

Row = tuple[Exercise, Standing]

STATUSES: Final = ("new", "started", "passed")


@dataclass(frozen=True)
class Picker:
    """The rows, the filters ("" lets everything through) and the cursor, an index into what is visible."""

    rows: tuple[Row, ...]
    cursor: int = 0
    track: str = ""
    level: str = ""
    status: str = ""
    query: str = ""
    typing: bool = False
    """Whether letters go into the query."""

    @property
    def visible(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if self._shows(row))

    @property
    def chosen(self) -> Exercise | None:
        found = self.visible
        return found[min(self.cursor, len(found) - 1)][0] if found else None

    @property
    def filtered(self) -> bool:
        return bool(self.track or self.level or self.status or self.query)

    def _shows(self, row: Row) -> bool:
        exercise, standing = row
        words = self.query.casefold().split()
        text = " ".join((exercise.id, exercise.title, exercise.track, *exercise.topics)).casefold()
        return (
            self.track in ("", exercise.track)
            and self.level in ("", LEVELS[exercise.difficulty])
            and self.status in ("", standing.status)
            and all(word in text for word in words)
        )


def starting(rows: tuple[Row, ...], at: Exercise) -> Picker:
    """A list without filters, with the cursor on `at`."""
    where = next((n for n, (exercise, _) in enumerate(rows) if exercise.id == at.id), 0)
    return Picker(rows, cursor=where)


def pressed(picker: Picker, key: str, room: int) -> Picker:
    """The list after a key that moves, filters or searches; unchanged for any other key."""
    if picker.typing:
        return _typed(picker, key)
    match key:
        case "up" | "k":
            return _moved(picker, -1)
        case "down" | "j":
            return _moved(picker, 1)
        case "pageup":
            return _moved(picker, -room)
        case "pagedown" | " ":
            return _moved(picker, room)
        case "home" | "g":
            return _moved(picker, -len(picker.rows))
        case "end" | "G":
            return _moved(picker, len(picker.rows))
        case "t":
            tracks = tuple(dict.fromkeys(exercise.track for exercise, _ in picker.rows))
            return _kept(picker, replace(picker, track=_after(picker.track, tracks)))
        case "d":
            return _kept(picker, replace(picker, level=_after(picker.level, LEVELS[1:])))
        case "s":
            return _kept(picker, replace(picker, status=_after(picker.status, STATUSES)))
        case "/":
            return replace(picker, typing=True)
        case "a":
            return _kept(picker, Picker(picker.rows))
    return picker


def _typed(picker: Picker, key: str) -> Picker:
    match key:
        case "enter" | "down" | "up":
            return replace(picker, typing=False)
        case "escape":
            return _kept(picker, replace(picker, typing=False, query=""))
        case "backspace":
            return _kept(picker, replace(picker, query=picker.query[:-1]))
        case "c-u":
            return _kept(picker, replace(picker, query=""))
    return _kept(picker, replace(picker, query=picker.query + key)) if len(key) == 1 and key.isprintable() else picker


def _moved(picker: Picker, by: int) -> Picker:
    last = max(0, len(picker.visible) - 1)
    return replace(picker, cursor=min(max(picker.cursor + by, 0), last))


def _kept(before: Picker, after: Picker) -> Picker:
    """`after` with the cursor on the exercise on which it was, if that still shows."""
    ids = [exercise.id for exercise, _ in after.visible]
    at = before.chosen
    return replace(after, cursor=ids.index(at.id) if at is not None and at.id in ids else 0)


def _after(value: str, values: tuple[str, ...]) -> str:
    """The next filter value; after the last one none."""
    cycle = ("", *values)
    return cycle[(cycle.index(value) + 1) % len(cycle)] if value in cycle else ""
