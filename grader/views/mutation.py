"""A campaign of mutants: a line while it runs, what must be looked at in full, the table operators × exercises."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self

from rich.console import Console
from rich.segment import Segments
from rich.status import Status
from rich.table import Table
from rich.text import Text

from grader.mutation.campaign import STATUSES, Campaign, Result
from grader.mutation.operators import Operator
from grader.mutation.sites import Mutant
from grader.views.text import clean, encodes, seconds

_EVERY: Final = 25
"""So often a line goes to something that is no terminal."""


class Ticker:
    """Says how far a campaign is: a line that changes on a terminal, now and then a new one elsewhere."""

    def __init__(self, console: Console, id: str, total: int) -> None:
        self._console = console
        self._id = id
        self._total = total
        self._counts: Counter[str] = Counter()
        spinner = "dots" if encodes(console.encoding, "⠋") else "line"
        lively = console.is_terminal and not console.is_dumb_terminal
        self._status = Status(self._text(), console=console, spinner=spinner) if lively else None

    def __enter__(self) -> Self:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def tick(self, result: Result) -> None:
        self._counts[result.status] += 1
        if not result.ok:
            self._console.print(_line(result), soft_wrap=True, highlight=False)
        if self._status is not None:
            self._status.update(self._text())
        elif self._counts.total() % _EVERY == 0:
            self._console.print(self._text(), soft_wrap=True, highlight=False)

    def _text(self) -> Text:
        rest = "".join(f", {self._counts[status]} {status}" for status in STATUSES if self._counts[status])
        return Text(f"{self._id}: {self._counts.total()} of {self._total} mutants{rest}")


def _line(result: Result) -> Text:
    mutant = result.mutant
    by = f" by {result.killed_by}" if result.killed_by else ""
    place = f"line {mutant.line}" + (f", in {mutant.where}" if mutant.where else "")
    changed = f"{_short(mutant.before)}  ->  {_short(mutant.after)}"
    return Text(f"{result.status.upper()}{by}  {mutant.operator.name}  {place}: {changed}", style="red")


def _short(lines: str) -> str:
    return clean(" / ".join(lines.splitlines())) or "(nothing)"


def show(console: Console, campaign: Campaign) -> None:
    """One exercise: the counts, then every mutant that must be looked at, in full."""
    counts = Counter(result.status for result in campaign.results)
    took = sum(result.scorecard.seconds for result in campaign.results)
    parts = [f"{counts[status]} {status}" for status in STATUSES if counts[status]]
    console.print(
        Text.assemble((campaign.exercise.id, "bold"), f"  {', '.join(parts) or 'no mutants'} ({seconds(took)})"),
        soft_wrap=True,
    )
    for result in campaign.results:
        if not result.ok:
            _in_full(console, result)
    for one in campaign.stale:
        text = f"equivalent.toml lists a change that no operator makes: {one.where}: {_short(one.after)}"
        console.print(Text(text, style="red"), soft_wrap=True)


def _in_full(console: Console, result: Result) -> None:
    mutant = result.mutant
    console.print(Text(f"\n{mutant.operator.name} ({_number(mutant.operator)})", style="bold red"), soft_wrap=True)
    said = {
        "survived": "every check passes; add one that doesn't, or list the change in equivalent.toml",
        "revived": f"equivalent.toml says that nothing can tell it, but {result.killed_by} does",
        "grader-error": f"the grader itself failed: {result.why}" if result.why else "the grader itself failed",
    }
    rows = [
        ("came out", said.get(result.status, result.status)),
        ("where", mutant.where),
        ("before", mutant.before),
        ("after", mutant.after),
    ]
    for label, text in rows:
        indented = clean(text).replace("\n", "\n      ")
        console.print(Text(f"  {label}: {indented}"), soft_wrap=True, highlight=False)


def _number(operator: Operator) -> str:
    return f"{operator.number}, {operator.family}" if operator.number else operator.family


def show_list(console: Console, campaigns: Sequence[Campaign]) -> None:
    """The mutants without grading them, as equivalent.toml names them."""
    for campaign in campaigns:
        console.print(Text(f"{campaign.exercise.id}: {len(campaign.mutants)} mutants", style="bold"))
        for mutant in campaign.mutants:
            text = f"  {mutant.operator.name}  {mutant.where}: {_short(mutant.before)}  ->  {_short(mutant.after)}"
            console.print(Text(text), soft_wrap=True, highlight=False)


def show_table(console: Console, campaigns: Sequence[Campaign]) -> None:
    """Operators × exercises; each cell killed + timed out / survived / equivalent, dots for none.

    On a terminal that is too narrow the exercises go into several tables; elsewhere lines are as long as they need.
    """
    console.print()
    console.print("killed (+ timed out) / survived / equivalent, per exercise", style="dim", highlight=False)
    left = list(campaigns)
    while left:
        count = len(left)
        table = _table(left)
        while console.is_terminal and count > 1 and _natural_width(console, table) > console.width:
            count -= 1
            table = _table(left[:count])
        options = console.options.update(width=max(console.width, _natural_width(console, table)))
        console.print(Segments(console.render(table, options)), crop=False, soft_wrap=True, end="")
        left = left[count:]


def _natural_width(console: Console, table: Table) -> int:
    return table.__rich_measure__(console, console.options.update(max_width=10_000)).maximum


def _table(campaigns: Sequence[Campaign]) -> Table:
    cells = _cells(campaigns)
    operators = {result.mutant.operator.name: result.mutant.operator for c in campaigns for result in c.results}
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("operator", no_wrap=True)
    for campaign in campaigns:
        table.add_column(campaign.exercise.id[:2], justify="right", no_wrap=True)
    for operator in sorted(operators.values(), key=lambda o: (o.number or 1000, o.name)):
        row = [_cell(cells[campaign.exercise.id, operator.name]) for campaign in campaigns]
        table.add_row(f"{operator.number or '':>3} {operator.name}", *row)
    totals: list[Counter[str]] = [Counter(r.status for r in campaign.results) for campaign in campaigns]
    table.add_row("    all", *[_cell(total) for total in totals], style="bold")
    return table


def _cells(campaigns: Sequence[Campaign]) -> dict[tuple[str, str], Counter[str]]:
    found: dict[tuple[str, str], Counter[str]] = {}
    for campaign in campaigns:
        for result in campaign.results:
            key = (campaign.exercise.id, result.mutant.operator.name)
            found.setdefault(key, Counter())[result.status] += 1
    empty: Counter[str] = Counter()
    names = {name for _, name in found}
    return {(c.exercise.id, name): found.get((c.exercise.id, name), empty) for c in campaigns for name in names}


def _cell(counts: Counter[str]) -> str:
    if not counts:
        return "."
    late = f"+{counts['timed-out']}" if counts["timed-out"] else ""
    wrong = counts["survived"] + counts["revived"] + counts["grader-error"]
    return f"{counts['killed']}{late}/{wrong}/{counts['equivalent']}"


def to_json(campaigns: Sequence[Campaign]) -> str:
    """The same as a document for scripts."""
    return json.dumps([_document(campaign) for campaign in campaigns], indent=2)


def _document(campaign: Campaign) -> dict[str, Any]:
    return {
        "exercise": campaign.exercise.id,
        "ok": campaign.ok,
        "counts": {status: sum(r.status == status for r in campaign.results) for status in STATUSES},
        "stale": [{"where": one.where, "before": one.before, "after": one.after} for one in campaign.stale],
        "mutants": [_row(result.mutant, result) for result in campaign.results],
    }


def _row(mutant: Mutant, result: Result) -> dict[str, Any]:
    return {
        "operator": mutant.operator.name,
        "number": mutant.operator.number or None,
        "family": mutant.operator.family,
        "where": mutant.where,
        "line": mutant.line,
        "before": mutant.before,
        "after": mutant.after,
        "status": result.status,
        "killed_by": result.killed_by,
        "why": result.why or None,
        "seconds": round(result.scorecard.seconds, 3),
    }
