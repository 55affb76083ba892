"""The embedded digits: handwriting drawn by this program, deterministic, in the format of MNIST (1×28×28).

A digit has several skeletons (a 7 with or without a bar, an open or a closed 4, …). A skeleton is a few strokes
through control points, which are jittered, slanted, turned, stretched and warped for every image, and inked with
a pen whose width varies. As in MNIST the longer side measures 20 pixels and the ink's centre of mass lies in the
middle of the image. What it isn't: an imitation of any particular hand, or a replacement for the real set.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

Point = tuple[float, float]
Stroke = Sequence[Point]
Skeleton = Sequence[Stroke]

SIZE = 28
BOX = 20.0
INK_POINTS = 72  # drops of ink along one digit's strokes; about one per pixel of the longest
CHUNK = 100  # images inked at once: their distances fit in the processor's cache


def arc(cx: float, cy: float, rx: float, ry: float, start: float, end: float, count: int = 8) -> list[Point]:
    """Points on an ellipse from angle `start` to `end`, in degrees, 0 = right, 90 = down (y points down)."""
    angles = [math.radians(start + (end - start) * k / (count - 1)) for k in range(count)]
    return [(cx + rx * math.cos(each), cy + ry * math.sin(each)) for each in angles]


def line(*corners: Point, per_side: int = 3) -> list[Point]:
    """A straight-sided stroke: each side has `per_side` control points, and corners stay sharp."""
    points: list[Point] = []
    for (x0, y0), (x1, y1) in pairwise(corners):
        points += [(x0 + (x1 - x0) * k / per_side, y0 + (y1 - y0) * k / per_side) for k in range(per_side + 1)]
    return points


# Coordinates: x to the right, y down, a digit about 1 high. The number before a skeleton is how common it is.
SKELETONS: dict[int, list[tuple[float, Skeleton]]] = {
    0: [
        (4, [arc(0.4, 0.5, 0.34, 0.5, -90, 275, 13)]),
        (2, [arc(0.4, 0.5, 0.42, 0.48, -60, 300, 13)]),
        (2, [arc(0.4, 0.5, 0.26, 0.5, -110, 260, 13)]),
        (1, [[*arc(0.4, 0.5, 0.34, 0.5, -50, 290, 12), (0.45, 0.12), (0.3, 0.05)]]),
        (1, [[(0.55, 0.0), *arc(0.4, 0.5, 0.36, 0.48, -100, -440, 12), (0.62, 0.08)]]),
    ],
    1: [
        (8, [line((0.3, 0.0), (0.3, 1.0), per_side=5)]),
        (2, [[(0.36, 0.0), (0.33, 0.3), (0.3, 0.6), (0.24, 1.0)]]),
        (2, [line((0.12, 0.22), (0.34, 0.0), (0.34, 1.0))]),
        (1, [line((0.14, 0.2), (0.36, 0.0), (0.36, 1.0)), line((0.1, 1.0), (0.62, 1.0))]),
        (0.5, [line((0.35, 0.0), (0.35, 1.0)), line((0.12, 1.0), (0.58, 0.98))]),
    ],
    2: [
        (3, [[*arc(0.4, 0.3, 0.32, 0.3, -170, 30, 7), (0.45, 0.65), (0.05, 0.98)], line((0.05, 0.98), (0.8, 0.97))]),
        (3, [[*arc(0.4, 0.28, 0.3, 0.28, -160, 40, 7), (0.4, 0.7), (0.15, 0.95), (0.04, 0.88),
              (0.14, 0.78), (0.35, 0.88), (0.55, 0.98), (0.8, 0.92)]]),
        (2, [[*arc(0.38, 0.25, 0.33, 0.25, -150, 20, 6), (0.55, 0.5), (0.3, 0.75), (0.02, 0.95),
              (0.2, 0.92), (0.45, 1.0), (0.8, 0.98)]]),
        (1, [[(0.05, 0.12), (0.3, 0.02), (0.6, 0.05), (0.64, 0.22), (0.45, 0.5), (0.05, 0.95)],
             line((0.05, 0.95), (0.75, 0.95))]),
        (2, [[*arc(0.4, 0.27, 0.32, 0.27, -170, 40, 7), (0.52, 0.6), (0.36, 0.86), (0.14, 0.98), (-0.04, 0.86),
              (0.08, 0.68), (0.3, 0.72), (0.55, 0.92), (0.85, 0.96)]]),
        (2, [[*arc(0.42, 0.3, 0.34, 0.3, -190, 35, 8), (0.5, 0.62), (0.25, 0.85),
              (0.08, 0.98), (0.0, 0.86), (0.12, 0.76), (0.3, 0.82), (0.6, 1.0), (0.9, 1.0)]]),
        (1, [[*arc(0.4, 0.3, 0.35, 0.3, 170, 380, 8), (0.6, 0.62), (0.4, 0.85), (0.1, 1.0),
              (0.3, 0.97), (0.6, 0.98), (0.82, 0.9)]]),
    ],
    3: [
        (4, [[*arc(0.34, 0.26, 0.3, 0.26, -150, 75, 7), (0.22, 0.47)],
             [(0.22, 0.47), *arc(0.34, 0.73, 0.36, 0.27, -80, 150, 8)]]),
        (2, [[*arc(0.32, 0.25, 0.28, 0.25, -160, 60, 7), (0.3, 0.5), *arc(0.34, 0.74, 0.32, 0.26, -60, 160, 8)]]),
        (2, [[*arc(0.32, 0.24, 0.3, 0.24, -165, 70, 7), (0.25, 0.46), (0.2, 0.5), (0.3, 0.52),
              *arc(0.32, 0.75, 0.36, 0.25, -60, 165, 8)]]),
        (1, [line((0.08, 0.03), (0.62, 0.03), (0.3, 0.42)), [(0.3, 0.42), *arc(0.32, 0.7, 0.34, 0.29, -70, 150, 8)]]),
        (1, [[(0.1, 0.08), (0.35, 0.0), (0.58, 0.12), (0.5, 0.33), (0.2, 0.5)],
             [(0.2, 0.5), (0.5, 0.55), (0.64, 0.75), (0.45, 0.96), (0.15, 1.0), (0.0, 0.92)]]),
        (1.5, [[(0.1, 0.06), (0.4, 0.0), (0.62, 0.08), (0.5, 0.3), (0.28, 0.46), (0.5, 0.52), (0.66, 0.68),
                (0.55, 0.9), (0.3, 1.0), (0.02, 0.98)]]),
    ],
    4: [
        (3, [[(0.1, 0.05), (0.06, 0.3), (0.08, 0.52), (0.3, 0.56), (0.62, 0.5)], line((0.62, 0.08), (0.58, 1.0))]),
        (3, [line((0.12, 0.0), (0.04, 0.52), (0.7, 0.52)), line((0.56, 0.02), (0.54, 1.0))]),
        (1.3, [line((0.5, 0.0), (0.02, 0.62), (0.8, 0.62)), line((0.5, 0.0), (0.5, 1.0))]),
        (2, [[(0.12, 0.05), (0.1, 0.35), (0.25, 0.48), (0.45, 0.42), (0.6, 0.25)],
             [(0.66, 0.0), (0.6, 0.35), (0.52, 0.7), (0.46, 1.0)]]),
        (0.3, [[(0.5, 0.04), (0.25, 0.25), (0.08, 0.48), (0.25, 0.54), (0.6, 0.45)],
               [(0.62, 0.1), (0.58, 0.5), (0.52, 1.0)]]),
        (1, [line((0.2, 0.1), (0.02, 0.55), (0.8, 0.48)), line((0.48, 0.3), (0.42, 1.0))]),
        (1, [[(0.1, 0.0), (0.08, 0.3), (0.2, 0.45), (0.45, 0.45)], line((0.62, 0.0), (0.5, 0.45), (0.4, 1.0))]),
    ],
    5: [
        (3, [line((0.68, 0.02), (0.2, 0.04)), line((0.2, 0.04), (0.14, 0.42)),
             [(0.14, 0.42), *arc(0.3, 0.7, 0.34, 0.3, -75, 150, 8)]]),
        (2, [line((0.14, 0.05), (0.12, 0.42)), [(0.12, 0.42), *arc(0.28, 0.7, 0.33, 0.29, -80, 155, 8)],
             line((0.14, 0.04), (0.72, 0.0))]),
        (2, [[(0.7, 0.0), (0.4, 0.02), (0.24, 0.08), (0.16, 0.28), (0.2, 0.42), (0.42, 0.5), (0.56, 0.68),
              (0.46, 0.92), (0.2, 1.0), (0.0, 0.92)]]),
        (1.5, [[(0.12, 0.08), (0.08, 0.42), (0.3, 0.36), (0.52, 0.5), (0.58, 0.75), (0.4, 0.97), (0.15, 0.96),
                (0.0, 0.82)], line((0.1, 0.08), (0.75, 0.0))]),
        (1.5, [line((1.0, 0.02), (0.4, 0.06)), [(0.4, 0.06), (0.3, 0.42), (0.5, 0.46), (0.56, 0.66), (0.4, 0.9),
                                              (0.15, 1.0), (0.0, 0.94)]]),
        (1, [line((0.75, 0.06), (0.28, 0.02)), [(0.28, 0.02), (0.2, 0.4), (0.4, 0.44), (0.55, 0.62),
              (0.45, 0.88), (0.2, 0.98), (0.02, 0.86)]]),
        (1, [[(0.85, 0.02), (0.5, 0.05), (0.35, 0.2), (0.28, 0.42), (0.45, 0.55), (0.45, 0.78),
              (0.25, 0.96), (0.02, 0.94)]]),
    ],
    6: [
        (3, [[(0.5, 0.0), (0.25, 0.2), (0.08, 0.5), *arc(0.34, 0.73, 0.28, 0.26, 200, -165, 10)]]),
        (2, [[(0.35, 0.0), (0.18, 0.25), (0.06, 0.6), *arc(0.3, 0.77, 0.26, 0.22, 170, -170, 10)]]),
        (2, [[(0.6, 0.04), (0.35, 0.1), (0.12, 0.4), (0.08, 0.7), (0.25, 0.97), (0.5, 0.9), (0.58, 0.68),
              (0.4, 0.52), (0.2, 0.62), (0.12, 0.78)]]),
        (1.5, [[(0.2, 0.0), (0.1, 0.3), (0.06, 0.65), (0.2, 0.95), (0.45, 0.95), (0.56, 0.76), (0.42, 0.6),
                (0.2, 0.66), (0.1, 0.8)]]),
        (1.5, [[(0.3, 0.0), (0.08, 0.3), (0.0, 0.65), (0.15, 0.95), (0.45, 1.0), (0.68, 0.78), (0.6, 0.52),
                (0.38, 0.55), (0.3, 0.8)]]),
        (1.5, [[(0.4, 0.0), (0.15, 0.22), (0.02, 0.55), (0.1, 0.88), (0.35, 1.0), (0.6, 0.85), (0.58, 0.6),
                (0.36, 0.5), (0.16, 0.62), (0.1, 0.75)]]),
        (1, [[(0.75, 0.0), (0.4, 0.25), (0.12, 0.6), (0.1, 0.85), (0.3, 1.0), (0.52, 0.88), (0.5, 0.68),
              (0.3, 0.66), (0.14, 0.82)]]),
    ],
    7: [
        (4, [line((0.05, 0.06), (0.68, 0.04), (0.3, 1.0), per_side=4)]),
        (2, [[(0.04, 0.1), (0.3, 0.08), (0.62, 0.04)], [(0.62, 0.04), (0.5, 0.35), (0.38, 0.65), (0.34, 1.0)]]),
        (2, [line((0.05, 0.2), (0.1, 0.03)), line((0.1, 0.03), (0.68, 0.03), (0.28, 1.0), per_side=4)]),
        (2, [line((0.05, 0.05), (0.7, 0.05), (0.3, 1.0), per_side=4), line((0.2, 0.5), (0.7, 0.48))]),
        (1.5, [[(0.0, 0.18), (0.15, 0.06), (0.4, 0.1), (0.65, 0.02), (0.6, 0.3), (0.4, 0.65), (0.25, 1.0)]]),
        (1.5, [[(0.0, 0.3), (0.04, 0.1), (0.25, 0.02), (0.5, 0.04), (0.64, 0.16), (0.6, 0.45), (0.48, 0.75),
                (0.42, 1.0)]]),
        (1, [line((0.0, 0.28), (0.06, 0.05), per_side=2), line((0.06, 0.05), (0.62, 0.1), (0.5, 1.0), per_side=4)]),
        (1, [[(0.02, 0.12), (0.35, 0.02), (0.66, 0.1), (0.68, 0.3), (0.55, 0.65), (0.5, 1.0)]]),
    ],
    8: [
        (3, [[(0.58, 0.14), (0.36, 0.0), (0.12, 0.14), (0.2, 0.36), (0.42, 0.52), (0.6, 0.74), (0.4, 0.98),
              (0.12, 0.9), (0.1, 0.7), (0.3, 0.5), (0.52, 0.34), (0.58, 0.14)]]),
        (2, [arc(0.36, 0.25, 0.24, 0.25, 90, 450, 9), arc(0.36, 0.75, 0.29, 0.25, -90, 270, 9)]),
        (2, [[(0.6, 0.1), (0.34, 0.02), (0.14, 0.16), (0.24, 0.38), (0.46, 0.58), (0.5, 0.82), (0.3, 1.0),
              (0.12, 0.86), (0.22, 0.62), (0.46, 0.4), (0.64, 0.2), (0.66, 0.08)]]),
        (1.5, [[(0.4, 0.0), (0.2, 0.1), (0.2, 0.3), (0.4, 0.48), (0.52, 0.7), (0.4, 0.97), (0.2, 0.9),
                (0.2, 0.7), (0.42, 0.45), (0.58, 0.22), (0.5, 0.04), (0.36, 0.0)]]),
        (2, [[(0.62, 0.16), (0.45, 0.02), (0.2, 0.06), (0.12, 0.24), (0.32, 0.42), (0.5, 0.6), (0.5, 0.84),
              (0.3, 1.0), (0.12, 0.88), (0.18, 0.66), (0.4, 0.46), (0.6, 0.3), (0.66, 0.14)]]),
        (2, [[(0.7, 0.06), (0.5, 0.0), (0.26, 0.1), (0.26, 0.3), (0.4, 0.48), (0.4, 0.72), (0.24, 0.98), (0.08, 0.9),
              (0.14, 0.68), (0.36, 0.46), (0.58, 0.26), (0.72, 0.08)]]),
        (1.5, [[(0.36, 0.5), (0.14, 0.32), (0.2, 0.08), (0.44, 0.0), (0.62, 0.14), (0.56, 0.36), (0.36, 0.5),
                (0.14, 0.66), (0.08, 0.88), (0.32, 1.0), (0.56, 0.9), (0.56, 0.68), (0.34, 0.5)]]),
        (1, [arc(0.4, 0.22, 0.26, 0.22, 80, 440, 9), arc(0.32, 0.72, 0.24, 0.28, -80, 280, 9)]),
    ],
    9: [
        (3, [[*arc(0.32, 0.26, 0.27, 0.26, -10, -370, 10), (0.57, 0.6), (0.52, 1.0)]]),
        (2, [[(0.56, 0.12), *arc(0.3, 0.28, 0.26, 0.27, -45, -345, 9)], line((0.58, 0.1), (0.54, 1.0))]),
        (2, [[*arc(0.32, 0.27, 0.28, 0.27, -20, -365, 10), (0.6, 0.55), (0.5, 0.88), (0.28, 1.0), (0.1, 0.92)]]),
        (2, [[(0.6, 0.06), (0.32, 0.02), (0.1, 0.22), (0.16, 0.44), (0.38, 0.42), (0.56, 0.2), (0.62, 0.06)],
             [(0.62, 0.06), (0.5, 0.5), (0.36, 1.0)]]),
        (1, [[(0.5, 0.1), (0.28, 0.06), (0.12, 0.26), (0.26, 0.42), (0.48, 0.32), (0.55, 0.08),
              (0.52, 0.5), (0.42, 0.75), (0.3, 1.0)]]),
        (2, [[(0.58, 0.06), (0.36, 0.02), (0.14, 0.14), (0.08, 0.34), (0.26, 0.42), (0.46, 0.3), (0.6, 0.06)],
             line((0.6, 0.04), (0.46, 1.0))]),
        (1.5, [[(0.48, 0.36), (0.24, 0.44), (0.1, 0.26), (0.24, 0.06), (0.48, 0.02), (0.58, 0.16),
                (0.54, 0.5), (0.46, 1.0)]]),
        (1.5, [[(0.54, 0.24), (0.34, 0.4), (0.14, 0.34), (0.16, 0.12), (0.4, 0.0), (0.58, 0.1), (0.56, 0.36),
                (0.44, 0.7), (0.26, 1.0)]]),
        (1, [[*arc(0.36, 0.2, 0.22, 0.2, 0, -360, 9), (0.56, 0.5), (0.5, 0.75), (0.48, 1.0)]]),
    ],
}  # fmt: skip


def generate(
    count: int, *, seed: int, on_progress: Callable[[int], None] | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """`count` images, uint8 count×1×28×28, and their labels, int64, as many of each digit as of any other.

    The same seed gives the same images. `on_progress` is called with the number of images drawn so far.
    """
    rng = np.random.Generator(np.random.PCG64([seed, 28]))
    labels = np.argsort(rng.random(count), kind="stable") % 10
    points = _strokes(labels, rng)
    radius = _pen(count, rng)
    points = _place(points, radius, rng)
    edge = rng.uniform(0.9, 1.5, count).astype(np.float32)
    level = np.where(rng.random(count) < 0.7, 1.0, rng.uniform(0.75, 1.0, count)).astype(np.float32)
    images = np.empty((count, 1, SIZE, SIZE), dtype=np.uint8)
    for start in range(0, count, CHUNK):
        part = slice(start, start + CHUNK)
        ink = _ink(points[part], radius[part], edge[part], level[part])
        images[part, 0] = ink
        if on_progress:
            on_progress(min(start + CHUNK, count))
    return images, labels.astype(np.int64)


def _normal(rng: np.random.Generator, *shape: int) -> Floats:
    return rng.standard_normal(shape, dtype=np.float32)


def _strokes(labels: NDArray[np.int64], rng: np.random.Generator) -> Floats:
    """Ink points N×K×2 of every digit in its own coordinates."""
    points = np.empty((len(labels), INK_POINTS, 2), dtype=np.float32)
    choice = rng.random(len(labels))
    for digit, skeletons in SKELETONS.items():
        bounds = np.cumsum([weight for weight, _ in skeletons])
        of_digit = np.flatnonzero(labels == digit)
        drawn = np.searchsorted(bounds / bounds[-1], choice[of_digit])
        for variant in range(len(skeletons)):
            chosen = of_digit[drawn == variant]
            points[chosen] = _jittered(digit, variant, len(chosen), rng)
    return _deformed(points, rng)


def _jittered(digit: int, variant: int, count: int, rng: np.random.Generator) -> Floats:
    """`count` digits of one skeleton: control points moved at random, then the curves through them."""
    skeleton = SKELETONS[digit][variant][1]
    basis = _basis(digit, variant)
    controls = np.array([point for stroke in skeleton for point in stroke], dtype=np.float32)
    amount = rng.uniform(0.008, 0.05, (count, 1, 1)).astype(np.float32)
    moved = controls + amount * _smooth(_normal(rng, count, *controls.shape))
    start = 0
    for stroke in skeleton:  # each stroke is moved, and stretched about its middle, as a whole
        part = moved[:, start : start + len(stroke)]
        middle = part.mean(axis=1, keepdims=True)
        stretch = 1 + 0.08 * _normal(rng, count, 1, 2)
        shift = (0.02 if len(skeleton) > 1 else 0.0) * _normal(rng, count, 1, 2)
        moved[:, start : start + len(stroke)] = middle + (part - middle) * stretch + shift
        start += len(stroke)
    inked: Floats = np.einsum("kc,ncd->nkd", basis, moved, optimize=True)
    return inked


def _smooth(noise: Floats) -> Floats:
    """Noise n×points×2 that neighbouring points share in part, as a hand's does: wobbles and not zigzags."""
    before, after = np.roll(noise, 1, axis=1), np.roll(noise, -1, axis=1)
    smooth: Floats = 0.45 * before + 0.9 * noise + 0.45 * after
    return smooth.astype(np.float32)


