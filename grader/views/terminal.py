"""A grade in the terminal: the lines while it runs, then the score, the first failure and what to do next.

On a terminal the running check has a spinner and training a progress bar; anywhere else the same facts come
as plain lines. Nothing is computed here, and no text of the candidate's is ever taken for markup.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from grader.judge.scorecard import (
    CheckFinished,
    CheckRecord,
    CheckStarted,
    Event,
    Finished,
    Progress,
    Scorecard,
    Started,
)
from grader.views import text as words
from grader.views.text import clean

_WIDEST: Final = 100
"""Beyond this, points at the right edge are too far from their titles."""
_NARROW: Final = 60
_QUESTIONS: Final = 4
"""Follow-up questions named after a pass; `practice reveal` shows all, with answers."""


@dataclass(frozen=True)
class Subject:
    """What is graded, and how to speak of it."""

    id: str
    title: str
    again: str
    """The command that grades the same thing again."""
    own: bool = True
    """Whether it is the learner's own file, for which hints and attempts make sense."""
    follow_ups: tuple[str, ...] = ()


def _width(console: Console) -> int:
    return min(console.width, _WIDEST)


def _lively(console: Console) -> bool:
    return console.is_terminal and not console.is_dumb_terminal


def _symbol(console: Console, record: CheckRecord) -> Text:
    mark = words.mark(record.verdict)
    shown = mark.symbol if words.encodes(console.encoding, mark.symbol) else mark.ascii
    return Text(shown, style=mark.style)


def _dot(console: Console) -> str:
    return " · " if words.encodes(console.encoding, "·") else ", "


