"""Thresholds lie four standard deviations from the reference and from the strongest mutant, by their records."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from grader.catalog import Catalog
from grader.judge import calibration, proof
from grader.judge.calibration import Distribution, Recorded, Spread

ROWS = [(e, row) for e in Catalog.load() for row in calibration.recorded(e)]
each = pytest.mark.parametrize(
    ("exercise", "row"), ROWS, ids=lambda v: getattr(v, "id", None) or getattr(v, "check", "")
)


@each
def test_a_threshold_is_far_from_both_sides(exercise: object, row: Recorded) -> None:
    sign = 1 if row.side == "at least" else -1
    assert row.seeds >= (3 if row.full else 10)
    assert sign * row.reference.distance(row.threshold) >= 4
    if row.strongest_mutant is not None:
        name, spread = row.strongest_mutant
        assert sign * spread.distance(row.threshold) <= -4, name


@each
def test_a_record_is_about_things_that_exist(exercise: object, row: Recorded) -> None:
    cases = proof.cases(exercise)  # type: ignore[arg-type]
    checks = (exercise.folder / "checks.py").read_text(encoding="utf-8")  # type: ignore[attr-defined]
    assert f"def {row.check}(" in checks
    plain = math.exp(row.threshold) if row.measure.startswith("ln ") else row.threshold
    numbers = "|".join(re.escape(f"{n:.3g}") for n in (plain, 100 * plain))  # some checks speak in per cent
    assert re.search(rf"(?<![\d.])({numbers})(\.0)?0*(?!\d)", checks), "checks.py holds another threshold"
    if row.strongest_mutant is not None:
        assert row.strongest_mutant[0] in {c.name for c in cases}


def test_every_exercise_that_trains_on_a_data_set_has_records_for_both_sources() -> None:
    for exercise in Catalog.load():
        if exercise.datasets:
            assert {row.data for row in calibration.recorded(exercise)} == {"real", "embedded"}, exercise.id


def test_a_distance_is_counted_in_standard_deviations() -> None:
    found = Distribution("test_x", "accuracy", "solution", "solution", (0.9, 0.92, 0.94))
    assert found.distance(0.90) == pytest.approx(1.0)
    assert Distribution("test_x", "accuracy", "solution", "solution", (0.9,)).distance(0.5) == float("inf")


RECORD = """\
# Kept: why the threshold lies where it lies.
[[measured]]
check = "test_x"
measure = "ln loss"
data = "real"
budget = "60 steps"
seeds = 10
side = "at most"
threshold = -2.3
reference = { mean = 0.0, sd = 0.0 }
why_no_mutant = "none was known"  # goes when one is
"""


def test_what_was_measured_is_written_and_the_rest_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "calibration.toml").write_text(RECORD, encoding="utf-8")
    exercise = replace(Catalog.load().get("05_accuracy"), folder=tmp_path)
    wrong = [proof.Case(exercise, "mutant", n, "", k) for n, k in (("weak", "test_x"), ("elsewhere", "test_y"))]
    monkeypatch.setattr(calibration, "cases", lambda _: wrong)
    e = math.e
    found = [
        Distribution("test_x", "loss", "solution", "solution", (e**-5, e**-7)),
        Distribution("test_x", "loss", "mutant", "weak", (e**-1, e**-1)),
        Distribution("test_x", "loss", "mutant", "elsewhere", (e**-3, e**-3)),
    ]
    assert calibration.write(exercise, "embedded", False, found) == 0
    assert (tmp_path / "calibration.toml").read_text(encoding="utf-8") == RECORD
    assert calibration.write(exercise, "real", False, found) == 1
    (row,) = calibration.recorded(exercise)
    assert (row.seeds, row.threshold, row.reference.mean) == (2, -2.3, -6.0)
    assert row.strongest_mutant == ("weak", Spread(-1.0, 0.0))
    assert "# Kept: why the threshold lies" in (tmp_path / "calibration.toml").read_text(encoding="utf-8")
