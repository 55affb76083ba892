"""The proof of an exercise's checks: a line while it runs, the table of its cases, the wrong ones in full."""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self

from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from grader.errors import PracticeError
from grader.judge.proof import Outcome
from grader.views.text import clean, encodes, seconds

_WIDEST: Final = 120


class Ticker:
    """How far the proof of one exercise is: a line that changes on a terminal, elsewhere a line for each case.

    With `explain` also what a learner would read about each mutant.
    """

    def __init__(self, console: Console, id: str, total: int, explain: bool = False) -> None:
        self._console = console
        self._explain = explain
        self._id = id
        self._total = total
        self._done = 0
        self._wrong = 0
        spinner = "dots" if encodes(console.encoding, "⠋") else "line"
        lively = console.is_terminal and not console.is_dumb_terminal
        self._status = Status(self._text(""), console=console, spinner=spinner) if lively else None

    def __enter__(self) -> Self:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def tick(self, outcome: Outcome) -> None:
        self._done += 1
        self._wrong += not outcome.ok
        if self._status is not None:
            self._status.update(self._text(f"  {outcome.case.kind} {outcome.case.name}"))
        if self._status is None or self._explain:
            self._console.print(_plain(outcome), soft_wrap=True, highlight=False)
        if self._explain and outcome.case.kind == "mutant":
            _explain(self._console, outcome)

    def _text(self, latest: str) -> Text:
        wrong = f", {self._wrong} wrong" if self._wrong else ""
        return Text(
            f"{self._id}: {self._done} of {self._total} cases{wrong}{latest}",
            overflow="ellipsis",
            no_wrap=True,
        )


def show(
    console: Console, id: str, outcomes: Sequence[Outcome], idle: Sequence[str], error: PracticeError | None
) -> None:
    """The table of one exercise, then every case that came out otherwise than expected, in full."""
    wrong = [outcome for outcome in outcomes if not outcome.ok]
    console.print(Text.assemble((id, "bold"), f"  {len(outcomes) - len(wrong)} of {len(outcomes)} cases as expected"))
    if console.is_terminal:
        console.print(_table(console, outcomes))
    for outcome in wrong:
        _in_full(console, outcome)
    for check in idle:
        console.print(Text(f"{check} is no mutant's killer: nothing shows that it can fail", "red"), soft_wrap=True)
    if error is not None:
        console.print(Text(f"{id}: {clean(error.message)}", style="red"), soft_wrap=True)
    console.print()


def _table(console: Console, outcomes: Sequence[Outcome]) -> Table:
    """One row a case; what came out has a column only where something came out otherwise."""
    wrong = not all(outcome.ok for outcome in outcomes)
    table = Table(box=None, padding=(0, 2, 0, 0), width=min(console.width, _WIDEST))
    table.add_column("", width=1)
    table.add_column("case", overflow="fold", ratio=1)
    table.add_column("expected", overflow="fold", ratio=1)
    if wrong:
        table.add_column("got", overflow="fold", ratio=1)
    table.add_column("", justify="right", no_wrap=True)
    for outcome in outcomes:
        case = outcome.case
        name = case.name if case.kind in ("stub", "solution") else f"{case.kind} {case.name}"
        got = Text("as expected" if outcome.ok else outcome.got, style="dim" if outcome.ok else "red")
        took = Text(seconds(outcome.scorecard.seconds), style="dim")
        row = [_symbol(console, outcome.ok), Text(name), Text(case.expected), *([got] if wrong else []), took]
        table.add_row(*row)
    return table


def _symbol(console: Console, ok: bool) -> Text:
    symbol, plain = ("✓", "+") if ok else ("✗", "x")
    shown = symbol if encodes(console.encoding, symbol) else plain
    return Text(shown, style="green" if ok else "red")


def _plain(outcome: Outcome) -> Text:
    case = outcome.case
    state = "ok   " if outcome.ok else "WRONG"
    got = "" if outcome.ok else f"; got: {outcome.got}"
    return Text(f"{state} {case.kind} {case.name}: {case.expected}{got} ({seconds(outcome.scorecard.seconds)})")


def _explain(console: Console, outcome: Outcome) -> None:
    record = outcome.scorecard.first_failure
    if record is None:
        return
    for label in ("expected", "actual", "because", "looks_like"):
        text = getattr(record, label)
        shown = clean(text).replace("\n", "\n      ") if text else "–"
        console.print(Text(f"      {label.replace('_', ' ')}: {shown}", style="dim"), soft_wrap=True, highlight=False)


def _in_full(console: Console, outcome: Outcome) -> None:
    case = outcome.case
    console.print()
    console.print(Text(f"{case.kind} {case.name}", style="bold red"), soft_wrap=True)
    rows = [
        ("what it is", case.why),
        ("expected", case.expected),
        ("came out", outcome.complaint or ""),
        ("verdicts", _verdicts(outcome)),
    ]
    for label, text in rows:
        if text:
            indented = clean(text).replace("\n", "\n      ")
            console.print(Text(f"  {label}: {indented}"), soft_wrap=True, highlight=False)


def _verdicts(outcome: Outcome) -> str:
    return ", ".join(f"{record.id} {record.verdict}" for record in outcome.scorecard.checks)


def show_total(console: Console, proofs: Sequence[tuple[str, Sequence[Outcome], bool]]) -> None:
    """One line an exercise, after several."""
    for id, outcomes, ok in proofs:
        right = sum(outcome.ok for outcome in outcomes)
        console.print(Text.assemble(_symbol(console, ok), f" {id}  {right} of {len(outcomes)} cases"), soft_wrap=True)
    right = sum(ok for _, _, ok in proofs)
    console.print(Text(f"{right} of {len(proofs)} exercises proved", style="bold"), soft_wrap=True)


def to_json(proofs: Sequence[tuple[str, Sequence[Outcome], Sequence[str], PracticeError | None]]) -> str:
    """The same as a document for scripts."""
    return json.dumps([_document(*proof) for proof in proofs], indent=2)


def _document(id: str, outcomes: Sequence[Outcome], idle: Sequence[str], error: PracticeError | None) -> dict[str, Any]:
    rows = [
        {
            "kind": outcome.case.kind,
            "name": outcome.case.name,
            "expected": outcome.case.expected,
            "got": outcome.got,
            "ok": outcome.ok,
            "complaint": outcome.complaint,
            "seconds": round(outcome.scorecard.seconds, 3),
        }
        for outcome in outcomes
    ]
    return {
        "exercise": id,
        "ok": error is None and not idle and all(outcome.ok for outcome in outcomes),
        "error": None if error is None else error.message,
        "idle_checks": list(idle),
        "cases": rows,
    }
