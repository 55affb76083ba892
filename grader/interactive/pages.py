"""What each page says, as lines with ANSI styles, wrapped to a width. Which part of them is seen is for `screen`.

rich draws what `practice check` draws with it, too, so that both look alike; drawn pieces are kept, because a
spinner redraws the screen ten times a second.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from grader.interactive.curve import curve
from grader.interactive.model import Run, State
from grader.interactive.picker import Picker, Row
from grader.judge.scorecard import CheckRecord, Scorecard
from grader.stubs import solution_text
from grader.views import text as words
from grader.views.code import show_code
from grader.views.console import canvas
from grader.views.light import cells, clipped
from grader.views.markdown import show_markdown
from grader.views.plain import LEVELS
from grader.views.terminal import asides, check_line, problem_title, show_failure, show_problem, show_questions
from grader.views.text import clean

_SGR: Final = re.compile(r"\x1b\[[0-9;]*m")
_FRAMES: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_WIDEST: Final = 100
_MOST_DRAWN: Final = 300
_AHEAD: Final = 2
"""Lines shown after the check that runs, when not all fit."""
_AROUND_PRINTED: Final = 14
"""Lines that a usual explanation takes apart from what was printed: on a small screen both have to fit."""

HELP: Final = """\
# Keys

| key | does |
|---|---|
| `n` | the next exercise, once this one is passed |
| `h` | a hint: the one for the failing check first, then one step further each time |
| `s` | the statement |
| `l` | the list of all exercises |
| `d` | details of what failed: full expected and actual, tensor statistics |
| `c` | the learning curve of the last training check |
| `p` | the pictures that the checks made of what your code does |
| `v` | the reference and model answers, once passed |
| `r` | run again |
| `x` | start anew from the stub; asks first and keeps a backup |
| `o` | open the file in your editor |
| `Esc` | close what is open; stop what runs |
| `q` | leave; `Ctrl-C` does, too |

Arrows, `j` and `k`, PgUp and PgDn, Home and End scroll. Every save is checked; a save during a check starts it anew.
Only keys that apply are named at the bottom.

