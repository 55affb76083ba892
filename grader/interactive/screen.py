"""Puts the screen together: the page above, cut to what is seen of it; the verdict and the keys at the bottom."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from grader.interactive.model import Run, State
from grader.interactive.pages import Pages, spinner, styled
from grader.interactive.picker import Picker
from grader.views import text as words
from grader.views.light import cells, clipped
from grader.views.text import clean

TINY: Final = 8
"""With fewer rows than that the bar keeps only its verdict, or what it asks, and the keys."""
_LOW: Final = (14, 20)
"""With fewer rows than the first a sentence of the bar gets one line, cut if need be; below the second two; then three.
"""
_SLOW: Final = 1.5
"""Seconds after which a check that hasn't come to its first line says what it waits for."""
_WIDE: Final = 110
"""Narrower than that the keys often need two lines; they always get them, so that nothing jumps."""

_ASCII: Final = str.maketrans(
    {"─": "-", "━": "=", "│": "|", "└": "+", "✓": "+", "✗": "x", "·": "-", "•": "*", "…": "...", "→": "->", "↑": "^"}
    | {"↓": "v", "▁": ".", "▂": ".", "▃": ".", "▄": ":", "▅": ":", "▆": "#", "▇": "#", "█": "#"}
)
"""What stands for the signs of this side of the kit where the terminal's encoding lacks them."""


@dataclass(frozen=True)
class Frame:
    """The whole screen, how far from its anchor its page is, and how far it can be scrolled."""

    lines: list[str]
    away: int
    limit: int
    room: int


def frame(pages: Pages, state: State, width: int, height: int, now: float) -> Frame:
    """Exactly `height` lines of at most `width` columns."""
    bar = bar_lines(state, width, height, now)
    room = max(0, height - len(bar) - 1)
    body = pages.body(state, width, room, now)
    limit = max(0, len(body) - room)
    at_bottom = state.page == "check"
    if state.scroll is not None:
        away = min(state.scroll, limit)
        start = limit - away if at_bottom else away
    else:
        start = min(limit, pages.opening(state, width, room, now)) if at_bottom else 0
    seen = body[start : start + room]
    blank = [""] * (room - len(seen))
    above, below = start, max(0, len(body) - start - room)
    lines = [*blank, *seen] if at_bottom else [*seen, *blank]
    lines = [*lines, _rule(state, width, above, below), *bar]
    return Frame(_shown(lines[-height:]), limit - start if at_bottom else start, limit, max(1, room))


def _shown(lines: list[str]) -> list[str]:
    """The lines with signs that the terminal's encoding has."""
    if words.encodes(sys.stdout.encoding, "─✗…·"):
        return lines
    return [line.translate(_ASCII) for line in lines]


def _rule(state: State, width: int, above: int, below: int) -> str:
    """The line between page and bar, which says what can't be seen."""
    parts = [f"{above} more above: PgUp"] if above else []
    parts += [f"{below} more below: PgDn"] if below else []
    name = f" {clean(state.place.file)} "
    said = f" {', '.join(parts)} " if parts else ""
    left = f"── {said.strip()} " if said else ""
    fill = width - cells(left) - cells(name) - 2
    if fill < 2:
        return styled(clipped(left or "─" * width, width).ljust(width, "─"), "2")
    return styled(f"{left}{'─' * fill}{name}──", "2")


# --- the bar -------------------------------------------------------------------------------------------


def bar_lines(state: State, width: int, height: int, now: float) -> list[str]:
    """What there is to say, the verdict, what to do next, and the keys that apply."""
    verdict, style = _verdict(state, now)
    question, shown = _question(state), _keys(keys(state), width)
    if height < TINY:
        return [styled(clipped(question or verdict, width), "1;33" if question else style), *shown[:1]]
    notice = clean(state.notice)
    if state.run is not None and state.run.phase == "failed" and cells(verdict) > width:
        notice, verdict = verdict, "The grader couldn't grade this save."
    most = 1 + sum(height >= low for low in _LOW)
    return [
        *(styled(line, "33") for line in folded(notice, width, most)),
        styled(clipped(verdict, width), style),
        *(styled(line, "1;33" if question else "") for line in folded(question or _next(state), width, most)),
        *shown,
    ]


def folded(text: str, width: int, most: int) -> list[str]:
    """The text in at most `most` lines, broken at spaces; what doesn't fit is cut off at the end."""
    lines: list[str] = []
    for word in text.split():
        for part in (word[at : at + width] for at in range(0, len(word), max(1, width))):
            if lines and cells(lines[-1]) + 1 + cells(part) <= width:
                lines[-1] += f" {part}"
            else:
                lines.append(part)
    if len(lines) > most:
        lines[most - 1 :] = [" ".join(lines[most - 1 :])]
    return [clipped(line, width) for line in lines]