@cache
def _basis(digit: int, variant: int) -> Floats:
    """Matrix ink points × control points: ink spread evenly along the strokes, more on the longer ones."""
    skeleton = SKELETONS[digit][variant][1]
    dense = [_catmull_rom(len(stroke), 40) for stroke in skeleton]
    curves = [matrix @ np.array(stroke) for matrix, stroke in zip(dense, skeleton, strict=True)]
    along = [_lengths(curve) for curve in curves]
    shares = _shares([each[-1] for each in along])
    rows, column, width = [], 0, sum(len(stroke) for stroke in skeleton)
    for matrix, length, share in zip(dense, along, shares, strict=True):
        wanted = np.linspace(0, length[-1], share)
        picked = np.clip(np.searchsorted(length, wanted), 0, len(length) - 1)
        block = np.zeros((share, width))
        block[:, column : column + matrix.shape[1]] = matrix[picked]
        rows.append(block)
        column += matrix.shape[1]
    return np.concatenate(rows).astype(np.float32)


def _lengths(curve: NDArray[np.float64]) -> NDArray[np.float64]:
    steps = np.sqrt((np.diff(curve, axis=0) ** 2).sum(axis=1))
    return np.concatenate([[0.0], np.cumsum(steps)])


def _shares(lengths: Sequence[float]) -> list[int]:
    """Split the ink points among strokes by length; the last takes what rounding leaves."""
    shares = [max(6, round(INK_POINTS * length / sum(lengths))) for length in lengths]
    shares[-1] = INK_POINTS - sum(shares[:-1])
    return shares