In the list: `t`, `d` and `s` filter by track, difficulty and status, `/` searches, `a` shows all again, Enter opens.
"""


class _Buffer(io.StringIO):
    """Text that a console writes for the real terminal, whose encoding decides about symbols."""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return sys.stdout.encoding or "utf-8"


def styled(text: str, code: str) -> str:
    """`text` in an ANSI style."""
    return f"\x1b[{code}m{text}\x1b[0m" if text else ""


def spinner(now: float) -> str:
    """The frame for this moment."""
    frames = _FRAMES if words.encodes(sys.stdout.encoding, _FRAMES) else "|/-\\"
    return frames[int(now * 10) % len(frames)]


class Pages:
    """Draws pages, and keeps what it drew until something else has to be."""

    def __init__(self) -> None:
        self._drawn: dict[tuple[object, ...], list[str]] = {}

    def body(self, state: State, width: int, room: int, now: float) -> list[str]:
        """All lines of the page that `state` shows; `room` is how many can be seen at once."""
        place, run = state.place, state.run
        id = place.exercise.id
        match state.page:
            case "statement":
                return self._kept(("statement", id), width, lambda out: _statement(out, state))
            case "details" if run is not None:
                return self._kept(("details", run.number, run.phase), width, lambda out: _details(out, run))
            case "hint":
                return self._kept(("hint", id, state.hints), width, lambda out: _hints(out, state))
            case "reference":
                return self._kept(("reference", id), width, lambda out: _reference(out, state))
            case "help":
                return self._kept(("help",), width, lambda out: show_markdown(out, HELP))
            case "curve" if run is not None and run.trained is not None:
                return _curve(run, min(width, _WIDEST), room)
            case "pictures" if run is not None and run.card is not None and run.pictured:
                card = run.card
                return self._kept(("pictures", run.number), width, lambda out: _pictures(out, card))
            case "list" if state.picker is not None:
                return picker_lines(state.picker, id, width, room)
        return self._check(state, width, room, now)

    def opening(self, state: State, width: int, room: int, now: float) -> int:
        """The line with which the check's page begins, in `room` lines, until the learner scrolls.

        The check that runs, or ran when it was stopped, is seen with a bit of what follows. Of a verdict the end is
        seen, with what went wrong; where that alone is too long, it is read from its first line.
        """
        run = state.run
        if run is None:
            return 0
        lines = len(self._title(state, width)) + len(self._lines(run, width, now))
        if not (run.active or run.phase == "stopped"):
            end = self._ending(state, run.card, width, room) if run.card is not None else []
            return lines + min(1, len(end)) if len(end) > room else max(0, lines + len(end) - room)
        reached = {record.id for record in run.records} | {run.running, run.halted}
        last = max((n for n, (id, _, _) in enumerate(run.checks) if id in reached), default=-1)
        part = replace(run, checks=run.checks[: last + 1])
        seen = len(self._title(state, width)) + (len(self._lines(part, width, now)) if part.checks else 0)
        return max(0, seen - room + _AHEAD)

    # --- the check -------------------------------------------------------------------------------------

    def _check(self, state: State, width: int, room: int, now: float) -> list[str]:
        run = state.run
        if run is None:
            return []
        lines = [*self._title(state, width), *self._lines(run, width, now)]
        card = run.card if not run.active else run.before
        if card is None:
            return lines
        end = self._ending(state, card, width, room)
        if not run.active:
            return lines + end
        dimmed = [styled(_SGR.sub("", line), "2") for line in end]
        return lines + dimmed if len(lines) + len(dimmed) <= room else lines

    def _ending(self, state: State, card: Scorecard, width: int, room: int) -> list[str]:
        printed = min(words.PRINTED_LINES, max(4, room - _AROUND_PRINTED))
        key = ("end", card.sha256, card.seconds, printed)
        return self._kept(key, width, lambda out: _end(out, state, card, printed))

    def _title(self, state: State, width: int) -> list[str]:
        exercise = state.place.exercise
        data = f" · {words.data_words(state.run.data)}" if state.run is not None and state.run.data else ""
        head = clipped(clean(exercise.title), width)
        rest = clipped(f" · {exercise.id}{data}", max(0, width - cells(head)))
        return [styled(head, "1") + styled(rest, "2")]

    def _lines(self, run: Run, width: int, now: float) -> list[str]:
        """A line per declared check: this run's, else the running one, else dimmed what an earlier run said."""
        if run.unloadable:
            return [styled(clipped(f"None of the {len(run.records)} checks could run.", width), "2")]
        fresh = {record.id: record for record in run.records}
        stale = {record.id: record for record in run.stale}
        lines: list[str] = []
        for id, title, points in run.checks or [(r.id, r.title, r.max_points) for r in stale.values()]:
            if id in fresh:
                lines += self._record(run.number, fresh[id], width)
            elif id == run.running:
                lines += _running(run, title, width, now)
            elif id == run.halted:
                lines.append(styled(f"· {clipped(clean(title), max(8, width - 12))} (stopped)", "33"))
            elif id in stale:
                lines += [styled(_SGR.sub("", line), "2") for line in self._record(-1, stale[id], width, "before")]
            else:
                lines.append(styled(clipped(f"· {clean(title)} [{points}]", width), "2"))
        return lines

    def _record(self, run: int, record: CheckRecord, width: int, remark: str | None = None) -> list[str]:
        key = ("record", run, record.id, record.title, record.verdict, record.seconds, remark)
        return self._kept(key, width, lambda out: _one(out, record, remark))

    # --- drawing ---------------------------------------------------------------------------------------

    def _kept(self, key: tuple[object, ...], width: int, draw: Callable[[Console], None]) -> list[str]:
        known = (*key, width)
        if known not in self._drawn:
            if len(self._drawn) >= _MOST_DRAWN:
                self._drawn.clear()
            buffer = _Buffer()
            draw(canvas(buffer, width, 1000))
            self._drawn[known] = buffer.getvalue().rstrip("\n").split("\n")
        return self._drawn[known]


