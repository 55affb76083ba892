"""The feedback names the misconception: for each of the commonest faults that one, and no other."""

from __future__ import annotations

import os
import re
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from grader.catalog import Catalog
from grader.judge import proof
from grader.judge.client import grade
from grader.judge.submission import read_submission
from grader.workspace import Workspace
from tests.conftest import Places, Practice


@dataclass(frozen=True)
class Fault:
    kind: str
    exercise: str
    mutant: str
    names: str


FAULTS = [
    Fault(**row)
    for row in tomllib.loads(Path(__file__).with_name("named_faults.toml").read_text(encoding="utf-8"))["fault"]
]


COMMONEST = [fault for fault in FAULTS if fault.exercise < "10"]


def is_due(fault: Fault) -> bool:
    """Those of the first six exercises always, a moving fifth of the others; all with PRACTICE_VERIFY=all."""
    if fault in COMMONEST or os.environ.get("PRACTICE_VERIFY") == "all":
        return True
    return (FAULTS.index(fault) + int(time.time() // 86_400)) % 5 == 0


def test_there_are_at_least_thirty_kinds_among_the_commonest() -> None:
    assert len({fault.kind for fault in COMMONEST}) >= 30


@pytest.fixture(scope="module")
def desk() -> Iterator[Practice]:
    """A workspace with its data ready and a warm server of its own, also for calls from this process."""
    places = Places()
    practice = places.make()
    practice.environ["PRACTICE_WARM"] = "1"
    practice("data", "embed")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("XDG_RUNTIME_DIR", "TMPDIR", "PRACTICE_HOME", "PRACTICE_WARM"):
            patch.setenv(name, practice.environ[name])
        yield practice
    places.remove()


@pytest.mark.slow
@pytest.mark.parametrize("fault", [f for f in FAULTS if is_due(f)], ids=lambda f: f"{f.exercise[:2]}-{f.mutant}")
def test_the_feedback_names_the_fault_and_no_other(desk: Practice, fault: Fault) -> None:
    exercise = Catalog.load().get(fault.exercise)
    (case,) = [c for c in proof.cases(exercise) if c.name == fault.mutant]
    file = desk.home / "exercises" / f"{exercise.id}.py"
    file.write_text(case.source, encoding="utf-8")
    card = grade(exercise, read_submission(file), workspace=Workspace(desk.home), until_failure=True)
    assert card.first_failure is not None
    said = card.first_failure.looks_like or ""
    assert re.search(fault.names, said), said
    others = {f.names: f.kind for f in FAULTS if f.kind != fault.kind and re.search(f.names, said)}
    assert not others, said
