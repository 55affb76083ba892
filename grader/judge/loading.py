"""Loads an exercise's probes and checks into the judge, as modules of a package of their own.

The judge is the only process that ever loads checks. Probes are loaded here too, so that checks can name them,
but they run only in workers.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
import types
from dataclasses import dataclass
from pathlib import Path

from grader.checking.marks import CheckMark, mark_of
from grader.errors import ContentError

PACKAGE = "practice_bank"


@dataclass(frozen=True)
class DeclaredCheck:
    """A check as its module declares it."""

    id: str
    mark: CheckMark


def load_checks(folder: Path) -> types.ModuleType:
    """The module `checks` of an exercise's folder; `from . import probes` works in it."""
    package = f"{PACKAGE}.{folder.name}"
    for name, path in ((PACKAGE, folder.parent), (package, folder)):
        module = types.ModuleType(name)
        module.__path__ = [str(path)]
        sys.modules[name] = module
    try:
        return importlib.import_module(f"{package}.checks")
    except Exception as error:
        raise ContentError(f"The checks of {folder.name} can't be loaded: {type(error).__name__}: {error}") from error


def declared(checks: types.ModuleType) -> tuple[DeclaredCheck, ...]:
    """The checks in file order. Raises ContentError when the declarations don't fit together."""
    found = [
        DeclaredCheck(name, mark)
        for name, value in vars(checks).items()
        if name.startswith("test_") and (mark := mark_of(value)) is not None
    ]
    unmarked = [n for n, v in vars(checks).items() if n.startswith("test_") and mark_of(v) is None]
    if unmarked or not found:
        raise ContentError(f"{checks.__file__}: every test needs @check; without it: {', '.join(unmarked) or 'all'}")
    ids: list[str] = []
    for check in found:
        unknown = [a for a in check.mark.after if a not in ids]
        if unknown:
            raise ContentError(f"{checks.__file__}: {check.id} comes after {', '.join(unknown)}, not declared above it")
        ids.append(check.id)
    if (total := sum(c.mark.points for c in found)) != 100:
        raise ContentError(f"{checks.__file__}: the points sum to {total}, not 100")
    return tuple(found)
