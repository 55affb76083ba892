"""The embedded scenes: ten classes of small colour pictures named as CIFAR-10's, drawn here, 3×32×32.

A picture is a background (sky, water, grass, road, trees, a room), clutter, one thing as a silhouette of a few
parts in colours of its own, and sometimes something in front of it. The thing's place, size, direction, tilt,
proportions and colours vary so much that no pixel tells the class: shapes must be learned. The background is a
hint, as in photographs, and often a wrong one. What it isn't: photographs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.ImageDraw import ImageDraw

    Floats = NDArray[np.float32]
    Bytes = NDArray[np.uint8]

SIZE = 32
FINE = 2 * SIZE  # drawn at twice the size and averaged down, which smooths the edges
CLASSES = 10
CHUNK = 40  # pictures drawn at once: their canvases fit in the cache
NOISE = 8.0  # standard deviation of the noise, in grey levels

Point = tuple[float, float]

# Colour roles of a part: which of a picture's colours it is filled with.
BODY, SECOND, DARK, LIGHT, GLASS = range(5)


@dataclass(frozen=True)
class Part:
    """A filled polygon in the thing's own coordinates: x and y from -1 to 1, facing right, y points down."""

    points: tuple[Point, ...]
    colour: int
    loose: float = 1.0
    """How far the part strays from its place and size, relative to the others."""


def poly(colour: int, *points: Point, loose: float = 1.0) -> Part:
    return Part(points, colour, loose)


def oval(colour: int, x: float, y: float, rx: float, ry: float, turn: float = 0, loose: float = 1.0) -> Part:
    """An ellipse as a polygon of 14 corners, turned by `turn` degrees."""
    cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    corners = [(rx * math.cos(k * math.tau / 14), ry * math.sin(k * math.tau / 14)) for k in range(14)]
    return Part(tuple((x + cos * a - sin * b, y + sin * a + cos * b) for a, b in corners), colour, loose)


def bar(colour: int, x0: float, y0: float, x1: float, y1: float, width: float, loose: float = 1.0) -> Part:
    """A straight limb from one point to another, narrower at its end."""
    length = math.hypot(x1 - x0, y1 - y0)
    nx, ny = -(y1 - y0) / length * width / 2, (x1 - x0) / length * width / 2
    tip = 0.75
    corners = ((x0 + nx, y0 + ny), (x1 + tip * nx, y1 + tip * ny), (x1 - tip * nx, y1 - tip * ny), (x0 - nx, y0 - ny))
    return Part(corners, colour, loose)


def box(colour: int, left: float, top: float, right: float, bottom: float, loose: float = 1.0) -> Part:
    return Part(((left, top), (right, top), (right, bottom), (left, bottom)), colour, loose)


def wheel(x: float, y: float, radius: float) -> list[Part]:
    return [oval(DARK, x, y, radius, radius, loose=0.5), oval(LIGHT, x, y, radius * 0.45, radius * 0.45, loose=0.5)]


def legs(colour: int, xs: Sequence[float], top: float, bottom: float, width: float, lean: float = 0.06) -> list[Part]:
    return [bar(colour, x, top, x + lean * (-1) ** k, bottom, width, loose=0.6) for k, x in enumerate(xs)]


AIRPLANE = [
    [bar(SECOND, -0.1, -0.05, -0.45, -0.55, 0.22), oval(BODY, 0, 0, 0.95, 0.15),
     poly(BODY, (-0.62, -0.05), (-0.95, -0.5), (-0.78, -0.5), (-0.45, -0.05)),
     poly(SECOND, (0.2, 0.05), (-0.35, 0.6), (-0.15, 0.6), (0.4, 0.05)), oval(GLASS, 0.72, -0.05, 0.12, 0.06),
     oval(DARK, 0.0, 0.28, 0.13, 0.07)],
    [poly(SECOND, (0.3, 0), (-0.25, -0.9), (-0.45, -0.9), (-0.2, 0), (-0.45, 0.9), (-0.25, 0.9)),
     oval(BODY, 0, 0, 0.95, 0.13), poly(SECOND, (-0.65, 0), (-0.95, -0.35), (-0.85, 0), (-0.95, 0.35)),
     oval(GLASS, 0.7, 0, 0.12, 0.07)],
    [oval(BODY, 0, 0.05, 0.9, 0.14), box(SECOND, -0.25, -0.32, 0.3, -0.22), bar(DARK, 0.02, -0.22, 0.02, 0.0, 0.05),
     poly(BODY, (-0.7, 0.0), (-0.92, -0.38), (-0.72, -0.38), (-0.55, 0.0)), bar(DARK, 0.92, -0.25, 0.92, 0.3, 0.05),
     oval(DARK, 0.25, 0.35, 0.1, 0.1), bar(DARK, 0.25, 0.1, 0.25, 0.3, 0.05), oval(GLASS, 0.3, -0.03, 0.13, 0.07)],
]  # fmt: skip

