"""`practice author calibrate`: the numbers behind the thresholds of training checks, over seeds and data sources."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from grader.errors import UsageProblem

if TYPE_CHECKING:
    from grader.catalog import Exercise
    from grader.judge.calibration import Distribution, Recorded
    from grader.judge.proof import Case
    from grader.judge.request import Source
    from grader.judge.scorecard import Scorecard
    from grader.workspace import Workspace


@click.command("calibrate", short_help="Measure what the thresholds of training checks rest on.")
@click.argument("exercise_name", metavar="ID")
@click.option("--seeds", type=click.IntRange(1), default=10, show_default=True, help="Runs of each file.")
@click.option("--data", "sources", type=click.Choice(["real", "embedded"]), multiple=True, help="Only this source.")
@click.option("--mutant", "names", multiple=True, metavar="NAME", help="Only these mutants; may be repeated.")
@click.option("--full", is_flag=True, help="As `check --full` trains.")
@click.option("--dry-run", is_flag=True, help="Leave calibration.toml as it is.")
def command(
    exercise_name: str, seeds: int, sources: tuple[Source, ...], names: tuple[str, ...], full: bool, dry_run: bool
) -> None:
    """Grade the reference, the alternates and the mutants that train with many seeds, and sum up what is measured.

    Without --mutant: those that a check with a recorded threshold has to catch. Prints a table for each data source,
    with the threshold's distance in standard deviations, and writes reference and strongest mutant into the rows of
    calibration.toml; the thresholds there stay as they are. Takes minutes to hours: every file is graded whole, once
    per seed.
    """
    from grader.catalog import Catalog
    from grader.judge import calibration, proof
    from grader.workspace import find

    workspace = find()
    exercise = Catalog.load().find(exercise_name)
    thresholds = calibration.recorded(exercise)
    cases = _chosen(proof.cases(exercise), names, {row.check for row in thresholds})
    unknown = set(names) - {c.name for c in cases}
    if unknown:
        raise UsageProblem(f"{exercise.id} has no mutant {sorted(unknown)[0]!r}.", hint="See its mutants.toml.")
    for source in sources or (("real", "embedded") if exercise.datasets else (None,)):
        if source and not _prepared(workspace, exercise, source):
            click.echo(f"{source}: not prepared, left out", err=True)
            continue

        def grade(case: Case, seed: int, source: Source | None = source) -> Scorecard:
            click.echo(f"\r{source or 'no data'}: {case.kind} {case.name}, seed {seed}\x1b[K", nl=False, err=True)
            return _grade(workspace, case, seed, source, full)

        found = list(calibration.measure(cases, range(seeds), grade))
        click.echo("", err=True)
        _show(source or "no data set", found, thresholds)
        if not dry_run:
            count = calibration.write(exercise, source, full, found)
            click.echo(f"{exercise.id}: {count} row(s) of calibration.toml written", err=True)


def _chosen(cases: list[Case], names: tuple[str, ...], measured: set[str]) -> list[Case]:
    """The right solutions, and the mutants that were named or that a measured check has to catch."""

    def wanted(case: Case) -> bool:
        if case.kind == "mutant":
            return case.name in names if names else case.killed_by in measured
        return case.kind != "stub"

    return [case for case in cases if wanted(case)]


def _prepared(workspace: Workspace, exercise: Exercise, source: str) -> bool:
    from grader.data.prepared import available

    return all(available(workspace.datasets, name)[source] for name in exercise.datasets)


def _grade(workspace: Workspace, case: Case, seed: int, source: Source | None, full: bool) -> Scorecard:
    from grader.judge.client import grade
    from grader.judge.submission import read_submission

    with tempfile.TemporaryDirectory(prefix="practice-calibrate-") as folder:
        path = Path(folder) / f"{case.exercise.id}.py"
        path.write_text(case.source, "utf-8")
        return grade(case.exercise, read_submission(path), workspace=workspace, data=source, full=full, seed=seed)


def _show(source: str, found: list[Distribution], thresholds: list[Recorded]) -> None:
    from rich.table import Table

    from grader.views.console import console

    table = Table("check", "measure", "file", "n", "mean", "sd", "min", "max", "threshold", title=source)
    for row in found:
        known = [
            t for t in thresholds if t.check == row.check and t.measure == row.measure and t.data in (None, source)
        ]
        bars = ", ".join(f"{t.threshold:g} ({row.distance(t.threshold):.1f} sd)" for t in known)
        table.add_row(
            row.check,
            row.measure,
            f"{row.kind} {row.name}",
            str(len(row.values)),
            f"{row.mean:.4g}",
            f"{row.sd:.2g}",
            f"{min(row.values):.4g}",
            f"{max(row.values):.4g}",
            bars,
        )
    console().print(table)
