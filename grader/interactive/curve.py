"""A learning curve in block characters. Numbers in, lines of text out."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Final

from grader.views.text import number

_BLOCKS: Final = " ▁▂▃▄▅▆▇█"
_LABEL: Final = 8


def curve(losses: Sequence[float], width: int, height: int) -> list[str]:
    """The losses as bars from zero, oldest left, in `height` rows and at most `width` columns, with an axis.

    Several losses that share a column are averaged; one that isn't finite is drawn as `!` at the top.
    """
    columns = _columns(losses, max(1, width - _LABEL - 2))
    finite = [value for value in columns if math.isfinite(value)]
    if not finite or height < 1:
        return ["no finite loss was reported"]
    low, high = min(0.0, *finite), max(finite)
    span = (high - low) or 1.0
    rows = []
    for row in range(height - 1, -1, -1):
        label = number(high) if row == height - 1 else number(low) if row == 0 else ""
        bars = "".join(_cell(value, low, span, row, height) for value in columns)
        rows.append(f"{label:>{_LABEL}} │{bars}")
    rows.append(f"{'':>{_LABEL}} └{'─' * len(columns)}")
    return rows


def _cell(value: float, low: float, span: float, row: int, height: int) -> str:
    if not math.isfinite(value):
        return "!" if row == height - 1 else " "
    eighths = round((value - low) / span * height * 8) - row * 8
    return _BLOCKS[min(max(eighths, 0), 8)]


def _columns(losses: Sequence[float], width: int) -> list[float]:
    """At most `width` values: each the mean of the losses that fall into it. Few losses get wider bars."""
    count = len(losses)
    if count <= width:
        wide = max(1, min(4, width // max(count, 1)))
        return [value for value in losses for _ in range(wide)]
    edges = [round(n * count / width) for n in range(width + 1)]
    return [math.fsum(losses[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