AUTOMOBILE = [
    [poly(BODY, (-0.45, 0.0), (-0.3, -0.38), (0.25, -0.38), (0.5, 0.0)), box(BODY, -0.95, -0.03, 0.95, 0.35),
     poly(GLASS, (-0.33, 0.0), (-0.22, -0.3), (-0.03, -0.3), (-0.03, 0.0)),
     poly(GLASS, (0.05, 0.0), (0.05, -0.3), (0.2, -0.3), (0.36, 0.0)),
     *wheel(-0.55, 0.36, 0.22), *wheel(0.55, 0.36, 0.22), oval(LIGHT, 0.88, 0.12, 0.07, 0.06)],
    [poly(BODY, (-0.95, 0.35), (-0.9, -0.05), (-0.5, -0.42), (0.15, -0.4), (0.5, -0.05), (0.95, 0.08), (0.95, 0.35)),
     poly(GLASS, (-0.4, -0.05), (-0.28, -0.32), (0.1, -0.32), (0.33, -0.05)),
     *wheel(-0.55, 0.36, 0.2), *wheel(0.58, 0.36, 0.2), box(SECOND, -0.9, 0.12, 0.9, 0.18)],
    [poly(BODY, (-0.5, -0.05), (-0.35, -0.5), (0.35, -0.5), (0.5, -0.05)), box(BODY, -0.68, -0.08, 0.68, 0.4),
     poly(GLASS, (-0.4, -0.08), (-0.28, -0.42), (0.28, -0.42), (0.4, -0.08)), box(DARK, -0.62, 0.38, -0.35, 0.62),
     box(DARK, 0.35, 0.38, 0.62, 0.62), oval(LIGHT, -0.5, 0.12, 0.1, 0.08), oval(LIGHT, 0.5, 0.12, 0.1, 0.08),
     box(DARK, -0.25, 0.1, 0.25, 0.25)],
]  # fmt: skip

BIRD = [
    [poly(BODY, (-0.45, 0.0), (-0.98, 0.2), (-0.9, 0.38), (-0.4, 0.2)), oval(BODY, -0.05, 0.1, 0.5, 0.32, -15),
     oval(BODY, 0.45, -0.25, 0.23, 0.22), poly(SECOND, (0.62, -0.32), (0.95, -0.2), (0.62, -0.14)),
     oval(SECOND, -0.15, 0.08, 0.36, 0.17, 12), oval(DARK, 0.5, -0.3, 0.05, 0.05),
     *legs(DARK, (-0.05, 0.1), 0.38, 0.75, 0.06)],
    [poly(SECOND, (-0.05, 0.0), (-0.35, -0.85), (0.05, -0.6), (0.25, 0.0)), oval(BODY, 0, 0.05, 0.55, 0.2, -8),
     poly(BODY, (-0.4, 0.0), (-0.9, -0.1), (-0.88, 0.25)), oval(BODY, 0.52, -0.08, 0.18, 0.16),
     poly(SECOND, (0.65, -0.12), (0.9, -0.05), (0.65, 0.02)),
     poly(SECOND, (-0.15, 0.1), (-0.5, 0.75), (0.0, 0.55), (0.2, 0.1))],
    [oval(BODY, -0.1, 0.25, 0.5, 0.33), bar(BODY, 0.2, 0.15, 0.42, -0.55, 0.2), oval(BODY, 0.47, -0.58, 0.18, 0.15),
     poly(SECOND, (0.6, -0.66), (0.95, -0.52), (0.6, -0.5)), oval(SECOND, -0.2, 0.18, 0.38, 0.18, -14),
     poly(BODY, (-0.5, 0.2), (-0.9, -0.05), (-0.7, 0.4)), *legs(DARK, (-0.1, 0.1), 0.5, 0.95, 0.06)],
]  # fmt: skip

