"""`practice author`: for those who write exercises. Stubs from the solutions, and the proof of the checks."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from grader.catalog import KINDS, TRACKS
from grader.cli.calibrate import command as calibrate
from grader.cli.proving import grader_of, side_by_side
from grader.errors import PracticeError, UsageProblem

if TYPE_CHECKING:
    from rich.console import Console

    from grader.catalog import Exercise
    from grader.cli.grading import Source
    from grader.judge.proof import Case, Outcome
    from grader.workspace import Workspace


@click.group("author", short_help="For authors of exercises: stubs, and the proof of the checks.")
def command() -> None:
    """Commands for those who write exercises; docs/authoring.md tells how."""


@command.command("stubs")
@click.option("--check", is_flag=True, help="Only compare; exit with 1 when a stub differs from its solution.")
@click.argument("exercises", nargs=-1, metavar="[ID…]")
def stubs(check: bool, exercises: tuple[str, ...]) -> None:
    """Write exercises/ anew from the solutions."""
    from grader.stubs import main

    code = main([*(["--check"] if check else []), *exercises])
    if check and code == 0:
        click.echo("The stubs are what the solutions generate.")
    raise click.exceptions.Exit(code)


@command.command("new")
@click.argument("id", metavar="ID")
@click.option("--kind", type=click.Choice(KINDS), default="implement", show_default=True)
@click.option(
    "--track", type=click.Choice(TRACKS), help="[default: core, or debug for that kind]", metavar="|".join(TRACKS)
)
@click.option("--title", default="", help="The title that `practice list` shows.")
def new(id: str, kind: str, track: str | None, title: str) -> None:
    """Start the exercise ID (`40_focal_loss`): a small one that works, to be rewritten piece by piece."""
    from grader import skeleton
    from grader.stubs import main

    plan = skeleton.Plan(id, kind, track or ("debug" if kind == "debug" else "core"), title)
    for path in skeleton.write(plan):
        click.echo(path)
    main([id])
    click.echo(
        f"Rewrite them, then `practice author verify {id[:2]}`; docs/authoring.md tells what goes where.", err=True
    )


@command.command("verify")
@click.argument("exercises", nargs=-1, metavar="[ID…]")
@click.option("--only", metavar="NAME", help="Only the cases whose name contains NAME.")
@click.option(
    "--jobs", type=click.IntRange(1), help="Cases graded at the same time (default: one per core, 4 at most)."
)
@click.option("--data", type=click.Choice(["real", "embedded"]), help="Which data to use.")
@click.option("--quick", is_flag=True, help="One mutant for each check instead of all.")
@click.option("--deep", is_flag=True, help="Also grade what every mutation operator makes of the solutions.")
@click.option("--part", metavar="K/N", help="With --deep: only the K-th of N shares of those.")
@click.option("--explain", is_flag=True, help="Show what a learner would read about each mutant.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcomes as JSON.")
def verify(
    exercises: tuple[str, ...],
    only: str | None,
    jobs: int | None,
    data: Source | None,
    quick: bool,
    deep: bool,
    part: str | None,
    explain: bool,
    as_json: bool,
) -> None:
    """Prove that the checks judge rightly: stub 0, solution and alternates 100, each mutant caught as named.

    Without ID: all exercises. Exit code 1 when a case comes out otherwise.
    """
    if part and not deep:
        raise UsageProblem("--part is for --deep.", hint="`practice author verify --deep --part 1/5`")
    if deep and (as_json or only):
        raise UsageProblem("--deep goes without --json and --only.", hint="`practice author mutate` takes both.")
    side = jobs or _cores()
    code = _verify(exercises, Plan(only, side, data, quick, explain), as_json)
    if deep and code != 3:
        from grader.cli.mutate import Choice, run

        code = max(code, run(exercises, Choice(part=part, jobs=side, data=data)))
    raise click.exceptions.Exit(code)


@command.command("mutate")
@click.argument("exercises", nargs=-1, metavar="[ID…]")
@click.option("--operator", "operators", multiple=True, metavar="NAME", help="Only this operator; may be repeated.")
@click.option("--only", metavar="TEXT", help="Only mutants with TEXT in their operator, place or changed lines.")
@click.option("--part", metavar="K/N", help="Only the K-th of N shares.")
@click.option(
    "--jobs", type=click.IntRange(1), help="Mutants graded at the same time (default: one per core, 4 at most)."
)
@click.option("--data", type=click.Choice(["real", "embedded"]), help="Which data to use.")
@click.option("--list", "listing", is_flag=True, help="Only list the mutants; grade nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def mutate(
    exercises: tuple[str, ...],
    operators: tuple[str, ...],
    only: str | None,
    part: str | None,
    jobs: int | None,
    data: Source | None,
    listing: bool,
    as_json: bool,
) -> None:
    """Change the solutions by every operator everywhere it fits, and see that a check notices.

    Without ID: all exercises. Exit code 1 when a mutant passes that equivalent.toml doesn't list, or when the
    list is wrong.
    """
    from grader.cli.mutate import Choice, run

    choice = Choice(operators, only, part, jobs or _cores(), data)
    raise click.exceptions.Exit(run(exercises, choice, as_json=as_json, listing=listing))


command.add_command(calibrate, "calibrate")


def _cores() -> int:
    from grader.diagnosis import cores

    return min(4, cores())


@dataclass(frozen=True)
class Plan:
    """How to go through the cases."""

    only: str | None = None
    jobs: int = 1
    data: Source | None = None
    quick: bool = False
    explain: bool = False


@dataclass
class Proof:
    """What came of one exercise."""

    exercise: Exercise
    outcomes: list[Outcome] = field(default_factory=list)
    idle: list[str] = field(default_factory=list)
    """Checks that no mutant names."""
    error: PracticeError | None = None

    @property
    def ok(self) -> bool:
        return self.error is None and not self.idle and all(outcome.ok for outcome in self.outcomes)


def _verify(queries: Sequence[str], plan: Plan, as_json: bool) -> int:
    from grader import workspace as workspaces
    from grader.catalog import Catalog
    from grader.cli.grading import make_data_ready
    from grader.views import verification
    from grader.views.console import console

    catalog = Catalog.load()
    chosen = [catalog.find(query) for query in queries] or list(catalog)
    workspace = workspaces.find()
    out = console(stderr=as_json)
    make_data_ready(workspace, chosen, plan.data, console(stderr=True))
    proofs = []
    for exercise in chosen:
        proof = _prove(exercise, workspace, plan, out)
        proofs.append(proof)
        if not as_json:
            verification.show(out, exercise.id, proof.outcomes, proof.idle, proof.error)
    if not any(proof.outcomes or proof.error for proof in proofs):
        raise UsageProblem(f"No case has {plan.only!r} in its name.", hint="The names are those in mutants.toml.")
    if as_json:
        click.echo(verification.to_json([(p.exercise.id, p.outcomes, p.idle, p.error) for p in proofs]))
    elif len(proofs) > 1:
        verification.show_total(out, [(p.exercise.id, p.outcomes, p.ok) for p in proofs])
    if any(proof.error is not None for proof in proofs):
        return 3
    return 0 if all(proof.ok for proof in proofs) else 1


def _prove(exercise: Exercise, workspace: Workspace, plan: Plan, out: Console) -> Proof:
    from grader.judge import proof as proofs
    from grader.views.verification import Ticker

    proof = Proof(exercise)
    try:
        every = proofs.cases(exercise)
        chosen = proofs.quick(every) if plan.quick else every
        if plan.only:
            chosen = [case for case in chosen if plan.only in case.name]
        with Ticker(out, exercise.id, len(chosen), plan.explain) as ticker:
            for outcome in _outcomes(chosen, workspace, plan):
                proof.outcomes.append(outcome)
                ticker.tick(outcome)
        order = {case.name + case.kind: n for n, case in enumerate(chosen)}
        proof.outcomes.sort(key=lambda outcome: order[outcome.case.name + outcome.case.kind])
        solution = next((o.scorecard for o in proof.outcomes if o.case.kind == "solution"), None)
        proof.idle = proofs.idle_checks(every, solution) if solution is not None else []
    except PracticeError as error:
        proof.error = error
    return proof


def _outcomes(cases: Sequence[Case], workspace: Workspace, plan: Plan) -> Iterator[Outcome]:
    from grader.judge import proof as proofs

    stopping = threading.Event()

    def outcome(case: Case) -> Outcome:
        return proofs.run(case, grader_of(case.exercise, workspace, plan.data, stopping))

    return side_by_side(cases, outcome, plan.jobs, stopping)
