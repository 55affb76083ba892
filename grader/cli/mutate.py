"""`practice author mutate` and the deep part of `verify`: every operator, everywhere it fits."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from grader.cli.proving import grader_of, side_by_side
from grader.errors import UsageProblem

if TYPE_CHECKING:
    from rich.console import Console

    from grader.cli.grading import Source
    from grader.mutation.campaign import Campaign, Result
    from grader.mutation.sites import Mutant
    from grader.workspace import Workspace


@dataclass(frozen=True)
class Choice:
    """Which mutants, and how they are graded."""

    operators: Sequence[str] = ()
    only: str | None = None
    part: str | None = None
    jobs: int = 1
    data: Source | None = None


def run(queries: Sequence[str], choice: Choice, *, as_json: bool = False, listing: bool = False) -> int:
    """The whole command; returns its exit code."""
    from grader import workspace as workspaces
    from grader.catalog import Catalog
    from grader.cli.grading import make_data_ready
    from grader.mutation import campaign as campaigns
    from grader.views import mutation
    from grader.views.console import console

    catalog = Catalog.load()
    chosen = [catalog.find(query) for query in queries] or list(catalog)
    part = campaigns.Part.read(choice.part) if choice.part else None
    planned = [campaigns.plan(e, operators=choice.operators, only=choice.only, part=part) for e in chosen]
    if not any(campaign.mutants or campaign.stale for campaign in planned):
        raise UsageProblem("No mutant fits this choice.", hint="`practice author mutate --list` shows them all.")
    out = console(stderr=as_json)
    if listing:
        mutation.show_list(out, planned)
        return 0
    workspace = workspaces.find()
    make_data_ready(workspace, chosen, choice.data, console(stderr=True))
    for campaign in planned:
        _carry_out(campaign, workspace, choice, out)
        if not as_json:
            mutation.show(out, campaign)
    if as_json:
        click.echo(mutation.to_json(planned))
    else:
        mutation.show_table(out, planned)
    if any(result.status == "grader-error" for campaign in planned for result in campaign.results):
        return 3
    return 0 if all(campaign.ok for campaign in planned) else 1


def _carry_out(campaign: Campaign, workspace: Workspace, choice: Choice, out: Console) -> None:
    from grader.views.mutation import Ticker

    stopping = threading.Event()
    grade = grader_of(campaign.exercise, workspace, choice.data, stopping)

    def result(mutant: Mutant) -> Result:
        return campaign.grade(mutant, grade)

    with Ticker(out, campaign.exercise.id, len(campaign.mutants)) as ticker:
        for one in side_by_side(campaign.mutants, result, choice.jobs, stopping):
            campaign.results.append(one)
            ticker.tick(one)
    order = {mutant.key: n for n, mutant in enumerate(campaign.mutants)}
    campaign.results.sort(key=lambda one: order[one.mutant.key])