CAT = [
    [oval(BODY, 0, 0.55, 0.5, 0.42), poly(BODY, (-0.45, -0.2), (-0.5, -0.85), (-0.08, -0.5)),
     poly(BODY, (0.45, -0.2), (0.5, -0.85), (0.08, -0.5)), oval(BODY, 0, -0.18, 0.5, 0.42),
     oval(LIGHT, -0.2, -0.22, 0.11, 0.1), oval(LIGHT, 0.2, -0.22, 0.11, 0.1), oval(DARK, -0.2, -0.22, 0.04, 0.09),
     oval(DARK, 0.2, -0.22, 0.04, 0.09), oval(SECOND, 0, 0.03, 0.14, 0.1), bar(LIGHT, 0.12, 0.02, 0.6, -0.06, 0.03),
     bar(LIGHT, -0.12, 0.02, -0.6, -0.06, 0.03), bar(BODY, 0.4, 0.8, 0.9, 0.4, 0.14)],
    [oval(BODY, -0.1, 0.2, 0.55, 0.26), bar(BODY, -0.55, 0.1, -0.75, -0.35, 0.12),
     bar(BODY, -0.75, -0.3, -0.6, -0.75, 0.12),
     poly(BODY, (0.32, -0.2), (0.3, -0.62), (0.52, -0.38)), poly(BODY, (0.6, -0.38), (0.82, -0.62), (0.8, -0.2)),
     oval(BODY, 0.55, -0.15, 0.29, 0.25), *legs(BODY, (-0.45, -0.28, 0.2, 0.36), 0.3, 0.78, 0.14),
     oval(LIGHT, 0.47, -0.18, 0.06, 0.06), oval(LIGHT, 0.68, -0.18, 0.06, 0.06), box(SECOND, -0.3, 0.0, -0.22, 0.4),
     box(SECOND, -0.05, -0.02, 0.03, 0.42)],
    [oval(BODY, -0.1, 0.4, 0.42, 0.5), poly(BODY, (-0.12, -0.3), (-0.12, -0.8), (0.14, -0.5)),
     poly(BODY, (0.2, -0.5), (0.44, -0.8), (0.46, -0.3)), oval(BODY, 0.17, -0.25, 0.33, 0.28),
     bar(BODY, -0.35, 0.75, -0.85, 0.7, 0.13), bar(BODY, -0.82, 0.72, -0.9, 0.25, 0.13),
     oval(LIGHT, 0.08, -0.28, 0.07, 0.07), oval(LIGHT, 0.32, -0.28, 0.07, 0.07), oval(SECOND, 0.15, 0.4, 0.16, 0.28)],
]  # fmt: skip


def _antlers(x: float, y: float) -> list[Part]:
    return [bar(DARK, x, y, x - 0.2, y - 0.42, 0.06), bar(DARK, x, y, x + 0.18, y - 0.42, 0.06),
            bar(DARK, x - 0.1, y - 0.2, x - 0.3, y - 0.3, 0.05),
            bar(DARK, x + 0.1, y - 0.2, x + 0.3, y - 0.3, 0.05)]  # fmt: skip


DEER = [
    [*legs(BODY, (-0.5, -0.36, 0.1, 0.25), 0.2, 0.95, 0.08), oval(BODY, -0.12, 0.12, 0.48, 0.21),
     bar(BODY, 0.22, 0.1, 0.45, -0.38, 0.19), oval(BODY, 0.55, -0.4, 0.21, 0.1, 18),
     oval(LIGHT, -0.58, 0.06, 0.09, 0.1),
     *_antlers(0.44, -0.48), poly(BODY, (0.38, -0.44), (0.24, -0.54), (0.42, -0.52))],
    [*legs(BODY, (-0.4, -0.28, 0.15, 0.28), 0.25, 0.95, 0.07), oval(BODY, -0.08, 0.2, 0.42, 0.2),
     *[oval(LIGHT, x, y, 0.05, 0.04) for x, y in ((-0.3, 0.12), (-0.12, 0.2), (0.05, 0.1), (-0.2, 0.26))],
     bar(BODY, 0.22, 0.15, 0.36, -0.3, 0.16), oval(BODY, 0.45, -0.32, 0.2, 0.1, 15), *_antlers(0.36, -0.4)],
    [oval(BODY, 0, 0.6, 0.4, 0.42), bar(BODY, 0, 0.4, 0, -0.1, 0.34), oval(BODY, 0, 0.0, 0.2, 0.3),
     oval(SECOND, -0.32, -0.2, 0.2, 0.08, 20), oval(SECOND, 0.32, -0.2, 0.2, 0.08, -20), *_antlers(-0.12, -0.25),
     *_antlers(0.12, -0.25), oval(DARK, 0, 0.24, 0.08, 0.06), oval(DARK, -0.1, -0.05, 0.04, 0.05),
     oval(DARK, 0.1, -0.05, 0.04, 0.05)],
]  # fmt: skip

