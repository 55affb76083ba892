"""All exercises, in order, read from the bank.

Metadata and texts only: the catalog never imports probes or checks. It stays quick by parsing just the head
of each `exercise.toml` until hints or follow-up questions are asked for.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from grader.errors import ContentError, UsageProblem
from grader.workspace import kit_bank

TRACKS: Final = ("core", "scratch", "debug", "detection", "karpathy")
KINDS: Final = ("implement", "debug")
DATASETS: Final = ("mnist", "cifar10")
NEEDS: Final = ("optim", "torchvision")
LIMITS: Final = ("cpu_seconds", "wall_seconds", "memory_mb")
LANGUAGE: Final = "en"

_FOLDER = re.compile(r"(\d\d)_([a-z0-9][a-z0-9_]*)")
_KEYS = {"id", "track", "kind", "difficulty", "minutes", "topics", "datasets", "needs"} | {
    "title",
    "limits",
    "hints",
    "follow_ups",
    "verify",
}


@dataclass(frozen=True)
class FollowUp:
    """A question that an interviewer asks afterwards, with a model answer."""

    question: str
    answer: str


@dataclass(frozen=True)
class Exercise:
    """One task. `folder` is its place in the bank; hints, follow-ups and statement are read when used."""

    id: str
    number: int
    slug: str
    title: str
    track: str
    kind: str
    difficulty: int
    minutes: int
    topics: tuple[str, ...]
    datasets: tuple[str, ...]
    needs: tuple[str, ...]
    limits: Mapping[str, float] = field(hash=False)
    folder: Path

    @property
    def stub_file(self) -> Path:
        """The broken script of an exercise of kind `debug`. The stubs of others come from their solutions."""
        return self.folder / "stub.py"

    @cached_property
    def statement(self) -> str:
        """The task, in markdown."""
        return _read(self.folder / "statement.md")

    @cached_property
    def hints(self) -> tuple[str, ...]:
        """From a nudge to nearly the code."""
        where = self.folder / "exercise.toml"
        return tuple(_text(row, where, f"hints[{n}]") for n, row in enumerate(self._rows("hints")))

    @cached_property
    def hint_checks(self) -> tuple[tuple[str, ...], ...]:
        """Per hint: the checks that it was written for, by id; none where it is for the task as a whole."""
        where = self.folder / "exercise.toml"
        return tuple(_names(row, "checks", where) for row in self._rows("hints"))

    @cached_property
    def follow_ups(self) -> tuple[FollowUp, ...]:
        where = self.folder / "exercise.toml"
        return tuple(
            FollowUp(
                _text(row.get("question"), where, f"follow_ups[{n}].question"),
                _text(row.get("answer"), where, f"follow_ups[{n}].answer"),
            )
            for n, row in enumerate(self._rows("follow_ups"))
        )

    def _rows(self, key: str) -> list[dict[str, Any]]:
        where = self.folder / "exercise.toml"
        rows = _parse(_read(where), where).get(key, [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise _wrong(where, f"{key} is not a list of tables: write [[{key}]]")
        return rows


class Catalog:
    """The exercises, in the order of their numbers."""

    def __init__(self, exercises: tuple[Exercise, ...]) -> None:
        self._exercises = exercises
        self._by_id = {exercise.id: exercise for exercise in exercises}

    @classmethod
    def load(cls, bank: Path | None = None) -> Catalog:
        """Read each folder of `bank` that holds an exercise.toml. Raises ContentError naming file and key."""
        folder = bank if bank is not None else kit_bank()
        try:
            found = sorted(path.parent for path in folder.glob("*/exercise.toml"))
        except OSError as error:
            raise ContentError(f"The exercises in {folder} can't be read: {error.strerror}.") from error
        return cls(tuple(_read_exercise(path) for path in found))

    def __iter__(self) -> Iterator[Exercise]:
        return iter(self._exercises)

    def __len__(self) -> int:
        return len(self._exercises)

    def get(self, id: str) -> Exercise:
        """The exercise with exactly this id, else UsageProblem."""
        try:
            return self._by_id[id]
        except KeyError:
            raise self._unknown(id) from None

    def find(self, query: str) -> Exercise:
        """The exercise that a person means: its id, number (`1`, `01`), file, or an unambiguous part."""
        asked = _normal(query)
        if not asked:
            raise UsageProblem("Which exercise? The name is empty.", hint="`practice list` shows all.")
        if asked in self._by_id:
            return self._by_id[asked]
        if asked.isdecimal():
            matches = [e for e in self if e.number == int(asked)]
        else:
            matches = [e for e in self if e.slug == asked] or [e for e in self if asked in e.id]
        if not matches:
            raise self._unknown(query)
        if len(matches) > 1:
            names = ", ".join(e.id for e in matches)
            raise UsageProblem(
                f"`{query}` fits {len(matches)} exercises: {names}.",
                hint=f"Name one of them by its number, for example `{matches[0].number:02d}`.",
            )
        return matches[0]

    def nearest(self, query: str) -> list[Exercise]:
        """Up to three exercises whose names resemble `query`, best first."""
        from difflib import SequenceMatcher

        asked = _normal(query)

        def likeness(exercise: Exercise) -> float:
            names = (exercise.id, exercise.slug, *exercise.slug.split("_"))
            return max(SequenceMatcher(None, asked, name).ratio() for name in names)

        ranked = sorted(((likeness(e), -e.number, e) for e in self), key=lambda r: r[:2], reverse=True)
        return [e for score, _, e in ranked[:3] if score >= 0.6]

    def _unknown(self, query: str) -> UsageProblem:
        near = self.nearest(query)
        if near:
            names = " or ".join(f"`{e.id}`" for e in near)
            return UsageProblem(f"There is no exercise `{query}`.", hint=f"Did you mean {names}?")
        return UsageProblem(f"There is no exercise `{query}`.", hint="`practice list` shows all.")


def _normal(query: str) -> str:
    """`exercises/02_Cifar10-CNN.py` → `02_cifar10_cnn`."""
    name = re.split(r"[/\\]", query.strip().casefold().rstrip("/\\"))[-1]
    return name.removesuffix(".py").replace("-", "_").replace(" ", "_")


def _read_exercise(folder: Path) -> Exercise:
    where = folder / "exercise.toml"
    match = _FOLDER.fullmatch(folder.name)
    if match is None:
        raise _wrong(folder, "the folder of an exercise is named NN_slug, in lower case")
    table = _head(_read(where), where)
    unknown = sorted(set(table) - _KEYS)
    if unknown:
        raise _wrong(where, f"unknown key `{unknown[0]}`")
    if table.get("id") != folder.name:
        raise _wrong(where, f"id must be the folder's name, {folder.name!r}, not {table.get('id')!r}")
    return Exercise(
        id=folder.name,
        number=int(match[1]),
        slug=match[2],
        title=_text(table.get("title"), where, "title"),
        track=_choice(table, "track", TRACKS, where),
        kind=_choice(table, "kind", KINDS, where),
        difficulty=_whole(table, "difficulty", where, most=3),
        minutes=_whole(table, "minutes", where),
        topics=_names(table, "topics", where),
        datasets=_names(table, "datasets", where, DATASETS),
        needs=_names(table, "needs", where, NEEDS),
        limits=_limits(table, where),
        folder=folder,
    )


def _head(text: str, where: Path) -> dict[str, Any]:
    """The tables before the first `[[…]]`, which hold all that a listing shows.

    tomllib is slow enough (pure Python) that reading every hint of every exercise would double the start.
    """
    cut = re.search(r"^\[\[", text, re.MULTILINE)
    if cut is None or re.search(r"^\[[^\[]", text[cut.start() :], re.MULTILINE):
        return _parse(text, where)  # a plain table may follow the lists: take no risk
    try:
        return tomllib.loads(text[: cut.start()])
    except tomllib.TOMLDecodeError:
        return _parse(text, where)


def _parse(text: str, where: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _wrong(where, str(error)) from error


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise _wrong(path, f"not UTF-8 at byte {error.start}") from error
    except OSError as error:
        raise _wrong(path, f"can't be read: {error.strerror}") from error


def _wrong(where: Path, what: str) -> ContentError:
    return ContentError(
        f"{where}: {what}.", hint="This is a mistake in the kit's content, not yours; please report it."
    )


def _text(value: object, where: Path, key: str) -> str:
    text = value.get(LANGUAGE) if isinstance(value, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise _wrong(where, f"{key}.{LANGUAGE} is missing or empty")
    return text.strip()


def _choice(table: dict[str, Any], key: str, allowed: tuple[str, ...], where: Path) -> str:
    value = table.get(key)
    if value not in allowed:
        raise _wrong(where, f"{key} must be one of {', '.join(allowed)}, not {value!r}")
    return str(value)


def _whole(table: dict[str, Any], key: str, where: Path, most: int | None = None) -> int:
    value = table.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1 or (most and value > most):
        span = f"from 1 to {most}" if most else "from 1"
        raise _wrong(where, f"{key} must be a whole number {span}, not {value!r}")
    return value


def _names(table: dict[str, Any], key: str, where: Path, allowed: tuple[str, ...] = ()) -> tuple[str, ...]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise _wrong(where, f"{key} must be a list of texts, not {value!r}")
    strange = [name for name in value if allowed and name not in allowed]
    if strange:
        raise _wrong(where, f"{key} may name {', '.join(allowed)}, not {strange[0]!r}")
    return tuple(value)


def _limits(table: dict[str, Any], where: Path) -> Mapping[str, float]:
    value = table.get("limits", {})
    if not isinstance(value, dict):
        raise _wrong(where, "limits must be a table")
    for key, number in value.items():
        if key not in LIMITS:
            raise _wrong(where, f"limits may name {', '.join(LIMITS)}, not {key!r}")
        if not isinstance(number, (int, float)) or isinstance(number, bool) or number <= 0:
            raise _wrong(where, f"limits.{key} must be a number above 0, not {number!r}")
    return {key: float(number) for key, number in value.items()}