def _one(out: Console, record: CheckRecord, remark: str | None) -> None:
    out.print(check_line(out, record, remark=remark))
    for aside in asides(record):
        out.print(Text(f"    {aside}", style="dim"))


def _running(run: Run, title: str, width: int, now: float) -> list[str]:
    took = words.seconds(max(0.0, now - run.since))
    head = clipped(clean(title), max(8, min(width, _WIDEST) - len(took) - 3))
    space = " " * max(1, min(width, _WIDEST) - cells(head) - len(took) - 2)
    lines = [f"{styled(spinner(now), '36')} {head}{space}{styled(took, '2')}"]
    progress = run.progress
    if progress is not None and progress.total > 0:
        room = max(8, min(40, width - 36))
        full = min(room, round(room * min(progress.done, progress.total) / progress.total))
        loss = "" if progress.loss is None else f"  loss {progress.loss:.3f}"
        counted = styled(f"{progress.done}/{progress.total}{loss}", "2")
        lines.append(f"  {styled('━' * full, '36')}{styled('─' * (room - full), '2')} {counted}")
    return lines


def _end(out: Console, state: State, card: Scorecard, printed: int) -> None:
    """What stands under the checks once the verdict is there: praise and questions, or the first failure."""
    failures = [record for record in card.checks if not record.passed and record.verdict != "blocked"]
    if card.passed:
        out.print()
        out.print(Text(f"Passed: you earned all {card.score} points.", style="green"))
        questions = [follow_up.question for follow_up in state.place.exercise.follow_ups]
        if questions:
            show_questions(out, questions)
        return
    if card.problem is not None:
        show_problem(out, card, lines=printed)
    elif failures:
        show_failure(out, failures[0], lines=printed)
        others = sum(record.verdict != "not-implemented" for record in failures[1:])
        if others:
            more = "1 other check failed, too" if others == 1 else f"{others} other checks failed, too"
            out.print(Text(f"{more}; d explains each.", style="dim"))


# --- other pages ---------------------------------------------------------------------------------------


def _statement(out: Console, state: State) -> None:
    exercise = state.place.exercise
    facts = (exercise.track, LEVELS[exercise.difficulty], f"about {exercise.minutes} min", *exercise.topics)
    out.print(f"{exercise.id}: {exercise.title}", style="bold", markup=False)
    out.print(" · ".join(facts), style="quiet", markup=False)
    out.print()
    show_markdown(out, exercise.statement)


def _details(out: Console, run: Run) -> None:
    if run.card is not None and run.unloadable:
        out.rule(Text(problem_title(run.card), style="bold"), align="left", style="dim")
        out.print(_pairs(words.unloadable(run.card, lines=200)))
        return
    for number, record in enumerate(run.failures):
        if number:
            out.print()
        out.rule(Text(clean(record.title), style="bold"), align="left", style="dim")
        out.print(_pairs([("verdict", words.SAYINGS[record.verdict]), *words.explanation(record, lines=200)]))
        if record.details:
            out.print()
            out.print(_pairs([(clean(label), clean(text)) for label, text in record.details]))


def _pictures(out: Console, card: Scorecard) -> None:
    from grader.views.pictures import show_pictures

    show_pictures(out, card)


def _pairs(rows: list[tuple[str, str]]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="cyan", overflow="fold", max_width=24)
    grid.add_column(overflow="fold")
    for label, value in rows:
        grid.add_row(label, Text(value, overflow="fold"))
    return grid


