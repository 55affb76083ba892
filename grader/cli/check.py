"""`practice check`: grade files and show what came of it. The judge grades, the views render."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from grader.cli.arguments import EXERCISE
from grader.errors import GraderError, PracticeError, UsageProblem

if TYPE_CHECKING:
    from grader.catalog import Catalog, Exercise
    from grader.cli.grading import Source, Target
    from grader.judge.scorecard import Event, Scorecard
    from grader.judge.submission import Submission
    from grader.views.terminal import Subject
    from grader.workspace import Workspace


@dataclass(frozen=True)
class Options:
    """What `check` was asked for, besides the exercises."""

    solution: bool = False
    file: Path | None = None
    data: Source | None = None
    full: bool = False
    as_json: bool = False
    junit: Path | None = None
    html: Path | None = None
    verbose: bool = False
    untrusted: bool = False

    @property
    def repeated(self) -> str:
        """The options that the command for another go needs, too."""
        chosen = [f"--data {self.data}" if self.data else "", "--full" if self.full else ""]
        chosen.append("--untrusted" if self.untrusted else "")
        return "".join(f" {option}" for option in chosen if option)


@dataclass
class Results:
    """What came of it: the scorecards in order, and the exercises that couldn't be graded."""

    cards: list[Scorecard] = field(default_factory=list)
    failed: dict[str, PracticeError] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        if self.failed:
            return max(error.exit_code for error in self.failed.values())
        if any(card.has_grader_error for card in self.cards):
            return 3
        return 0 if all(card.passed for card in self.cards) else 1


@click.command("check", short_help="Grade your code and say what it does.")
@click.argument("exercises", nargs=-1, metavar="[ID…]", type=EXERCISE)
@click.option("--all", "every", is_flag=True, help="Grade all exercises.")
@click.option("--solution", is_flag=True, help="Grade the reference instead of your file.")
@click.option(
    "--file",
    type=click.Path(path_type=Path),
    help="Grade this file instead of yours; the attempt isn't recorded.",
)
@click.option(
    "--data",
    type=click.Choice(["real", "embedded"]),
    help="Which data to use (default: real when it is there).",
)
@click.option("--full", is_flag=True, help="Train on the whole training set, against a higher bar.")
@click.option("--json", "as_json", is_flag=True, help="Print the scorecard as JSON.")
@click.option("--junit", type=click.Path(path_type=Path, dir_okay=False), help="Also write JUnit XML there.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Also write an HTML page there.")
@click.option("--untrusted", is_flag=True, help="Other people's code: refuse without the full confinement.")
@click.option("-v", "--verbose", is_flag=True, help="Explain every failure, not just the first.")
def command(
    exercises: tuple[Exercise, ...],
    every: bool,
    solution: bool,
    file: Path | None,
    data: Source | None,
    full: bool,
    as_json: bool,
    junit: Path | None,
    html: Path | None,
    verbose: bool,
    untrusted: bool,
) -> None:
    """Grade your solution of each exercise ID: an id, a number (02), or any part of the name.

    Exit codes: 0 all passed, 1 not passed, 2 wrong usage, 3 the grader failed, 130 interrupted.
    """
    options = Options(solution, file, data, full, as_json, junit, html, verbose, untrusted)
    raise click.exceptions.Exit(_check(exercises, every, options))


def _check(named: Sequence[Exercise], every: bool, options: Options) -> int:
    from grader import workspace as workspaces
    from grader.catalog import Catalog
    from grader.cli.grading import target
    from grader.views.console import console

    chosen = _choose(Catalog.load(), named, every, options)
    workspace = workspaces.find()
    targets = [
        target(workspace, e, solution=options.solution, file=options.file, options=options.repeated) for e in chosen
    ]
    _check_places(options)
    if options.untrusted:
        _require_confinement()
    results = Results()
    for one in targets:
        if one is not targets[0] and not options.as_json:
            console().print()
        _grade(one, workspace, options, results, many=len(targets) > 1)
    _report(options, results, chosen)
    return results.exit_code