class CheckView:
    """Shows the events of one grade as they come. Use it as a context manager around `grade`."""

    def __init__(self, console: Console, subject: Subject) -> None:
        self._console = console
        self._subject = subject
        self._titles: dict[str, str] = {}
        self._running: dict[str, float] = {}
        self._progress: dict[str, Progress] = {}
        self._shown: set[str] = set()
        self._since = time.monotonic()
        self._spinner = Spinner("dots" if words.encodes(console.encoding, "⠋") else "line", style="cyan")
        self._live = Live(
            console=console,
            get_renderable=self._now,
            transient=True,
            refresh_per_second=8,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        if _lively(self._console):
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Also on Ctrl-C: stopping the live display shows the cursor again.
        if self._live.is_started:
            self._live.stop()

    def on_event(self, event: Event) -> None:
        match event:
            case Started(checks=checks, data=data):
                self._titles = {id: title for id, title, _ in checks}
                self._header(data)
            case CheckStarted(id=id):
                self._running[id] = time.monotonic()
            case Progress(id=id):
                self._progress[id] = event
            case CheckFinished(record=record):
                self._running.pop(record.id, None)
                self._progress.pop(record.id, None)
                self._line(record)
            case Finished(scorecard=card):
                self.complete(card)

    def complete(self, card: Scorecard) -> None:
        """Show the checks that no event announced: the scorecard is what counts, not what arrived."""
        self._running.clear()
        for record in card.checks:
            self._line(record)

    def _header(self, data: str) -> None:
        dot = _dot(self._console)
        title = Text.assemble((clean(self._subject.title), "bold"), (f"{dot}{self._subject.id}", "dim"))
        title.append(f"{dot}{words.data_words(data)}", style="dim")
        self._console.print(title, soft_wrap=not _lively(self._console), highlight=False)

    def _line(self, record: CheckRecord) -> None:
        if record.id in self._shown:
            return
        self._shown.add(record.id)
        self._console.print(check_line(self._console, record), soft_wrap=not _lively(self._console))
        for aside in asides(record):
            self._console.print(Text(f"    {aside}", style="dim"), soft_wrap=not _lively(self._console))

    def _now(self) -> RenderableType:
        """What runs at this moment; drawn again several times a second."""
        if not self._running:
            waiting = "Finishing" if self._shown and not self._titles.keys() - self._shown else "Starting the grader"
            return self._busy(waiting, self._since)
        return Group(*(row for id, since in self._running.items() for row in self._rows(id, since)))

    def _busy(self, title: str, since: float) -> RenderableType:
        grid = Table.grid(padding=(0, 1), expand=True)
        grid.width = _width(self._console)
        grid.add_column(width=1)
        grid.add_column(ratio=1, overflow="fold")
        grid.add_column(justify="right", no_wrap=True)
        grid.add_row(self._spinner, Text(title), Text(words.seconds(time.monotonic() - since), style="dim"))
        return grid

    def _rows(self, id: str, since: float) -> list[RenderableType]:
        rows = [self._busy(clean(self._titles.get(id, id)), since)]
        progress = self._progress.get(id)
        if progress is not None and progress.total > 0:
            rows.append(self._bar(progress))
        return rows

    def _bar(self, progress: Progress) -> RenderableType:
        loss = "" if progress.loss is None else f"  loss {progress.loss:.3f}"
        grid = Table.grid(padding=(0, 1))
        grid.add_column(width=1)
        grid.add_column()
        grid.add_column(no_wrap=True)
        room = max(8, min(40, _width(self._console) - 36))
        bar = ProgressBar(total=progress.total, completed=min(progress.done, progress.total), width=room)
        grid.add_row("", bar, Text(f"{progress.done}/{progress.total}{loss}", style="dim"))
        return grid


def asides(record: CheckRecord) -> list[str]:
    """Small print under a check's line: what was measured, what the check notes."""
    measured = [words.measures(record)] if record.measures else []
    return measured + [clean(note) for note in record.notes]


def _aside(record: CheckRecord) -> str:
    return "" if record.verdict in ("passed", "failed") else words.SAYINGS[record.verdict]


def check_line(console: Console, record: CheckRecord, *, remark: str | None = None) -> RenderableType:
    """One check: symbol, title, verdict word, points, seconds. Wraps the title, never cuts it.

    A `remark` of at most 7 columns stands in the place of the seconds.
    """
    title = Text(clean(record.title), style="dim" if record.verdict == "blocked" else "")
    aside = _aside(record)
    points = f"{record.points}/{record.max_points}"
    if aside:
        title.append(f" ({aside})", style=words.mark(record.verdict).style)
    if not _lively(console):
        return Text.assemble(_symbol(console, record), " ", title, f" [{points}]")
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.width = _width(console)
    grid.add_column(width=1)
    grid.add_column(ratio=1, overflow="fold")
    grid.add_column(justify="right", no_wrap=True)
    cells: list[RenderableType] = [_symbol(console, record), title, Text(points, style="dim")]
    if console.width >= _NARROW:
        grid.add_column(justify="right", no_wrap=True, min_width=7)
        took = remark or ("" if record.verdict == "blocked" else words.seconds(record.seconds))
        cells.append(Text(took, style="dim"))
    grid.add_row(*cells)
    return grid


# --- afterwards ------------------------------------------------------------------------------------------


def show_result(console: Console, card: Scorecard, subject: Subject, *, verbose: bool = False) -> None:
    """The score, then the first failure (every one, when `verbose`) or the praise, then the next commands."""
    show_score(console, card)
    if _lively(console) and card.pictures:
        from grader.views.pictures import show_pictures

        show_pictures(console, card)
        console.print()
    if card.passed:
        _praise(console, card, subject)
        return
    show_failures(console, card, verbose=verbose)
    _next(console, card, subject)


def show_failures(console: Console, card: Scorecard, *, verbose: bool) -> None:
    """What went wrong: that the file can't be loaded, or the first failed check, or every one."""
    failures = [r for r in card.checks if not r.passed and r.verdict != "blocked"]
    if card.problem:
        show_problem(console, card)
    else:
        for record in failures if verbose else failures[:1]:
            show_failure(console, record)
        left = sum(record.verdict != "not-implemented" for record in failures[1:])
        if left and not verbose:
            more = "1 other check failed, too" if left == 1 else f"{left} other checks failed, too"
            _say(console, Text(f"{more}; --verbose explains each.", style="dim"))


def _say(console: Console, line: Text) -> None:
    if _lively(console):
        console.print(line, width=_width(console), highlight=False)
    else:
        console.print(line, soft_wrap=True, highlight=False)


def show_score(console: Console, card: Scorecard) -> None:
    """The one line that says how it went."""
    passed = sum(record.passed for record in card.checks)
    facts = [
        f"{passed} of {len(card.checks)} checks passed",
        words.data_words(card.data),
        words.seconds(card.seconds),
    ]
    if card.full:
        facts.insert(2, "full training")
    dot = _dot(console)
    style = "bold green" if card.passed else "bold yellow" if card.score else "bold red"
    score = "No score, the grader failed" if card.has_grader_error else f"Score {card.score}/{card.max_score}"
    console.print()
    line = Text.assemble((score, style), (dot + dot.join(facts), "dim"))
    _say(console, line)


def show_problem(console: Console, card: Scorecard, *, lines: int = words.PRINTED_LINES) -> None:
    """That the file can't be loaded, and why; with at most `lines` lines of what it printed."""
    title = Text(problem_title(card), style="bold")
    _panel(console, title, words.unloadable(card, lines=lines), style="red")


def problem_title(card: Scorecard) -> str:
    return f"{clean(card.file)} can't be graded as it is"


def show_failure(console: Console, record: CheckRecord, *, lines: int = words.PRINTED_LINES) -> None:
    """One check that didn't pass; with at most `lines` lines of what the candidate printed."""
    title = Text.assemble(_symbol(console, record), " ", (clean(record.title), "bold"))
    rows = words.explanation(record, lines=lines)
    if record.verdict == "grader-error":
        fault = "This is a fault of the kit or of this machine, not of your code; it doesn't count against you."
        rows.insert(0, ("", fault))
    elif _aside(record):
        rows.insert(0, ("", f"Verdict: {words.SAYINGS[record.verdict]}."))
    _panel(console, title, rows, style=words.mark(record.verdict).style)


def _panel(console: Console, title: Text, rows: Sequence[tuple[str, str]], *, style: str) -> None:
    console.print()
    if not _lively(console):
        console.print(title, soft_wrap=True)
        for label, text in rows:
            indented = text.replace("\n", "\n    ")
            console.print(Text(f"  {label}: {indented}" if label else f"  {indented}"), soft_wrap=True)
        return
    body = _stacked(rows) if console.width < _NARROW else _columns(rows)
    console.print(Panel(Group(title, "", *body), border_style=style, width=_width(console)))


def _columns(rows: Sequence[tuple[str, str]]) -> list[RenderableType]:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="cyan")
    grid.add_column(overflow="fold")
    shown: list[RenderableType] = []
    for label, text in rows:
        if label:
            grid.add_row(label, Text(text, overflow="fold"))
        else:
            shown.append(Text(text, overflow="fold"))
    return [*shown, grid] if grid.row_count else shown


