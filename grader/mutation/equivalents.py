"""The mutants of an exercise that are not wrong, listed by hand in its equivalent.toml, each with a reason."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from grader.catalog import Exercise
from grader.errors import ContentError
from grader.mutation.sites import Mutant

Key = tuple[str, str, str]
_KEYS: Final = frozenset({"where", "before", "after", "why"})


@dataclass(frozen=True)
class Equivalent:
    """One listed change: in which function, the lines before and after, and why it isn't a fault."""

    where: str
    before: str
    after: str
    why: str

    @property
    def key(self) -> Key:
        return self.where, self.before, self.after


def load(exercise: Exercise) -> dict[Key, Equivalent]:
    """The list of an exercise, empty when there is no file. Raises ContentError where it is malformed."""
    path = exercise.folder / "equivalent.toml"
    if not path.exists():
        return {}
    try:
        rows = tomllib.loads(path.read_text("utf-8")).get("equivalent", [])
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ContentError(f"{path}: {error}.") from error
    found: dict[Key, Equivalent] = {}
    for n, row in enumerate(rows, start=1):
        for one in _read(row, f"{path}: entry {n}"):
            if one.key in found:
                raise ContentError(f"{path}: entry {n} is listed twice: {one.after!r}")
            found[one.key] = one
    return found


def stale(listed: Iterable[Equivalent], mutants: Sequence[Mutant]) -> list[Equivalent]:
    """Entries that fit no mutant any more."""
    keys = {mutant.key for mutant in mutants}
    return [one for one in listed if one.key not in keys]


def _read(row: dict[str, Any], where: str) -> list[Equivalent]:
    """An entry with a list of `after` stands for several that share their reason."""
    unknown = sorted(row.keys() - _KEYS)
    if unknown:
        raise ContentError(f"{where}: unknown key {unknown[0]!r}.")
    after = row.get("after")
    for name, value in (("where", row.get("where")), ("before", row.get("before")), ("why", row.get("why"))):
        if not isinstance(value, str) or (name == "why" and not value.strip()):
            raise ContentError(f"{where}: {name} must be a text.")
    changes = after if isinstance(after, list) else [after]
    if not changes or not all(isinstance(change, str) for change in changes):
        raise ContentError(f"{where}: after must be a text or a list of texts.")
    return [Equivalent(row["where"], row["before"].strip(), str(c).strip(), row["why"]) for c in changes]
