"""Styled lines, small tables and short markdown without rich, for the commands that answer at once.

rich costs more time than those commands take themselves. What needs real layout (statements, code, the live
grade) uses `grader.views.console` instead.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TextIO
from unicodedata import combining, east_asian_width

STYLES: Final = {
    "": "",
    "bold": "1",
    "quiet": "2",
    "command": "1;36",
    "code": "36",
    "good": "32",
    "warn": "33",
}

Cell = tuple[str, str]
"""Text and the name of its style."""

_SPAN = re.compile(r"`([^`\n]+)`|\*\*(.+?)\*\*", re.DOTALL)
_ITEM = re.compile(r"(\s*)([-*+]|\d+[.)])\s+(.*)")


@dataclass(frozen=True)
class Screen:
    """Where lines go. `width` is None where nobody looks: nothing is wrapped or cut then."""

    stream: TextIO
    color: bool
    width: int | None

    def line(self, text: str = "") -> None:
        self.stream.write(f"{text}\n")

    def paint(self, text: str, style: str) -> str:
        """`text` in a style; unchanged without colour."""
        return f"\x1b[{STYLES[style]}m{text}\x1b[0m" if self.color and style and text else text

    def sentence(self, text: str) -> None:
        """A line whose `commands` are coloured. It is never wrapped, so that a command can be copied."""
        self.line(re.sub(r"`[^`]+`", lambda found: self.paint(found[0], "command"), text))


_PLAIN: Final = Screen(sys.stderr, color=False, width=None)
"""For measuring: paints nothing, and nothing is ever written to it."""


def screen(stream: TextIO | None = None, environ: Mapping[str, str] = os.environ) -> Screen:
    """The screen on `stream` (stdout), by the same rules as rich: NO_COLOR, FORCE_COLOR, COLUMNS, a terminal."""
    target = stream if stream is not None else sys.stdout
    looked_at = target.isatty()
    if environ.get("NO_COLOR"):
        color = False
    elif environ.get("FORCE_COLOR"):
        color = True
    else:
        color = looked_at and environ.get("TERM", "") not in ("dumb", "unknown")
    bounded = looked_at or environ.get("COLUMNS", "").isdecimal()
    return Screen(target, color, max(shutil.get_terminal_size().columns, 1) if bounded else None)


def remarks() -> Screen:
    """Where remarks go: below the payload on a terminal, to stderr when stdout is piped into something."""
    return screen(sys.stdout if sys.stdout.isatty() else sys.stderr)


def cells(text: str) -> int:
    """How many columns of a terminal `text` takes."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def clipped(text: str, width: int) -> str:
    """`text` in at most `width` columns, with an ellipsis where something was cut."""
    if cells(text) <= width:
        return text
    while text and cells(text) > width - 1:
        text = text[:-1]
    return f"{text}…" if width > 0 else ""


def table(on: Screen, header: Sequence[str], rows: Iterable[Sequence[Cell]], *, right: Sequence[int] = ()) -> None:
    """Columns two spaces apart under bold headers. On a narrow screen the second column is wrapped."""
    found = [list(row) for row in rows]
    widths = [
        max([cells(title), *(cells(row[n][0]) for row in found if n < len(row) and len(row) > 1)])
        for n, title in enumerate(header)
    ]
    if on.width is not None:
        _shrink(widths, on.width, keep=6)
    for row in [[(title, "bold") for title in header], *found]:
        for line in _lines_of(row, widths):
            on.line(_row(on, line, widths, right).rstrip(" "))


def markdown(on: Screen, text: str) -> None:
    """Short markdown: paragraphs, lists, code. Where nobody looks the text stays as it was written."""
    if on.width is None:
        on.line(text)
        return
    for kind, lead, body in _blocks(text):
        if kind == "code":
            on.line(on.paint(f"  {body}", "code"))
        elif kind == "blank":
            on.line()
        else:
            for number, line in enumerate(_wrapped(on, body, min(on.width, 100) - len(lead))):
                on.line((lead if number == 0 else " " * len(lead)) + line)


def _shrink(widths: list[int], available: int, keep: int) -> None:
    """Take what doesn't fit from the second column, then from the first."""
    for column in (1, 0):
        excess = sum(widths) + 2 * (len(widths) - 1) - available
        if excess > 0 and column < len(widths):
            widths[column] = max(widths[column] - excess, min(widths[column], keep))


def _lines_of(row: list[Cell], widths: Sequence[int]) -> Iterator[list[Cell]]:
    """The row, and below it what of its second cell didn't fit."""
    if len(row) < 2:
        yield row
        return
    text, style = row[1]
    pieces = list(_wrapped(_PLAIN, text, widths[1]))
    yield [row[0], (pieces[0], style), *row[2:]]
    for piece in pieces[1:]:
        yield [("", ""), (piece, style), *[("", "")] * (len(row) - 2)]


def _row(on: Screen, row: Sequence[Cell], widths: Sequence[int], right: Sequence[int]) -> str:
    if len(row) == 1:  # the title of a section
        return on.paint(clipped(row[0][0], on.width or 1000), row[0][1])
    parts = []
    for column, ((text, style), width) in enumerate(zip(row, widths, strict=True)):
        shown = clipped(text, width)
        space = " " * (width - cells(shown))
        painted = on.paint(shown, style)
        parts.append(space + painted if column in right else painted + space)
    return "  ".join(parts)


def _blocks(text: str) -> Iterator[tuple[str, str, str]]:
    """(kind, lead, body): `code` line by line, `blank`, and `text` with what stands before its first line."""
    gathered: list[str] = []
    lead = ""
    fenced = False
    for line in [*text.splitlines(), ""]:
        fence = line.lstrip().startswith("```")
        code = fenced or (line.startswith("    ") and not gathered and bool(line.strip()))
        item = None if code else _ITEM.fullmatch(line)
        ends = fence or code or item is not None or not line.strip() or line.startswith("#")
        if ends and gathered:
            yield "text", lead, " ".join(gathered)
            gathered, lead = [], ""
        if fence:
            fenced = not fenced
        elif code:
            yield "code", "", line if fenced else line[4:]
        elif item is not None:
            lead, gathered = f"{item[1]}{item[2]} ", [item[3]]
        elif line.startswith("#"):
            yield "text", "", f"**{line.lstrip('# ')}**"
        elif line.strip():
            gathered.append(line.strip())
        else:
            yield "blank", "", ""


def _wrapped(on: Screen, text: str, width: int) -> Iterator[str]:
    """The paragraph's lines, its `code` and **strong** parts painted, broken at spaces only."""
    words: list[list[Cell]] = [[]]
    for part, style in _spans(on, text):
        for number, piece in enumerate(part.split(" ")):
            if number:
                words.append([])
            words[-1].append((piece, style))
    line, used = "", 0
    for word in words:
        size = sum(cells(piece) for piece, _ in word)
        if not size:
            continue
        if used and used + 1 + size > width:
            yield line
            line, used = "", 0
        painted = "".join(on.paint(piece, style) for piece, style in word)
        line, used = (f"{line} {painted}", used + 1 + size) if used else (painted, size)
    yield line


def _spans(on: Screen, text: str) -> Iterator[Cell]:
    end = 0
    for found in _SPAN.finditer(text):
        yield text[end : found.start()], ""
        if found[1] is None:
            yield found[2], "bold"
        else:
            yield (found[1] if on.color else found[0]), "code"
        end = found.end()
    yield text[end:], ""
