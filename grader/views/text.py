"""Words and safe text that every view shares: verdicts, symbols, numbers, and what a candidate printed.

Not for layout: each view lays out for itself.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final, NamedTuple

from grader.judge.scorecard import CheckRecord, Scorecard, Verdict

# Escape sequences: CSI (colour, cursor), OSC and other strings up to their terminator, the short ones.
_ESCAPES: Final = re.compile(
    "\x1b\\[[0-?]*[ -/]*[@-~]|\x9b[0-?]*[ -/]*[@-~]|\x1b[\\]PX^_].*?(?:\x07|\x1b\\\\|\x9c|$)|\x1b[ -/]*[0-~]?",
    re.DOTALL,
)
# Control characters but for tab and newline; marks that reorder the text around them; halves of characters.
_CONTROLS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_GAP: Final = re.compile(r"… \d+ bytes left out …")
"""What stands in the output where the middle of a flood was."""
PRINTED_LINES: Final = 12
"""Lines of what the candidate printed that stand in an explanation."""
_OVERWRITTEN: Final = re.compile("[^\n]*\r(?!\n)(?=[^\n])")


def clean(text: str) -> str:
    """`text` as a terminal may show it: no escape sequence, no control character, no reordering mark.

    What a carriage return would have overwritten (a progress bar's earlier states) is left out.
    """
    text = text.replace("\r\n", "\n")
    text = _ESCAPES.sub("", text)
    text = _OVERWRITTEN.sub("", text)
    return _CONTROLS.sub("", text)


def trimmed(text: str, *, lines: int = PRINTED_LINES, width: int = 2000) -> str:
    """The cleaned text with at most `lines` lines: the first few and the last, and how much was left out.

    Of a flood only both ends arrive, with a mark where the middle was; then lines can't be counted.
    """
    rows = [row[:width] for row in clean(text).strip("\n").split("\n")]
    if len(rows) <= lines:
        return "\n".join(rows)
    head = lines // 3
    tail = lines - head - 1
    flood = any(_GAP.fullmatch(row) for row in rows[head:-tail])
    gap = "most of the lines left out" if flood else f"{len(rows) - head - tail} lines left out"
    return "\n".join([*rows[:head], f"[{gap}]", *rows[-tail:]])


class Mark(NamedTuple):
    """How a verdict looks: the symbol, its stand-in for encodings that lack it, and a rich style."""

    symbol: str
    ascii: str
    style: str


_FAILED: Final = Mark("✗", "x", "red")
_MARKS: Final[dict[Verdict, Mark]] = {
    "passed": Mark("✓", "+", "green"),
    "blocked": Mark("⊘", "-", "dim"),
    "not-implemented": Mark("○", "o", "yellow"),
    "grader-error": Mark("!", "!", "magenta"),
}

SAYINGS: Final[dict[Verdict, str]] = {
    "passed": "passed",
    "failed": "failed",
    "blocked": "blocked",
    "timed-out": "timed out",
    "out-of-memory": "out of memory",
    "crashed": "crashed",
    "exited": "ended the process",
    "output-limit": "printed too much",
    "not-loadable": "can't be loaded",
    "not-implemented": "not implemented",
    "forbidden": "touched what it must not",
    "grader-error": "the grader's own mistake",
}


def mark(verdict: Verdict) -> Mark:
    return _MARKS.get(verdict, _FAILED)


def encodes(encoding: str | None, text: str) -> bool:
    """Whether a stream of that encoding can show `text`."""
    try:
        text.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def number(value: float | None) -> str:
    """Four significant digits, as one would write them by hand."""
    return "none" if value is None else f"{value:.4g}"


def measures(record: CheckRecord) -> str:
    """`accuracy 0.9731, loss 0.08`, or nothing."""
    return ", ".join(f"{clean(name)} {number(value)}" for name, value in record.measures.items())


def seconds(value: float) -> str:
    if value < 60:
        return f"{value:.1f} s"
    return f"{int(value) // 60} min {int(value) % 60:02d} s"


def data_words(source: str) -> str:
    """What a reader calls a data source."""
    known = {"real": "real data", "embedded": "embedded data", "none": "no data set", "": "no data set"}
    return known.get(source, f"{clean(source)} data")


def _why(record: CheckRecord) -> str | None:
    """Why the expectation matters and why an interviewer cares; nothing where the fault is the grader's."""
    if record.verdict == "grader-error":
        return record.because
    return "\n".join(part for part in (record.because, record.why) if part) or None


def explanation(record: CheckRecord, *, lines: int = PRINTED_LINES) -> list[tuple[str, str]]:
    """What to say about a check that didn't pass: label and text, in the order in which one reads them.

    At most `lines` lines of what the candidate printed are shown.
    """
    rows = [
        ("expected", record.expected),
        ("actual", record.actual),
        ("why", _why(record)),
        ("looks like", record.looks_like),
        ("where", record.location),
    ]
    said = [(label, clean(text).strip()) for label, text in rows if text and text.strip()]
    if record.output.strip():
        said.append(("printed", trimmed(record.output, lines=lines)))
    return said


def unloadable(card: Scorecard, *, lines: int = PRINTED_LINES) -> list[tuple[str, str]]:
    """What to say when no check could run: what happened, and what the first check's record knows of it."""
    said = [("", clean(card.problem or "").rstrip())]
    first = card.first_failure
    if first is not None:
        about_the_file = replace(first, expected=None, actual=None, why=None)
        said += explanation(about_the_file, lines=lines)
    return said