def _choose(catalog: Catalog, named: Sequence[Exercise], every: bool, options: Options) -> list[Exercise]:
    if every and named:
        raise UsageProblem("Give either exercises or --all, not both.")
    if not every and not named:
        raise UsageProblem(
            "Which exercise?",
            hint="For example `practice check 01`; `practice list` shows all, --all grades all.",
        )
    if options.solution and options.file:
        raise UsageProblem("Give either --solution or --file, not both.")
    chosen = list(catalog) if every else list({e.id: e for e in named}.values())
    if options.file is not None and len(chosen) != 1:
        raise UsageProblem("--file goes with exactly one exercise.", hint="`practice check 01 --file PATH`")
    return chosen


def _require_confinement() -> None:
    from grader.sandbox.selfcheck import is_fully_confined

    if not is_fully_confined():
        raise GraderError(
            "Other people's code isn't graded here: the full confinement needs Linux 6.12 or newer with Landlock.",
            hint="`practice doctor` says what is missing.",
        )


def _check_places(options: Options) -> None:
    """A report that couldn't be written is better known before the grading than after it."""
    for path in (options.junit, options.html):
        if path is not None and not path.absolute().parent.is_dir():
            raise UsageProblem(
                f"{path} can't be written: there is no folder {path.parent}.", hint="Create the folder first."
            )


def _grade(one: Target, workspace: Workspace, options: Options, results: Results, *, many: bool) -> None:
    """Grade one file and show it; an error of one exercise doesn't stop the others."""
    from grader.cli.grading import make_data_ready, read_target
    from grader.views.console import complain, console

    try:
        submission = read_target(one, workspace)
        make_data_ready(workspace, [one.exercise], options.data, console(stderr=True))
        card = _scorecard(one, submission, workspace, options)
    except PracticeError as error:
        if not many:
            raise
        results.failed[one.exercise.id] = error
        complain(error)
        return
    results.cards.append(card)
    if one.own:
        _record(workspace, card, submission)


def _scorecard(one: Target, submission: Submission, workspace: Workspace, options: Options) -> Scorecard:
    """Grade; unless JSON was asked for, show it while it runs and explain it afterwards."""
    from grader.judge.client import grade
    from grader.views.console import console
    from grader.views.terminal import CheckView, show_result

    def graded(on_event: Callable[[Event], None]) -> Scorecard:
        return grade(
            one.exercise,
            submission,
            workspace=workspace,
            data=options.data,
            full=options.full,
            on_event=on_event,
        )

    if options.as_json:
        return graded(lambda event: None)
    out, subject = console(), subject_of(one)
    with CheckView(out, subject) as view:
        card = graded(view.on_event)
    view.complete(card)
    show_result(out, card, subject, verbose=options.verbose)
    return card


def subject_of(one: Target) -> Subject:
    """How the view speaks of this target."""
    from grader.views.terminal import Subject

    questions = tuple(follow_up.question for follow_up in one.exercise.follow_ups)
    return Subject(one.exercise.id, one.exercise.title, one.again, one.own, questions)


def _record(workspace: Workspace, card: Scorecard, submission: Submission) -> None:
    from grader.cli.grading import keep_attempt
    from grader.views.console import console, warn

    for path in keep_attempt(workspace, card, submission, warn):
        console(stderr=True).print(f"Picture: {workspace.shown(path)}", soft_wrap=True, markup=False)


def _report(options: Options, results: Results, chosen: Sequence[Exercise]) -> None:
    from grader.files import write_atomic
    from grader.views.console import console

    titles = {exercise.id: exercise.title for exercise in chosen}
    if options.as_json:
        from grader.views import json

        click.echo(json.render(results.cards, many=len(chosen) > 1))
    elif len(chosen) > 1:
        from grader.views.terminal import show_summary

        show_summary(console(), results.cards, titles, list(results.failed))
    if options.junit is not None:
        from grader.views import junit

        write_atomic(options.junit, junit.render(results.cards))
    if options.html is not None:
        from grader.views import html

        write_atomic(options.html, html.render(results.cards, titles=titles))
    for path in (options.junit, options.html):
        if path is not None:
            click.echo(f"Wrote {path}", err=True)