DOG = [
    [*legs(BODY, (-0.5, -0.32, 0.15, 0.32), 0.2, 0.8, 0.15), box(BODY, -0.6, -0.12, 0.42, 0.32),
     bar(BODY, -0.55, -0.05, -0.88, -0.45, 0.11), oval(BODY, 0.5, -0.3, 0.27, 0.24),
     box(BODY, 0.55, -0.32, 0.95, -0.1),
     oval(SECOND, 0.36, -0.25, 0.11, 0.26), oval(DARK, 0.93, -0.26, 0.07, 0.07), oval(DARK, 0.6, -0.38, 0.04, 0.04)],
    [oval(BODY, 0, 0.6, 0.45, 0.4), oval(BODY, 0, -0.15, 0.42, 0.42), oval(SECOND, -0.45, -0.1, 0.15, 0.4, 12),
     oval(SECOND, 0.45, -0.1, 0.15, 0.4, -12), oval(LIGHT, 0, 0.08, 0.24, 0.2), oval(DARK, 0, -0.02, 0.1, 0.07),
     oval(DARK, -0.17, -0.25, 0.06, 0.06), oval(DARK, 0.17, -0.25, 0.06, 0.06), oval(SECOND, 0.02, 0.25, 0.07, 0.12)],
    [oval(BODY, -0.15, 0.4, 0.36, 0.5, 18), bar(BODY, 0.12, 0.2, 0.2, 0.9, 0.16),
     bar(BODY, -0.1, 0.8, 0.15, 0.92, 0.2),
     oval(BODY, 0.2, -0.35, 0.29, 0.26), box(BODY, 0.3, -0.36, 0.72, -0.13), oval(SECOND, 0.03, -0.3, 0.12, 0.28),
     oval(DARK, 0.7, -0.31, 0.07, 0.07), bar(BODY, -0.4, 0.75, -0.85, 0.55, 0.1), oval(DARK, 0.3, -0.43, 0.04, 0.04)],
]  # fmt: skip

FROG = [
    [oval(BODY, 0, 0.25, 0.68, 0.38), oval(BODY, -0.33, -0.15, 0.2, 0.2), oval(BODY, 0.33, -0.15, 0.2, 0.2),
     oval(LIGHT, -0.33, -0.18, 0.12, 0.12), oval(LIGHT, 0.33, -0.18, 0.12, 0.12),
     oval(DARK, -0.33, -0.18, 0.06, 0.06),
     oval(DARK, 0.33, -0.18, 0.06, 0.06), bar(DARK, -0.4, 0.22, 0.4, 0.22, 0.05),
     oval(SECOND, -0.68, 0.5, 0.28, 0.14, 25),
     oval(SECOND, 0.68, 0.5, 0.28, 0.14, -25)],
    [oval(BODY, -0.1, 0.15, 0.6, 0.3, -22), oval(BODY, 0.42, -0.15, 0.3, 0.2, -8),
     oval(BODY, 0.42, -0.35, 0.14, 0.14),
     oval(LIGHT, 0.44, -0.37, 0.09, 0.09), oval(DARK, 0.45, -0.37, 0.05, 0.05),
     oval(SECOND, -0.4, 0.35, 0.4, 0.17, -30),
     bar(SECOND, -0.6, 0.5, 0.0, 0.58, 0.12), bar(SECOND, 0.3, 0.1, 0.45, 0.58, 0.12),
     bar(DARK, 0.45, -0.08, 0.7, -0.1, 0.04)],
    [bar(SECOND, -0.2, 0.3, -0.75, 0.1, 0.18), bar(SECOND, -0.75, 0.1, -0.55, 0.75, 0.14),
     bar(SECOND, 0.2, 0.3, 0.75, 0.1, 0.18),
     bar(SECOND, 0.75, 0.1, 0.55, 0.75, 0.14), oval(BODY, 0, 0.1, 0.36, 0.5), oval(LIGHT, -0.22, -0.35, 0.11, 0.11),
     oval(LIGHT, 0.22, -0.35, 0.11, 0.11), oval(DARK, -0.22, -0.36, 0.05, 0.05), oval(DARK, 0.22, -0.36, 0.05, 0.05),
     bar(SECOND, -0.25, -0.1, -0.65, -0.45, 0.12), bar(SECOND, 0.25, -0.1, 0.65, -0.45, 0.12)],
]  # fmt: skip