def _stacked(rows: Sequence[tuple[str, str]]) -> list[RenderableType]:
    shown: list[RenderableType] = []
    for label, text in rows:
        if label:
            shown.append(Text(label, style="cyan"))
        shown.append(Padding(Text(text, overflow="fold"), (0, 0, 0, 2 if label else 0)))
    return shown


def _praise(console: Console, card: Scorecard, subject: Subject) -> None:
    if not subject.own:
        _say(console, Text("Passed.", style="green"))
        return
    _say(console, Text(f"Passed: you earned all {card.score} points.", style="green"))
    if subject.follow_ups:
        show_questions(console, subject.follow_ups)
    rows = [
        (f"practice reveal {subject.id}", "the reference, with model answers"),
        ("practice next", "the next exercise"),
    ]
    show_commands(console, rows)


def show_questions(console: Console, questions: Sequence[str]) -> None:
    console.print()
    _say(console, Text("An interviewer might go on:"))
    bullet = "•" if words.encodes(console.encoding, "•") else "-"
    for question in questions[:_QUESTIONS]:
        _item(console, bullet, Text(clean(question)))
    if len(questions) > _QUESTIONS:
        _item(console, " ", Text(f"and {len(questions) - _QUESTIONS} more", style="dim"))


def _item(console: Console, bullet: str, line: Text) -> None:
    if not _lively(console):
        console.print(Text.assemble(f"  {bullet} ", line), soft_wrap=True)
        return
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=3, justify="right")
    grid.add_column(overflow="fold")
    grid.add_row(bullet, line)
    console.print(grid, width=_width(console))


