"""`practice author`: for those who write exercises. Stubs from the solutions, and the proof of the checks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from grader.errors import PracticeError, UsageProblem

if TYPE_CHECKING:
    from rich.console import Console

    from grader.catalog import Exercise
    from grader.cli.grading import Source
    from grader.judge.proof import Case, Outcome
    from grader.judge.scorecard import Event, Scorecard
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


@command.command("verify")
@click.argument("exercises", nargs=-1, metavar="[ID…]")
@click.option("--only", metavar="NAME", help="Only the cases whose name contains NAME.")
@click.option(
    "--jobs", type=click.IntRange(1), help="Cases graded at the same time (default: one per core, 4 at most)."
)
@click.option("--data", type=click.Choice(["real", "embedded"]), help="Which data to use.")
@click.option("--quick", is_flag=True, help="One mutant for each check instead of all.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcomes as JSON.")
def verify(
    exercises: tuple[str, ...], only: str | None, jobs: int | None, data: Source | None, quick: bool, as_json: bool
) -> None:
    """Prove that the checks judge rightly: stub 0, solution and alternates 100, each mutant caught as named.

    Without ID: all exercises. Exit code 1 when a case comes out otherwise.
    """
    from grader.diagnosis import cores

    raise click.exceptions.Exit(_verify(exercises, Plan(only, jobs or min(4, cores()), data, quick), as_json))


@dataclass(frozen=True)
class Plan:
    """How to go through the cases."""

    only: str | None = None
    jobs: int = 1
    data: Source | None = None
    quick: bool = False


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
        with Ticker(out, exercise.id, len(chosen)) as ticker:
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
        return proofs.run(case, _grader(case, workspace, plan, stopping))

    if plan.jobs == 1:
        yield from map(outcome, cases)
        return
    with ThreadPoolExecutor(plan.jobs) as pool:
        waiting: list[Future[Outcome]] = [pool.submit(outcome, case) for case in cases]
        try:
            for future in as_completed(waiting):
                yield future.result()
        except BaseException:
            # Ctrl-C reaches this thread only: the others stop at their next event.
            stopping.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _grader(
    case: Case, workspace: Workspace, plan: Plan, stopping: threading.Event
) -> Callable[[Path, bool], Scorecard]:
    def on_event(event: Event) -> None:
        if stopping.is_set():
            raise KeyboardInterrupt

    def graded(path: Path, until_failure: bool) -> Scorecard:
        from grader.judge.client import grade
        from grader.judge.submission import read_submission

        options: dict[str, Any] = {"data": plan.data, "full": False, "until_failure": until_failure}
        return grade(case.exercise, read_submission(path), workspace=workspace, on_event=on_event, **options)

    return graded