def _catmull_rom(controls: int, per_side: int) -> NDArray[np.float64]:
    """Matrix that turns control points into a smooth curve through all of them."""
    rows = []
    for side in range(controls - 1):
        neighbours = [max(side - 1, 0), side, side + 1, min(side + 2, controls - 1)]
        for step in range(per_side + (side == controls - 2)):
            t = step / per_side
            weights = (
                (-t + 2 * t**2 - t**3) / 2,
                (2 - 5 * t**2 + 3 * t**3) / 2,
                (t + 4 * t**2 - 3 * t**3) / 2,
                (t**3 - t**2) / 2,
            )
            row = np.zeros(controls)
            for index, weight in zip(neighbours, weights, strict=True):
                row[index] += weight
            rows.append(row)
    return np.array(rows)


def _deformed(points: Floats, rng: np.random.Generator) -> Floats:
    """Stretch, taper, slant, turn, and warp elastically: a few slow waves move every point a little."""
    count = len(points)
    points = points - points.mean(axis=1, keepdims=True)
    stretch = np.exp(0.22 * _normal(rng, count)).clip(0.6, 1.7)
    slant = (0.2 + 0.32 * _normal(rng, count)).clip(-0.5, 1.0)
    angle = 0.12 * _normal(rng, count)
    # The upper half larger or smaller than the lower one, and wider or narrower.
    upper = (0.32 * _normal(rng, count)).clip(-0.75, 0.75)[:, None]
    wider = (0.42 * _normal(rng, count)).clip(-1.0, 1.0)[:, None]
    points = points.copy()
    points[..., 0] *= 1 + wider * points[..., 1]
    points[..., 1] += upper * (points[..., 1] ** 2 - 0.08)
    x = points[..., 0] * stretch[:, None] - slant[:, None] * points[..., 1]
    y = points[..., 1]
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    turned = np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)
    warped = turned.copy()
    for _ in range(3):
        direction = 2.6 * _normal(rng, count, 1, 2)
        phase = rng.uniform(0, 2 * np.pi, (count, 1)).astype(np.float32)
        wave = np.sin((turned * direction).sum(axis=2) + phase)
        warped += 0.045 * _normal(rng, count, 1, 2) * wave[..., None]
    return warped