def _hints(out: Console, state: State) -> None:
    """Those that were shown, the latest first: on a small screen it is the one that has to be seen."""
    hints = state.place.exercise.hints
    for n in reversed(state.hints):
        out.print(f"Hint {n + 1} of {len(hints)}", style="bold")
        show_markdown(out, hints[n])
        out.print()


def _reference(out: Console, state: State) -> None:
    exercise = state.place.exercise
    show_code(out, solution_text(exercise))
    if exercise.follow_ups:
        out.print("\nWhat an interviewer asks next", style="bold")
    for number, follow_up in enumerate(exercise.follow_ups, start=1):
        out.print()
        show_markdown(out, f"**{number}. {follow_up.question}**\n\n{follow_up.answer}")


def _curve(run: Run, width: int, room: int) -> list[str]:
    assert run.trained is not None
    id, losses = run.trained
    title = next((title for known, title, _ in run.checks if known == id), id)
    said = f"loss {words.number(losses[0])} → {words.number(losses[-1])}, {len(losses)} reports, oldest left"
    said += "; from an earlier save" if run.trained is run.trained_before else ""
    drawn = curve(losses, width, min(16, max(3, room - 5)))
    return [styled(clipped(clean(title), width), "1"), styled(clipped(said, width), "2"), "", *drawn]


def picker_lines(picker: Picker, open_id: str, width: int, room: int) -> list[str]:
    """The list's head, and as many of its rows around the cursor as fit."""
    rows = picker.visible
    wide = [(row[0].id, _row_columns(row, width)) for row in rows]
    cursor = min(picker.cursor, max(0, len(rows) - 1))
    space = max(1, room - 3)
    start = min(max(0, cursor - space // 2), max(0, len(rows) - space))
    lines = [styled(clipped(_filters(picker, len(rows)), width), "1"), styled(clipped(_head(width), width), "2")]
    for number, (id, text) in enumerate(wide[start : start + space], start=start):
        marked = f"{'>' if number == cursor else ' '}{'*' if id == open_id else ' '} {text}"
        shown = clipped(marked, width)
        lines.append(styled(shown + " " * (width - cells(shown)), "7") if number == cursor else shown)
    if not rows:
        lines.append("   Nothing fits: a shows all again.")
    return lines


def _filters(picker: Picker, count: int) -> str:
    chosen = [f"track {picker.track}" if picker.track else "", picker.level, picker.status]
    if picker.query or picker.typing:
        chosen.append(f"search: {picker.query}{'_' if picker.typing else ''}")
    said = ", ".join(part for part in chosen if part)
    return f"{count} of {len(picker.rows)} exercises" + (f" · {said}" if said else "")


def _columns(width: int) -> list[tuple[str, int]]:
    """The columns that fit, with their widths; the title gets what is left, and the others give way to it."""
    fixed = {"Exercise": 20, "Track": 9, "Level": 6, "Min": 3, "Status": 7, "Best": 4}
    for dropped in ("", "Min", "Track", "Level", "Best"):
        fixed.pop(dropped, None)
        left = width - 4 - sum(fixed.values()) - len(fixed)
        if left >= 20:
            break
    sized = [("Exercise", fixed.pop("Exercise")), ("Title", min(max(left, 0), 60)), *fixed.items()]
    return [(name, size) for name, size in sized if size > 3 or name == "Min"]


def _head(width: int) -> str:
    return "   " + " ".join(title.ljust(size) for title, size in _columns(width))


def _row_columns(row: Row, width: int) -> str:
    exercise, standing = row
    values = {
        "Exercise": exercise.id,
        "Title": clean(exercise.title),
        "Track": exercise.track,
        "Level": LEVELS[exercise.difficulty],
        "Min": str(exercise.minutes),
        "Status": standing.status,
        "Best": "" if standing.best_score is None else str(standing.best_score),
    }
    shown = []
    for name, size in _columns(width):
        cut = clipped(values[name], size)
        shown.append(cut + " " * (size - cells(cut)))
    return " ".join(shown)