HORSE = [
    [*legs(BODY, (-0.52, -0.35, 0.18, 0.35), 0.2, 0.95, 0.13), oval(BODY, -0.08, 0.08, 0.56, 0.28),
     poly(BODY, (0.15, -0.02), (0.5, -0.6), (0.7, -0.5), (0.45, 0.2)), oval(BODY, 0.72, -0.48, 0.27, 0.13, 38),
     poly(SECOND, (0.08, -0.1), (0.42, -0.72), (0.54, -0.62), (0.25, -0.05)),
     poly(SECOND, (-0.6, -0.05), (-0.88, 0.15), (-0.88, 0.65), (-0.7, 0.45)), poly(BODY, (0.5, -0.58),
     (0.52, -0.78), (0.62, -0.6))],
    [bar(BODY, -0.5, 0.2, -0.85, 0.8, 0.13), bar(BODY, -0.35, 0.2, -0.3, 0.85, 0.13),
     bar(BODY, 0.25, 0.15, 0.7, 0.55, 0.12),
     bar(BODY, 0.15, 0.2, 0.3, 0.8, 0.12), oval(BODY, -0.1, 0.05, 0.55, 0.25, -10),
     poly(BODY, (0.15, -0.05), (0.55, -0.5), (0.72, -0.4), (0.42, 0.12)), oval(BODY, 0.75, -0.38, 0.25, 0.12, 25),
     poly(SECOND, (0.1, -0.12), (0.4, -0.6), (0.55, -0.52), (0.28, -0.08)), poly(SECOND, (-0.58, 0.0),
     (-0.98, -0.1), (-0.95, 0.15), (-0.55, 0.15))],
    [*legs(BODY, (-0.5, -0.35, 0.15, 0.3), 0.1, 0.85, 0.13), oval(BODY, -0.1, 0.0, 0.53, 0.26),
     poly(BODY, (0.15, -0.1), (0.55, 0.35), (0.75, 0.3), (0.4, -0.2)), oval(BODY, 0.7, 0.5, 0.13, 0.25, 10),
     poly(SECOND, (0.12, -0.2), (0.6, 0.22), (0.7, 0.15), (0.32, -0.24)), poly(SECOND, (-0.58, -0.1), (-0.8, 0.1),
     (-0.78, 0.6), (-0.62, 0.4))],
]  # fmt: skip

SHIP = [
    [poly(BODY, (-0.9, 0.2), (0.98, 0.1), (0.7, 0.6), (-0.75, 0.6)), box(SECOND, -0.55, -0.15, 0.35, 0.2),
     box(LIGHT, -0.4, -0.4, 0.1, -0.15), box(DARK, -0.2, -0.75, 0.0, -0.38), bar(DARK, 0.45, 0.15, 0.45, -0.6, 0.05),
     *[oval(GLASS, x, 0.02, 0.06, 0.06) for x in (-0.4, -0.1, 0.2)]],
    [poly(BODY, (-0.8, 0.35), (0.85, 0.35), (0.6, 0.65), (-0.6, 0.65)), bar(DARK, 0, 0.4, 0, -0.95, 0.06),
     poly(LIGHT, (0.06, -0.9), (0.75, 0.22), (0.06, 0.22)), poly(SECOND, (-0.07, -0.75), (-0.6, 0.22),
     (-0.07, 0.22))],
    [poly(BODY, (-0.98, 0.15), (0.98, 0.05), (0.8, 0.5), (-0.9, 0.5)), box(LIGHT, -0.9, -0.5, -0.55, 0.15),
     box(DARK, -0.85, -0.75, -0.7, -0.48), box(SECOND, -0.45, -0.15, -0.12, 0.12),
     box(GLASS, -0.1, -0.22, 0.25, 0.12),
     box(SECOND, 0.28, -0.1, 0.6, 0.1), box(DARK, -0.98, 0.42, 0.85, 0.52)],
]  # fmt: skip