def _next(console: Console, card: Scorecard, subject: Subject) -> None:
    if card.has_grader_error:
        show_commands(
            console,
            [("practice doctor", "what is wrong with this machine's set-up"), (subject.again, "again")],
        )
        return
    if not subject.own:
        show_commands(console, [(subject.again, "after a change")])
        return
    first = card.first_failure
    if first is not None and first.verdict == "not-implemented":
        rows = [
            (f"practice show {subject.id}", "what to write"),
            (subject.again, f"after writing it in {clean(card.file)}"),
            (f"practice hint {subject.id}", "when stuck"),
        ]
    else:
        rows = [
            (f"practice hint {subject.id}", "a hint, one step further each time"),
            (subject.again, "after your change"),
            (f"practice reveal {subject.id}", "the reference, when you have had enough"),
        ]
    show_commands(console, rows)


def show_commands(console: Console, rows: Sequence[tuple[str, str]]) -> None:
    """The next commands: each on a line of its own, whole, so that it can be copied."""
    console.print()
    _say(console, Text("Next", style="bold"))
    longest = max(len(command) for command, _ in rows)
    widest = longest + 4 + max(len(reason) for _, reason in rows)
    beside = not _lively(console) or widest <= console.width
    for command, reason in rows:
        line = Text.assemble("  ", (command, "cyan"))
        if beside:
            line.append(" " * (longest - len(command) + 2) + reason, style="dim")
        console.print(line, soft_wrap=True, highlight=False)
        if not beside:
            console.print(Text(f"    {reason}", style="dim"), highlight=False)


def show_summary(console: Console, cards: Sequence[Scorecard], titles: dict[str, str], failed: Sequence[str]) -> None:
    """One line per exercise after several were graded; `failed` are those that couldn't be graded at all."""
    console.print()
    passed = sum(card.passed for card in cards)
    _say(console, Text(f"{passed} of {len(cards) + len(failed)} exercises passed", style="bold"))
    for card in cards:
        _summary_line(console, card, titles.get(card.exercise, card.exercise))
    for id in failed:
        _say(console, Text(f"! {id}  could not be graded", style="magenta"))


def _summary_line(console: Console, card: Scorecard, title: str) -> None:
    verdict = words.mark("passed" if card.passed else "grader-error" if card.has_grader_error else "failed")
    symbol = verdict.symbol if words.encodes(console.encoding, verdict.symbol) else verdict.ascii
    score = f"{card.score}/{card.max_score}"
    if not _lively(console):
        facts = f"{words.data_words(card.data)}, {words.seconds(card.seconds)}"
        console.print(Text(f"{symbol} {card.exercise} {score} ({facts})"), soft_wrap=True)
        return
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.width = _width(console)
    grid.add_column(width=1)
    grid.add_column(ratio=1, overflow="fold")
    grid.add_column(justify="right", no_wrap=True)
    name = (
        Text(card.exercise) if console.width < _NARROW else Text.assemble(card.exercise, (f"  {clean(title)}", "dim"))
    )
    cells: list[RenderableType] = [Text(symbol, style=verdict.style), name, Text(score, style="bold")]
    if console.width >= _NARROW:
        grid.add_column(justify="right", no_wrap=True, min_width=7)
        cells.append(Text(words.seconds(card.seconds), style="dim"))
    grid.add_row(*cells)
    console.print(grid)