def _pen(count: int, rng: np.random.Generator) -> Floats:
    """The pen's radius in pixels at every ink point, N×K: another width for each digit, varying along it."""
    width = np.exp(0.28 * _normal(rng, count, 1)) * 1.25
    along = np.linspace(0, 1, INK_POINTS, dtype=np.float32)
    pressure = np.sin(_normal(rng, count, 1) * 4 * along + rng.uniform(0, 6.28, (count, 1)).astype(np.float32))
    radius: Floats = width.clip(0.65, 2.3) * (1 + 0.12 * pressure)
    return radius.astype(np.float32)


def _place(points: Floats, radius: Floats, rng: np.random.Generator) -> Floats:
    """Scale to the box of 20 pixels, ink included, and put the centre of mass in the middle of the image."""
    low, high = points.min(axis=1), points.max(axis=1)
    longer = (high - low).max(axis=1)
    scale = (BOX - 2 * radius.mean(axis=1)) / longer
    pixels = points * scale[:, None, None]
    mass = (pixels * radius[..., None]).sum(axis=1, keepdims=True) / radius.sum(axis=1)[:, None, None]
    jitter = rng.uniform(-0.6, 0.6, (len(points), 1, 2)).astype(np.float32)
    placed: Floats = pixels - mass + (SIZE - 1) / 2 + jitter
    return placed


def _ink(points: Floats, radius: Floats, edge: Floats, level: Floats) -> NDArray[np.uint8]:
    """Grey images n×28×28: how far each pixel lies inside the nearest drop of ink, softened at the edge."""
    grid = np.arange(SIZE, dtype=np.float32)
    dx = (grid[:, None, None] - points[None, :, :, 0]) ** 2  # 28×n×K
    dy = (grid[:, None, None] - points[None, :, :, 1]) ** 2
    inside = np.full((SIZE, SIZE, len(points)), -9.0, dtype=np.float32)
    for drop in range(points.shape[1]):
        distance = dy[:, None, :, drop] + dx[None, :, :, drop]
        np.sqrt(distance, out=distance)
        np.subtract(radius[:, drop], distance, out=distance)
        np.maximum(inside, distance, out=inside)
    shade = (inside / edge + 0.5).clip(0, 1) * (255 * level)
    ink: NDArray[np.uint8] = np.rint(shade).astype(np.uint8)
    return ink.transpose(2, 0, 1)