TRUCK = [
    [box(SECOND, -0.95, -0.6, 0.3, 0.3), poly(BODY, (0.36, 0.35), (0.36, -0.35), (0.7, -0.35), (0.92, -0.02),
     (0.92, 0.35)),
     poly(GLASS, (0.48, -0.03), (0.48, -0.26), (0.66, -0.26), (0.8, -0.03)), box(DARK, -0.95, 0.3, 0.92, 0.4),
     *wheel(-0.65, 0.45, 0.19), *wheel(-0.25, 0.45, 0.19), *wheel(0.62, 0.45, 0.19)],
    [poly(BODY, (0.1, 0.3), (0.1, -0.5), (0.55, -0.5), (0.6, -0.1), (0.95, -0.05), (0.95, 0.3)),
     poly(GLASS, (0.25, -0.1), (0.25, -0.4), (0.48, -0.4), (0.52, -0.1)), poly(SECOND, (-0.95, 0.28),
     (-0.98, -0.3), (0.05, -0.3), (0.02, 0.28)),
     box(DARK, -0.9, 0.26, 0.9, 0.36), *wheel(-0.55, 0.42, 0.22), *wheel(0.62, 0.42, 0.22)],
    [box(SECOND, -0.62, -0.85, 0.62, 0.3), box(BODY, -0.55, -0.3, 0.55, 0.5), box(GLASS, -0.45, -0.22, 0.45, 0.08),
     box(DARK, -0.58, 0.45, -0.3, 0.78), box(DARK, 0.3, 0.45, 0.58, 0.78), oval(LIGHT, -0.4, 0.28, 0.08, 0.07),
     oval(LIGHT, 0.4, 0.28, 0.08, 0.07), box(DARK, -0.22, 0.2, 0.22, 0.4)],
]  # fmt: skip

THINGS = (AIRPLANE, AUTOMOBILE, BIRD, CAT, DEER, DOG, FROG, HORSE, SHIP, TRUCK)

# Backgrounds: colours above and below the horizon (red, green, blue), and how much texture they have.
SKY, WATER, GRASS, ROAD, FOREST, ROOM = range(6)
GROUNDS: tuple[tuple[tuple[int, int, int], tuple[int, int, int], float], ...] = (
    ((120, 165, 220), (190, 210, 235), 12.0),
    ((150, 180, 210), (50, 95, 130), 16.0),
    ((160, 185, 200), (95, 130, 60), 24.0),
    ((165, 170, 175), (110, 108, 105), 16.0),
    ((60, 85, 45), (105, 100, 60), 34.0),
    ((170, 150, 130), (130, 95, 70), 22.0),
)
# The likeliest backgrounds of each class; with probability CHANCE it is any other.
USUAL = ((SKY,), (ROAD,), (SKY, GRASS, FOREST), (ROOM, GRASS), (FOREST, GRASS), (ROOM, GRASS), (WATER, FOREST),
         (GRASS, FOREST), (WATER,), (ROAD,))  # fmt: skip
CHANCE = 0.4