def _verdict(state: State, now: float) -> tuple[str, str]:
    run = state.run
    if state.missing:
        return f"{clean(state.place.file)} doesn't exist.", "1;31"
    if run is None:
        kind = "as it came" if state.place.exercise.kind == "debug" else "nothing written yet"
        return f"{state.place.exercise.id}: {kind}", "1"
    if run.active:
        return _checking(run, now), "1;36"
    if run.phase == "stopped":
        return f"Stopped after {len(run.records)} of {len(run.checks)} checks", "1;33"
    if run.card is None:
        return clean(run.error[0] or "The grader failed."), "1;35"
    card = run.card
    passed = sum(record.passed for record in card.checks)
    facts = (
        f"{passed} of {len(card.checks)} checks passed",
        words.data_words(card.data),
        words.seconds(run.ended - run.began),
    )
    mark = words.mark("passed" if card.passed else "failed")
    score = "No score, the grader failed" if card.has_grader_error else f"Score {card.score}/{card.max_score}"
    color = "1;32" if card.passed else "1;35" if card.has_grader_error else "1;33" if card.score else "1;31"
    return f"{mark.symbol} {score} · {' · '.join(facts)}", color


def _checking(run: Run, now: float) -> str:
    counted = f" {len(run.records)}/{len(run.checks)}" if run.checks and run.phase == "running" else ""
    took = now - run.began
    waits = ""
    if took >= _SLOW and not run.fresh:
        waits = ", starting the grader"
    elif took >= _SLOW and run.running is None and not run.records:
        waits = ", your file is being loaded"
    return f"{spinner(now)} checking…{counted}{waits}" + (f"  {words.seconds(took)}" if took >= 1 else "")


def _question(state: State) -> str:
    return f"Replace {clean(state.place.file)} by the stub? A backup is kept. y/n" if state.asking else ""


def _next(state: State) -> str:
    """One sentence that says what to do now."""
    place, run, file = state.place, state.run, clean(Path(state.place.file).name)
    if state.page == "list" and state.picker is not None:
        return _next_in_list(state.picker)
    if state.missing:
        return "x writes the stub, or save the file from your editor."
    if state.page == "hint" and len(state.hints) < len(place.exercise.hints):
        return f"h: the next hint. Then change {file} and save."
    if run is None:
        todo = "Repair" if place.exercise.kind == "debug" else "Write your code in"
        return f"{todo} {file} and save: the verdict comes here."
    if run.active:
        return "Esc stops; a save starts it anew." if state.page == "check" else "A save starts it anew."
    if run.phase == "stopped":
        return "Save, or r to run it again."
    if run.phase == "failed":
        return clean(run.error[1] or "r runs it again.")
    if run.passed:
        after = f"n for {place.following.id}, " if place.following is not None else ""
        return f"Next: {after}v for the reference and model answers."
    if run.card is not None and run.card.has_grader_error:
        return "Next: r runs it again; `practice doctor` says what may be wrong with this machine."
    if run.unloadable:
        return f"Next: repair what keeps {file} from loading, and save."
    return f"Next: change {file} and save" + (", or h for a hint." if place.exercise.hints else ".")


def _next_in_list(picker: Picker) -> str:
    if picker.typing:
        return "Type words from the id, title, track or topics."
    return "Enter opens the exercise." if picker.visible else "a shows all again."


def keys(state: State) -> list[tuple[str, str]]:
    """The keys that apply now, with what they do."""
    if state.asking:
        return [("y", "yes"), ("n", "no")]
    if state.page == "list" and state.picker is not None:
        if state.picker.typing:
            return [("Enter", "done"), ("Esc", "no search")]
        more = [("a", "all")] if state.picker.filtered else []
        filters = [("t", "track"), ("d", "difficulty"), ("s", "status"), ("/", "search"), *more]
        return [("Enter", "open"), ("↑↓", "move"), *filters, ("Esc", "back"), ("q", "quit")]
    place, run = state.place, state.run
    failing = run is not None and bool(run.failures)
    shown = [
        ("n", "next", state.passed and place.following is not None),
        ("v", "reference", state.passed and state.page != "reference"),
        ("h", "hint", bool(place.exercise.hints) and not state.passed),
        ("d", "details", failing and state.page != "details"),
        ("c", "curve", run is not None and run.trained is not None and state.page != "curve"),
        ("p", "pictures", run is not None and run.pictured and state.page != "pictures"),
        ("s", "statement", state.page != "statement"),
        ("l", "list", True),
        ("r", "run again" if run is not None else "run", state.saved is not None and not (run and run.active)),
        ("x", "write it" if state.missing else "reset", _resettable(state)),
        ("o", "open", place.can_edit),
        ("Esc", "stop" if state.page == "check" else "back", _closes(state)),
        ("?", "help", state.page != "help"),
        ("q", "quit", True),
    ]
    return [(key, word) for key, word, applies in shown if applies]


def _resettable(state: State) -> bool:
    return state.missing or (state.saved is not None and not state.is_stub)


def _closes(state: State) -> bool:
    if state.page == "check":
        return state.run is not None and state.run.active
    return state.page != "statement" or state.run is not None


def _keys(shown: list[tuple[str, str]], width: int) -> list[str]:
    """The keys in as many lines as they need."""
    lines, line, used = [], "", 0
    for key, word in shown:
        size = cells(key) + 1 + cells(word)
        if used and used + 2 + size > width:
            lines.append(line)
            line, used = "", 0
        painted = f"{styled(key, '1;36')} {word}"
        line, used = (f"{line}  {painted}", used + 2 + size) if used else (painted, size)
    lines.append(line)
    return lines if width >= _WIDE else [*lines, *[""] * (2 - len(lines))]
