"""Every exercise is complete, its stub is what its solution generates, and its checks judge rightly."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from grader import stubs
from grader.catalog import Catalog, Exercise
from tests.conftest import Places, Practice

ROOT = Path(__file__).resolve().parent.parent
EXERCISES = list(Catalog.load())

each = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.id)


def test_the_six_that_everything_grows_from_are_there() -> None:
    assert {e.id for e in EXERCISES} >= {
        "00_dynamic_graph",
        "01_mnist_cnn",
        "02_cifar10_cnn",
        "03_resnet_transfer",
        "04_training_loop",
        "05_accuracy",
    }


def test_the_stubs_in_git_are_what_the_solutions_generate() -> None:
    assert stubs.outdated(EXERCISES, ROOT / "exercises") == []
    extra = {p.stem for p in (ROOT / "exercises").glob("*.py")} - {e.id for e in EXERCISES}
    assert not extra


@each
def test_an_exercise_is_complete(exercise: Exercise) -> None:
    assert len(exercise.hints) >= 3
    assert len(exercise.follow_ups) >= 5
    assert all(len(f.answer) > 80 for f in exercise.follow_ups)
    assert len(list((exercise.folder / "alternates").glob("*.py"))) >= 4
    assert len(exercise.statement) > 500
    assert 5 <= exercise.minutes <= 90


@each
def test_a_stub_gives_no_solution_away(exercise: Exercise) -> None:
    if exercise.kind == "debug":
        return
    stub = stubs.stub_text(exercise)
    assert "NotImplementedError" in stub
    assert "solution:" not in stub
    compile(stub, exercise.id, "exec")
    assert max(map(len, stub.splitlines())) <= 120


@each
def test_probes_hold_no_expectation_and_import_nothing_of_the_judge(exercise: Exercise) -> None:
    """The candidate may read a probe's memory."""
    source = (exercise.folder / "probes.py").read_text(encoding="utf-8")
    imports = re.findall(r"^\s*(?:from|import) (grader[\w.]*)", source, re.M)
    assert set(imports) <= {"grader.checking"}
    assert "assert " not in source
    assert "expect_" not in source


@pytest.fixture(scope="module")
def bench() -> Iterator[Practice]:
    """One workspace with a warm server for all proofs, so that data are made once."""
    places = Places()
    practice = places.make()
    practice.environ["PRACTICE_WARM"] = "1"
    yield practice
    places.remove()


def is_proved_whole_today(exercise: Exercise) -> bool:
    """Every eighth exercise is proved with all its mutants, others with one for each check; others the next day.

    All of them would take half an hour. `PRACTICE_VERIFY=all` proves all, `PRACTICE_VERIFY=quick` none, whole.
    """
    asked = os.environ.get("PRACTICE_VERIFY", "")
    if asked in ("all", "quick"):
        return asked == "all"
    return (EXERCISES.index(exercise) + int(time.time() // 86_400)) % 8 == 0


@pytest.mark.slow
@each
def test_stub_solution_alternates_and_mutants_get_their_verdicts(bench: Practice, exercise: Exercise) -> None:
    share = [] if is_proved_whole_today(exercise) else ["--quick"]
    run = bench("author", "verify", exercise.id, *share, timeout=1500)
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]


@pytest.mark.slow
def test_a_survivor_is_noticed(tiny: Practice) -> None:
    """The proof itself can fail: with a mutant that is no mutant, it does, and names it."""
    from tests import tiny_kit

    mutants = Path(tiny.environ["PRACTICE_BANK"]) / tiny_kit.ADD / "mutants.toml"
    row = '[[mutant]]\nname = "{}"\nkilled_by = "{}"\nwhy = "a test"\nreplace = [["return a + b", "return {}"]]\n'
    honest = row.format("minus", "test_sum", "a - b") + row.format("flat", "test_broadcast", "(a.ravel() + b)[:3]")
    try:
        mutants.write_text(honest, encoding="utf-8")
        assert tiny("author", "verify", tiny_kit.ADD).returncode == 0
        mutants.write_text(honest + row.format("no-mutant-at-all", "test_sum", " a + b"), encoding="utf-8")
        run = tiny("author", "verify", tiny_kit.ADD, "--json")
        assert run.returncode == 1
        assert "no-mutant-at-all" in json.dumps(json.loads(run.stdout))
        assert "survives" in run.stdout
    finally:
        mutants.unlink(missing_ok=True)