def generate(
    count: int, *, seed: int, on_progress: Callable[[int], None] | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """`count` pictures, uint8 count×3×32×32, and their labels, int64, as many of each class as of any other.

    The same seed gives the same pictures. `on_progress` is called with the number of pictures drawn so far.
    """
    rng = np.random.Generator(np.random.PCG64([seed, 32]))
    labels = np.argsort(rng.random(count), kind="stable") % CLASSES
    style = rng.integers(0, 3, count)
    pictures = np.empty((count, 3, SIZE, SIZE), dtype=np.uint8)
    for start in range(0, count, CHUNK):
        part = slice(start, min(start + CHUNK, count))
        pictures[part] = _draw(labels[part], style[part], rng)
        if on_progress:
            on_progress(part.stop)
    return pictures, labels.astype(np.int64)


def _draw(labels: NDArray[np.int64], style: NDArray[np.int64], rng: np.random.Generator) -> Bytes:
    """Pictures n×3×32×32 of these labels."""
    from PIL import Image, ImageDraw

    canvases = _backgrounds(labels, rng)
    shapes, front = _clutter(len(labels), rng)
    colours = _colours(labels, rng)
    fine = np.empty((len(labels), FINE, FINE, 3), dtype=np.uint8)
    things = _things(labels, style, rng)
    for index, canvas in enumerate(canvases):
        image = Image.fromarray(canvas)
        pen = ImageDraw.Draw(image)
        _fill(pen, shapes[index])
        _fill(pen, [(points, colours[index][role]) for points, role in things[index]])
        _fill(pen, front[index])
        fine[index] = np.asarray(image)
    return _developed(fine, rng)


Shape = tuple[list[tuple[float, float]], tuple[int, ...]]


def _fill(pen: ImageDraw, shapes: Sequence[Shape]) -> None:
    for points, colour in shapes:
        pen.polygon(points, fill=colour)


def _things(
    labels: NDArray[np.int64], style: NDArray[np.int64], rng: np.random.Generator
) -> list[list[tuple[list[tuple[float, float]], int]]]:
    """For each picture the polygons of its thing, in pixels of the fine canvas, with their colour roles."""
    count = len(labels)
    size = FINE * rng.uniform(0.32, 0.47, count)
    stretch = np.exp(0.15 * rng.standard_normal((count, 2)))
    turn = np.radians(rng.normal(0, 9, count) + np.where(labels == 0, rng.normal(0, 25, count), 0))
    flip = np.where(rng.random(count) < 0.5, -1.0, 1.0)
    lean = rng.normal(0, 0.12, count)
    reach = np.clip(0.5 - size / FINE, 0.06, None) + 0.05
    centre = FINE * (0.5 + reach[:, None] * rng.uniform(-1, 1, (count, 2)))
    drawn = []
    for index in range(count):
        outline = _outline(int(labels[index]), int(style[index]))
        wobble = outline.loose * rng.standard_normal((len(outline.loose), 4))
        cos, sin = math.cos(turn[index]), math.sin(turn[index])
        matrix = np.array([[cos, -sin], [sin, cos]]) @ np.array([[1, lean[index]], [0, 1]])
        matrix = size[index] * matrix @ np.diag(stretch[index] * [flip[index], 1.0])
        moved = outline.middles + 0.03 * wobble[:, :2]
        moved = moved[outline.part] + outline.offsets * (1 + 0.14 * wobble[:, 2:])[outline.part]
        points = [(x, y) for x, y in (moved @ matrix.T + centre[index]).tolist()]
        drawn.append([(points[start:end], colour) for start, end, colour in outline.spans])
    return drawn


@dataclass(frozen=True)
class Outline:
    """All corners of a thing in one array, so that they are moved at once.

    `part` tells each corner's part; `middles` P×2 and `loose` P×1 are of the parts, `offsets` C×2 lead from the
    middles to the corners. `spans` are the first corner, the end and the colour of each part.
    """

    part: NDArray[np.int64]
    middles: NDArray[np.float64]
    offsets: NDArray[np.float64]
    loose: NDArray[np.float64]
    spans: tuple[tuple[int, int, int], ...]


@cache
def _outline(label: int, style: int) -> Outline:
    parts = THINGS[label][style]
    corners = [np.array(each.points) for each in parts]
    middles = np.array([each.mean(axis=0) for each in corners])
    part = np.repeat(np.arange(len(parts)), [len(each) for each in corners])
    ends = np.cumsum([len(each) for each in corners]).tolist()
    spans = zip([0, *ends], ends, [each.colour for each in parts], strict=False)
    loose = np.array([[each.loose] for each in parts])
    return Outline(part, middles, np.concatenate(corners) - middles[part], loose, tuple(spans))


def _backgrounds(labels: NDArray[np.int64], rng: np.random.Generator) -> Bytes:
    """Canvases n×64×64×3: two colours meeting at a horizon, uneven light, texture of three sizes."""
    count = len(labels)
    usual = np.array(
        [USUAL[label][k % len(USUAL[label])] for label, k in zip(labels, rng.integers(0, 6, count), strict=True)]
    )
    ground = np.where(rng.random(count) < CHANCE, rng.integers(0, len(GROUNDS), count), usual)
    tint = rng.normal(0, 28, (count, 2, 3)) + rng.normal(0, 26, (count, 1, 1))
    pair = np.array([[above, below] for above, below, _ in GROUNDS], dtype=float)[ground] + tint
    pair = pair.astype(np.float32)
    row = np.linspace(0, 1, FINE)[None, :, None] + rng.normal(0, 0.15, (count, 1, 1)) * np.linspace(-1, 1, FINE)
    horizon = rng.uniform(0.25, 0.8, (count, 1, 1))
    soft = rng.uniform(0.01, 0.3, (count, 1, 1))
    blend = np.clip((row - horizon) / soft + 0.5, 0, 1)[..., None].astype(np.float32)
    canvas = pair[:, None, None, 0] * (1 - blend) + pair[:, None, None, 1] * blend
    rough = np.array([texture for *_, texture in GROUNDS])[ground] * rng.uniform(0.2, 1.0, count)
    rough = rough.astype(np.float32)
    for cells, share in ((4, 0.8), (12, 0.7), (32, 0.6)):
        patch = _normal(rng, count, cells, cells, 1) + 0.35 * _normal(rng, count, cells, cells, 3)
        patch *= share * rough[:, None, None, None]
        wide = FINE // cells + (FINE % cells > 0)
        canvas += patch.repeat(wide, axis=1)[:, :FINE].repeat(wide, axis=2)[:, :, :FINE]
    return np.clip(canvas, 0, 255, out=canvas).astype(np.uint8)


def _normal(rng: np.random.Generator, *shape: int) -> Floats:
    return rng.standard_normal(shape, dtype=np.float32)


def _clutter(count: int, rng: np.random.Generator) -> tuple[list[list[Shape]], list[list[Shape]]]:
    """Shapes behind the thing (up to three) and in front of it (in a quarter of the pictures)."""
    behind, front = [], []
    numbers = rng.integers(0, 4, count)
    covered = rng.random(count) < 0.25
    for number, cover in zip(numbers.tolist(), covered.tolist(), strict=True):
        behind.append([_blob(rng, 0.05, 0.32) for _ in range(number)])
        front.append([_blob(rng, 0.05, 0.17)] if cover else [])
    return behind, front


def _blob(rng: np.random.Generator, small: float, large: float) -> Shape:
    """A random convex shape: 3 to 8 corners on a stretched circle."""
    corners = int(rng.integers(3, 9))
    draws = rng.random(8)
    angle = 2 * np.pi * (np.arange(corners) / corners + draws[0])
    size = FINE * (small + (large - small) * draws[1:3] ** 2)
    points = FINE * draws[3:5] * 1.1 - 0.05 * FINE + size * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    red, green, blue = (30 + 200 * draws[5:8]).astype(int).tolist()
    return list(map(tuple, points.tolist())), (red, green, blue)


def _colours(labels: NDArray[np.int64], rng: np.random.Generator) -> list[list[tuple[int, ...]]]:
    """Five colours for each picture, in the order of the roles; animals are seldom blue, machines are anything."""
    count = len(labels)
    body = rng.uniform(20, 235, (count, 3))
    fur = np.array([150.0, 110.0, 75.0]) * np.exp(0.5 * rng.standard_normal((count, 1))) + rng.normal(0, 26, (count, 3))
    green = np.array([85.0, 125.0, 50.0]) * np.exp(0.4 * rng.standard_normal((count, 1))) + rng.normal(
        0, 26, (count, 3)
    )
    lucky = rng.random(count)
    animal = np.isin(labels, (2, 3, 4, 5, 7)) & (lucky < 0.65)
    body = np.where(animal[:, None], fur, body)
    body = np.where(((labels == 6) & (lucky < 0.5))[:, None], green, body)
    second = np.where(
        rng.random((count, 1)) < 0.5, body * rng.uniform(0.55, 0.85, (count, 1)), rng.uniform(20, 235, (count, 3))
    )
    dark = rng.uniform(5, 65, (count, 1)) + rng.normal(0, 8, (count, 3))
    light = rng.uniform(185, 250, (count, 1)) + rng.normal(0, 10, (count, 3))
    glass = np.array([120.0, 150.0, 170.0]) * rng.uniform(0.4, 1.4, (count, 1)) + rng.normal(0, 10, (count, 3))
    table = np.stack([body, second, dark, light, glass], axis=1).clip(0, 255).astype(int)
    return [[tuple(colour) for colour in picture] for picture in table.tolist()]


def _developed(fine: Bytes, rng: np.random.Generator) -> Bytes:
    """Average 2×2 pixels, vary light and contrast, add noise: n×64×64×3 to n×3×32×32."""
    count = len(fine)
    small = np.zeros((count, SIZE, SIZE, 3), dtype=np.float32)
    for row in (0, 1):
        for column in (0, 1):
            small += fine[:, row::2, column::2]
    small /= 4
    contrast = rng.uniform(0.65, 1.15, (count, 1, 1, 1)).astype(np.float32)
    light = rng.normal(0, 16, (count, 1, 1, 1)).astype(np.float32)
    small = (small - 128) * contrast + 128 + light
    small += NOISE * rng.standard_normal(small.shape, dtype=np.float32)
    pictures: Bytes = np.rint(small.clip(0, 255)).astype(np.uint8)
    return pictures.transpose(0, 3, 1, 2)
