"""The proof that an exercise judges rightly: its stub, its solution, its alternates and its mutants as cases.

Here is what the cases are and what each must come to. How a file is graded is handed in, so that the proof
goes the way of every learner's file; nothing here renders.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from grader.catalog import Exercise
from grader.errors import ContentError
from grader.judge.scorecard import CheckRecord, Scorecard
from grader.stubs import stub_text
from grader.workspace import kit_solutions

Kind = Literal["stub", "solution", "alternate", "mutant"]
Grade = Callable[[Path, bool], Scorecard]
"""Grades the file; with True it may stop after the first failure."""

_SCRIPT_SECONDS: Final = 300.0
_MUTANT_KEYS: Final = frozenset({"name", "killed_by", "why", "replace", "source"})


@dataclass(frozen=True)
class Case:
    """One file whose verdict is known beforehand."""

    exercise: Exercise
    kind: Kind
    name: str
    source: str
    killed_by: str | None = None
    """For a mutant: the check that must be the first to fail."""
    why: str = ""

    @property
    def expected(self) -> str:
        if self.kind == "mutant":
            return f"fails {self.killed_by}"
        if self.kind == "stub":
            if self.exercise.kind == "debug":
                return f"runs, scores {stub_score(self.exercise)}, fails " + ", ".join(planted(self.exercise))
            return f"scores {stub_score(self.exercise)}, the rest not implemented"
        return "passes"


@dataclass(frozen=True)
class Outcome:
    """What a case came to. `complaint` is None when that is what was expected."""

    case: Case
    scorecard: Scorecard
    complaint: str | None

    @property
    def ok(self) -> bool:
        return self.complaint is None

    @property
    def got(self) -> str:
        card = self.scorecard
        first = card.first_failure
        if self.case.kind == "mutant" or (first is not None and self.case.kind != "stub"):
            return "passes" if first is None else f"fails {first.id}" + _verdict_aside(first)
        return f"scores {card.score}" if self.case.kind == "stub" else "passes"


def cases(exercise: Exercise) -> list[Case]:
    """The stub, the solution, the alternates, the mutants. Raises ContentError where the files are wrong."""
    solution = _read(kit_solutions() / f"{exercise.id}.py")
    found = [
        Case(exercise, "stub", "stub", stub_text(exercise)),
        Case(exercise, "solution", "solution", solution),
    ]
    for path in sorted((exercise.folder / "alternates").glob("*.py")):
        if path.name != "__init__.py":
            found.append(Case(exercise, "alternate", path.stem, _read(path)))
    return found + _mutants(exercise, solution)


def quick(found: Iterable[Case]) -> list[Case]:
    """The same proof with one mutant for each check instead of all of them."""
    seen: set[str | None] = set()
    kept = []
    for case in found:
        if case.kind == "mutant":
            if case.killed_by in seen:
                continue
            seen.add(case.killed_by)
        kept.append(case)
    return kept


def run(case: Case, grade: Grade) -> Outcome:
    """Grade the case's source from a file of its own, named as a learner's would be."""
    with tempfile.TemporaryDirectory(prefix="practice-proof-") as folder:
        path = Path(folder) / f"{case.exercise.id}.py"
        path.write_text(case.source, "utf-8")
        card = grade(path, case.kind == "mutant")
        complaint = _complaint(case, card)
        if complaint is None and case.exercise.kind == "debug" and case.kind in ("stub", "solution"):
            complaint = _script_complaint(path)
    return Outcome(case, card, complaint)


def idle_checks(found: Sequence[Case], solution: Scorecard) -> list[str]:
    """The checks that no mutant names: nothing shows that they can fail."""
    named = {case.killed_by for case in found}
    return [record.id for record in solution.checks if record.id not in named]


def stub_score(exercise: Exercise) -> int:
    """What the untouched stub earns: 0, unless exercise.toml says `[verify] stub_score = N`."""
    where = exercise.folder / "exercise.toml"
    value = _table(where).get("verify", {}).get("stub_score", 0)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 100:
        raise ContentError(f"{where}: verify.stub_score must be a whole number from 0 to 99, not {value!r}.")
    return value


def planted(exercise: Exercise) -> tuple[str, ...]:
    """The checks of the bugs planted in a `debug` exercise's script: `[verify] planted = ["test_…"]`.

    Empty for other kinds. Raises ContentError where a `debug` exercise names none.
    """
    if exercise.kind != "debug":
        return ()
    where = exercise.folder / "exercise.toml"
    names = _table(where).get("verify", {}).get("planted")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ContentError(f'{where}: [verify] planted = ["test_…"] has to name a check for every planted bug.')
    return tuple(names)


def _complaint(case: Case, card: Scorecard) -> str | None:
    faults = [record for record in card.checks if record.verdict == "grader-error"]
    if faults:
        return f"the grader itself failed in {faults[0].id}: {faults[0].actual or 'no reason given'}"
    if case.kind == "stub":
        return _stub_complaint(case, card)
    if case.kind == "mutant":
        return _mutant_complaint(case, card)
    if card.problem:
        return card.problem
    if card.first_failure is not None:
        return _what_failed(card.first_failure)
    return None if card.score == 100 else f"all checks pass, but the points add up to {card.score}, not 100"


def _stub_complaint(case: Case, card: Scorecard) -> str | None:
    if card.problem:
        return card.problem
    due = stub_score(case.exercise)
    if card.score != due:
        return f"the stub scores {card.score}, not {due}"
    if case.exercise.kind == "debug":
        return _planted_complaint(planted(case.exercise), card)
    allowed = ("passed", "blocked", "not-implemented") if due else ("blocked", "not-implemented")
    for record in card.checks:
        if record.verdict not in allowed:
            return f"{record.id} is {record.verdict}, not not-implemented: {record.actual or ''}".rstrip(": ")
    return None


def _planted_complaint(names: Sequence[str], card: Scorecard) -> str | None:
    verdicts = {record.id: record.verdict for record in card.checks}
    for name in names:
        if verdicts.get(name) != "failed":
            return (
                f"the stub's {name} is {verdicts.get(name, 'no check')}, but each planted bug fails a check of its own"
            )
    return None


def _script_complaint(path: Path) -> str | None:
    """What a learner would see who runs the script before reading it: it has to end, and without an error."""
    try:
        done = subprocess.run(
            [sys.executable, path.name],
            cwd=path.parent,
            env=os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},  # several proofs may run at once
            capture_output=True,
            text=True,
            timeout=_SCRIPT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"run as a script it takes more than {_SCRIPT_SECONDS:.0f} seconds"
    if done.returncode != 0:
        return f"run as a script it ends with exit code {done.returncode}: {done.stderr.strip()[-300:]}"
    return None if done.stdout.strip() else "run as a script it prints nothing: a learner has nothing to go by"


def _mutant_complaint(case: Case, card: Scorecard) -> str | None:
    if case.killed_by not in {record.id for record in card.checks}:
        return f"there is no check {case.killed_by}"
    if card.problem:
        return card.problem
    first = card.first_failure
    if first is None:
        return "survives: every check passes"
    return None if first.id == case.killed_by else _what_failed(first)


def _what_failed(record: CheckRecord) -> str:
    parts = [f"{record.id} is {record.verdict}"]
    if record.expected:
        parts.append(f"expected {record.expected}")
    if record.actual:
        parts.append(f"actual {record.actual}")
    return "; ".join(parts)


def _verdict_aside(record: CheckRecord) -> str:
    return "" if record.verdict == "failed" else f" ({record.verdict})"


def _mutants(exercise: Exercise, solution: str) -> list[Case]:
    where = exercise.folder / "mutants.toml"
    rows = _table(where).get("mutant", [])
    if not isinstance(rows, list) or not rows:
        raise ContentError(f"{where}: no [[mutant]].")
    made = [_mutant(exercise, solution, row, f"{where}: mutant {n}") for n, row in enumerate(rows, start=1)]
    names = [case.name for case in made]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ContentError(f"{where}: two mutants are called {twice[0]!r}.")
    return made


def _mutant(exercise: Exercise, solution: str, row: dict[str, Any], where: str) -> Case:
    unknown = sorted(row.keys() - _MUTANT_KEYS)
    if unknown:
        raise ContentError(f"{where}: unknown key {unknown[0]!r}.")
    for key in ("name", "killed_by", "why"):
        if not isinstance(row.get(key), str) or not row[key].strip():
            raise ContentError(f"{where}: {key} is missing.")
    where = f"{where} ({row['name']})"
    if ("replace" in row) == ("source" in row):
        raise ContentError(f"{where}: give either `replace` or `source`.")
    source = row["source"] if "source" in row else _replaced(solution, row["replace"], where)
    if source == solution:
        raise ContentError(f"{where}: it is the solution itself.")
    try:
        compile(source, row["name"], "exec")
    except SyntaxError as error:
        raise ContentError(f"{where}: line {error.lineno}: {error.msg}.") from error
    return Case(exercise, "mutant", row["name"], source, row["killed_by"], row["why"])


def _replaced(solution: str, pairs: object, where: str) -> str:
    if not isinstance(pairs, list) or not pairs:
        raise ContentError(f"{where}: `replace` is a list of [old, new] pairs.")
    text = solution
    for pair in pairs:
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, str) for part in pair)):
            raise ContentError(f"{where}: `replace` is a list of [old, new] pairs, not {pair!r}.")
        old, new = pair
        count = text.count(old) if old else 0
        if count != 1:
            raise ContentError(f"{where}: the old text occurs {count} times, not once: {old!r}")
        text = text.replace(old, new)
    return text


def _table(where: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_read(where))
    except tomllib.TOMLDecodeError as error:
        raise ContentError(f"{where}: {error}.") from error


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ContentError(f"{path}: can't be read: {error}.") from error
