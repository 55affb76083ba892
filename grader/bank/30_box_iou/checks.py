"""Checks for IoU and GIoU. The oracle computes one pair after the other, in Python floats."""

from __future__ import annotations

import torch

from grader.checking import check, describe, expect, expect_close, expect_dtype, expect_shape, expect_tensor, fail

from . import probes

# --- oracles: one pair after the other -----------------------------------------------------------------


def _parts(a, b):
    """Areas of a and b, their intersection, their union and their hull."""
    area_a, area_b = (a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1])
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0.0) * max(height, 0.0)
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return area_a, area_b, both, area_a + area_b - both, hull


def _over(part, whole):
    return part / whole if whole else 0.0


def _iou(a, b):
    _, _, both, union, _ = _parts(a, b)
    return _over(both, union)


def _giou(a, b):
    _, _, both, union, hull = _parts(a, b)
    return _over(both, union) - _over(hull - union, hull)


def _table(function, a, b):
    rows = [[function(p, q) for q in b.double().tolist()] for p in a.double().tolist()]
    return torch.tensor(rows, dtype=torch.float64).reshape(len(a), len(b))


# --- misconceptions, as functions of a pair ------------------------------------------------------------


def _plus_one(a, b):
    wide = [[*box[:2], box[2] + 1, box[3] + 1] for box in (a, b)]
    return _iou(*wide)


def _as_xywh(a, b):
    return _iou(*[[x, y, x + w, y + h] for x, y, w, h in (a, b)])


def _unclamped(a, b):
    area_a, area_b, *_ = _parts(a, b)
    both = (min(a[2], b[2]) - max(a[0], b[0])) * (min(a[3], b[3]) - max(a[1], b[1]))
    return _over(both, area_a + area_b - both)


def _with(formula):
    return lambda a, b: formula(*_parts(a, b))


_WRONG_IOU = {
    "x2 - x1 + 1: the old convention of counting pixels": _plus_one,
    "the boxes are read as (x, y, width, height); they are (x1, y1, x2, y2)": _as_xywh,
    "the denominator counts the overlap twice: area + area without subtracting the intersection": _with(
        lambda p, q, both, union, hull: _over(both, p + q)
    ),
    "the Dice coefficient, 2 · intersection / (area + area)": _with(
        lambda p, q, both, union, hull: _over(2 * both, p + q)
    ),
    "intersection over the smaller area": _with(lambda p, q, both, union, hull: _over(both, min(p, q))),
    "intersection over the area of the first box": _with(lambda p, q, both, union, hull: _over(both, p)),
    "intersection over the area of the second box": _with(lambda p, q, both, union, hull: _over(both, q)),
    "intersection over the hull instead of the union": _with(lambda p, q, both, union, hull: _over(both, hull)),
    "the intersection alone; it isn't divided by the union": _with(lambda p, q, both, union, hull: both),
    "1 - IoU, the distance": lambda a, b: 1 - _iou(a, b),
    "the sides aren't clamped at 0: two negative ones multiply to a positive area": _unclamped,
}

_WRONG_GIOU = {
    "this is the IoU": _iou,
    "the empty part is divided by the union; it has to be divided by the hull": _with(
        lambda p, q, both, union, hull: _over(both, union) - _over(hull - union, union)
    ),
    "the intersection is subtracted from the hull instead of the union": _with(
        lambda p, q, both, union, hull: _over(both, union) - _over(hull - both, hull)
    ),
    "the penalty is added; it has to be subtracted": _with(
        lambda p, q, both, union, hull: _over(both, union) + _over(hull - union, hull)
    ),
    "only the penalty; the IoU is missing": _with(lambda p, q, both, union, hull: -_over(hull - union, hull)),
    "1 - GIoU, the loss": lambda a, b: 1 - _giou(a, b),
    "clamped at 0: negative values are what GIoU is for": lambda a, b: max(_giou(a, b), 0.0),
    "intersection over the hull": _with(lambda p, q, both, union, hull: _over(both, hull)),
}


def _boxes(n, seed, span=100.0, smallest=5.0, largest=60.0):
    g = torch.Generator().manual_seed(seed)
    corner = torch.rand(n, 2, generator=g) * span
    return torch.cat([corner, corner + smallest + torch.rand(n, 2, generator=g) * (largest - smallest)], dim=1)


def _said(box):
    return "(" + ", ".join(f"{v:.4g}" for v in box.tolist()) + ")"


def _expect_table(found, right, a, b, *, because, wrong=None, what="", rtol=1e-4, atol=1e-5):
    """The table agrees with the right one; the first pair that doesn't is shown, with its misconception."""
    expect_shape(found, tuple(right.shape), because="row i belongs to boxes_a[i], column j to boxes_b[j].")
    expect(
        found.is_floating_point(),
        expected="a float tensor",
        actual=f"dtype {found.dtype}",
        because="an overlap is a fraction.",
    )
    bad = ~torch.isclose(found.double(), right, rtol=rtol, atol=atol)
    if not bool(bad.any()):
        return
    i, j = bad.nonzero()[0].tolist()
    value, good = found[i, j].item(), right[i, j].item()
    looks = None
    for text, formula in (wrong or {}).items():
        guess = _table(formula, a, b)
        if torch.allclose(found.double(), guess, rtol=1e-4, atol=1e-5):
            looks = text
            break
    if looks is None and value != value and 0 in _parts(a[i].tolist(), b[j].tolist())[3:]:
        looks = "0 / 0: the union or the hull of an empty pair is 0"
    pair = f"for {_said(a[i])} and {_said(b[j])}"
    wrongs = int(bad.sum())
    fail(
        expected=f"{what}{good:.5g} {pair}",
        actual=f"{value:.5g}" + (f"; {wrongs} of {bad.numel()} pairs are wrong" if bad.numel() > 1 else ""),
        because=because,
        looks_like=looks,
    )


# --- areas, shapes -------------------------------------------------------------------------------------


@check(
    "box_area is width times height",
    points=5,
    why="The union needs it, and here the convention shows: pixels that are counted, or a continuous plane.",
)
def test_area(sandbox):
    hand = torch.tensor([[0.0, 0.0, 2.0, 3.0], [1.0, 1.0, 4.0, 5.0], [-3.0, -2.0, -1.0, 2.0], [5.0, 5.0, 5.0, 9.0]])
    cases = [hand, _boxes(1, 0), _boxes(9, 1), torch.zeros(0, 4)]
    for boxes, found in zip(cases, sandbox.run(probes.areas, cases), strict=True):
        expect_shape(found, (len(boxes),), because="one area for each box.")
        rows = boxes.double().tolist()
        right = torch.tensor([(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in rows], dtype=torch.float64)
        guesses = {
            "x2 - x1 + 1: the old convention of counting pixels": [(c - a + 1) * (d - b + 1) for a, b, c, d in rows],
            "the last two numbers are taken for width and height; they are x2 and y2": [c * d for a, b, c, d in rows],
            "the sides are added, not multiplied": [c - a + d - b for a, b, c, d in rows],
            "x and y are mixed: the order is x1, y1, x2, y2": [(b - a) * (d - c) for a, b, c, d in rows],
        }
        looks = None
        for text, values in guesses.items():
            guess = torch.tensor(values, dtype=torch.float64)
            if torch.allclose(found.double(), guess) and not torch.allclose(guess, right):
                looks = text
        because = "a box reaches from x1 to x2, and is x2 - x1 wide: coordinates are positions, not counted pixels."
        expect_close(found, right, because=because, looks_like=looks)


@check(
    "Both tables have a row for each box of the first list and a column for each of the second",
    points=10,
    why="Matching takes the maximum along one axis; with the axes swapped, or for no boxes, it breaks far from here.",
)
def test_shape(sandbox):
    sizes = [(3, 5), (1, 4), (4, 1), (2, 2), (0, 4), (3, 0), (0, 0)]
    cases = [(_boxes(n, 10 + n), _boxes(m, 20 + m)) for n, m in sizes]
    for (n, m), found in zip(sizes, sandbox.run(probes.both, cases), strict=True):
        for name, table in found.items():
            looks = None
            got = tuple(table.shape) if type(table) is torch.Tensor else None
            if n != m and got == (m, n):
                looks = "the axes are swapped: boxes_a belongs to the rows"
            elif 1 in (n, m) and got == (n * m,):
                looks = "an axis of length 1 was squeezed away"
            elif got == (n * m,) and n * m:
                looks = "all pairs in one row: reshape it to (N, M)"
            elif n * m and got == (min(n, m),):
                looks = "box i was compared with box i only; every pair is asked for"
            because = f"{name} of {n} and {m} boxes: entry [i, j] compares boxes_a[i] with boxes_b[j]."
            expect_shape(table, (n, m), because=because, looks_like=looks)


# --- IoU -----------------------------------------------------------------------------------------------


@check(
    "box_iou of overlapping boxes is intersection over union",
    points=15,
    why="The definition itself. Half of all wrong answers have another denominator.",
)
def test_overlapping(sandbox):
    hand = (
        torch.tensor([[0.0, 0.0, 2.0, 2.0]]),
        torch.tensor([[1.0, 1.0, 3.0, 3.0], [0.0, 0.0, 2.0, 2.0], [0.5, 0.5, 1.5, 1.0], [-1.0, 0.0, 1.0, 4.0]]),
    )
    centre = torch.tensor([-50.0, -50.0, 50.0, 50.0])  # every box of these contains the origin
    crowd = [(torch.rand(n, 4, generator=torch.Generator().manual_seed(n)) + 0.1) * centre for n in (6, 9)]
    cases = [hand, tuple(crowd), (crowd[0] + 200, crowd[1] + 200)]
    for (a, b), found in zip(cases, sandbox.run(probes.ious, cases), strict=True):
        because = "IoU is the area that both cover over the area that at least one covers, counted once."
        _expect_table(found, _table(_iou, a, b), a, b, because=because, wrong=_WRONG_IOU)


@check(
    "Boxes that don't overlap have an IoU of 0",
    points=10,
    why="Most pairs in an image are disjoint. Unclamped, a far-away box in the diagonal looks like a good match.",
    after=["test_overlapping"],
)
def test_disjoint(sandbox):
    a = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    others = {
        "beside it": [14.0, 2.0, 20.0, 8.0],
        "below it": [1.0, 30.0, 9.0, 35.0],
        "diagonally away": [20.0, 25.0, 40.0, 45.0],
        "diagonally away, on the other side": [-40.0, -30.0, -20.0, -10.0],
        "touching an edge": [10.0, 0.0, 20.0, 10.0],
        "touching a corner": [10.0, 10.0, 12.0, 12.0],
    }
    cases = [(a, torch.tensor([other])) for other in others.values()]
    for name, (one, other), found in zip(others, cases, sandbox.run(probes.ious, cases), strict=True):
        because = f"the second box lies {name}: nothing is in both, whatever the signs of the differences."
        _expect_table(found, torch.zeros(1, 1, dtype=torch.float64), one, other, because=because, wrong=_WRONG_IOU)
    crowd = (_boxes(8, 30), _boxes(11, 31))
    (found,) = sandbox.run(probes.ious, [crowd])
    because = "among many boxes some pairs overlap and others don't."
    _expect_table(found, _table(_iou, *crowd), *crowd, because=because, wrong=_WRONG_IOU)


@check(
    "The functions of torchvision aren't used",
    points=5,
    why="The interviewer knows that the library has it, and asks whether you do.",
)
def test_own_work(sandbox):
    called = sandbox.run(probes.library_calls, _boxes(3, 40), _boxes(4, 41))
    expect(
        called == [],
        expected="no call into torchvision.ops",
        actual=f"called {', '.join(map(str, called))}" if called else "",
        because="this breaks a rule of the exercise; the values may well be right.",
    )


@check(
    "Moving, scaling, mirroring and swapping the boxes doesn't change their IoU",
    points=10,
    why="Boxes come in pixels or from 0 to 1; a threshold of 0.5 has to mean the same in both.",
    after=["test_disjoint"],
)
def test_invariances(sandbox):
    a, b = (_boxes(n, 50 + n, span=12.0, smallest=2.0, largest=8.0) for n in (6, 7))
    right = _table(_iou, a, b)
    mirror = torch.tensor([-1.0, 1.0, -1.0, 1.0])
    order = torch.tensor([2, 1, 0, 3])
    cases = {
        "moved by (-300, 70)": (a + torch.tensor([-300.0, 70.0] * 2), b + torch.tensor([-300.0, 70.0] * 2)),
        "scaled to coordinates from 0 to 1, in an image of 320 pixels": (a / 320, b / 320),
        "scaled to coordinates from 0 to 1, in an aerial photo of 8000 pixels": (a / 8000, b / 8000),
        "1000 times as large": (a * 1000, b * 1000),
        "mirrored": ((a * mirror)[:, order], (b * mirror)[:, order]),
        "with x and y exchanged": (a[:, [1, 0, 3, 2]], b[:, [1, 0, 3, 2]]),
    }
    tables = sandbox.run(probes.ious, [*cases.values(), (b, a), (a, a)])
    eps = {
        f"about {e:g} is added to the union: as much as the area of a small box in these units": lambda p, q, e=e: (
            _parts(p, q)[2] / (_parts(p, q)[3] + e)
        )
        for e in (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9)
    }
    for (name, (p, q)), found in zip(cases.items(), tables, strict=False):
        because = f"the boxes are {name}: every area changes by the same factor, so the ratio stays."
        _expect_table(found, right, p, q, because=because, wrong={**_WRONG_IOU, **eps}, rtol=1e-4, atol=2e-5)
    because = "box_iou(b, a) is box_iou(a, b) transposed: neither box comes first in an overlap."
    _expect_table(tables[-2], right.t(), b, a, because=because, wrong=_WRONG_IOU)
    because = "the overlap of a box with itself is 1."
    _expect_table(tables[-1], _table(_iou, a, a), a, a, because=because, wrong=_WRONG_IOU)


# --- GIoU ----------------------------------------------------------------------------------------------


@check(
    "generalized_box_iou subtracts the empty share of the hull",
    points=15,
    why="The first of the IoU losses; it tells near from far where IoU says 0 to both.",
    after=["test_disjoint"],
)
def test_giou(sandbox):
    hand = (
        torch.tensor([[0.0, 0.0, 2.0, 2.0]]),
        torch.tensor([[1.0, 1.0, 3.0, 3.0], [0.0, 0.0, 2.0, 2.0], [0.5, 0.5, 1.5, 1.0], [4.0, 0.0, 6.0, 1.0]]),
    )
    far = (torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([[500.0, 500.0, 501.0, 502.0], [-3.0, 0.0, -2.0, 1.0]]))
    crowd = (_boxes(7, 60), _boxes(9, 61))
    cases = [hand, far, crowd, (crowd[0] / 160, crowd[1] / 160), (crowd[1] - 120, crowd[0] - 120)]
    for (a, b), found in zip(cases, sandbox.run(probes.gious, cases), strict=True):
        because = "GIoU = IoU - (hull - union) / hull: 1 for equal boxes, towards -1 the farther they are apart."
        _expect_table(found, _table(_giou, a, b), a, b, because=because, wrong=_WRONG_GIOU)


@check(
    "Empty boxes give 0, not nan",
    points=10,
    why="Augmentation crops boxes to nothing. One nan in a table makes argmax and the whole loss nan.",
    after=["test_giou"],
)
def test_empty_boxes(sandbox):
    boxes = torch.tensor(
        [[3.0, 3.0, 3.0, 3.0], [3.0, 1.0, 3.0, 6.0], [2.0, 3.0, 9.0, 3.0], [8.0, 8.0, 8.0, 8.0], [0.0, 0.0, 5.0, 5.0]]
    )
    found = sandbox.run(probes.both, [(boxes, boxes), (boxes / 1000, boxes / 1000), (boxes[:1], boxes[:1])])
    for table, p in zip(found, (boxes, boxes / 1000, boxes[:1]), strict=True):
        because = "0 / 0 is 0 here: what covers nothing overlaps nothing."
        _expect_table(table["box_iou"], _table(_iou, p, p), p, p, because=because, what="IoU ")
        because = "in both fractions of GIoU 0 / 0 is 0; an empty pair in a hull with an area has -1."
        _expect_table(table["generalized_box_iou"], _table(_giou, p, p), p, p, because=because, what="GIoU ")


# --- types, inputs, gradients, cost --------------------------------------------------------------------


@check(
    "Half precision and integer boxes are computed in float32, float64 ones in float64",
    points=5,
    why="Under autocast boxes arrive in float16, where an area of 300 × 300 is infinite; labels come as integers.",
    after=["test_giou"],
)
def test_dtypes(sandbox):
    whole = _boxes(5, 70, span=60).round()
    signed = [[-100, -100, 100, 100], [-128, 0, 127, 50], [-10, -20, 30, 110], [-128, -128, -99, -90], [90, 9, 127, 99]]
    unsigned = [[0, 0, 10, 10], [200, 200, 250, 255], [5, 5, 220, 230], [100, 0, 140, 30], [240, 240, 255, 255]]
    kinds = [
        _boxes(5, 71).double(),
        (whole * 8).half(),  # sides up to 480, exact in float16
        _boxes(5, 72).half(),
        whole.bfloat16(),
        (_boxes(5, 73) * 8).bfloat16(),
        whole.long(),
        (whole * 2000).int(),
        torch.tensor(signed, dtype=torch.int8),
        torch.tensor(unsigned, dtype=torch.uint8),
    ]
    cases = [(boxes[:3], boxes[2:]) for boxes in kinds]
    for (a, b), found in zip(cases, sandbox.run(probes.every_type, cases), strict=True):
        name = str(a.dtype).removeprefix("torch.")
        dtype = torch.float64 if name == "float64" else torch.float32
        for function, table in found.items():
            because = f"{function} of {name} boxes is a {str(dtype).removeprefix('torch.')} tensor."
            expect_dtype(table, dtype, because=because)
            because = f"{function} of {name} boxes depends on the values, not on the type that they are stored in."
            tight = {"rtol": 1e-9, "atol": 1e-12} if name == "float64" else {"rtol": 1e-4, "atol": 1e-5}
            if function == "box_area":
                right = _table(lambda p, q: _parts(p, q)[0], a, b[:1])[:, 0]
            else:
                right = _table(_iou if function == "box_iou" else _giou, a, b)
            expect_close(table, right, because=because, looks_like=_computed_in(function, a, b, table), **tight)


def _computed_in(function, a, b, found):
    """The type that spoilt the numbers, where computing in it gives just these numbers."""
    name = str(a.dtype).removeprefix("torch.")
    if name == "float64":
        guesses = {"computed in float32 on the way": _in_type(function, a.float(), b.float())}
    else:
        guesses = {
            f"computed in {name}, which can't hold an area: convert before anything else": _in_type(function, a, b),
            f"the sides are subtracted in {name}, and converted too late: convert before anything else": _in_type(
                function, a, b, after_subtraction=torch.float32
            ),
        }
    for text, guess in guesses.items():
        if guess.shape == found.shape and torch.allclose(found.double(), guess, rtol=1e-6, equal_nan=True):
            return text
    return None


def _in_type(function, a, b, after_subtraction=None):
    """All pairs at once in the boxes' own type, or in another from the sides on."""
    kind = after_subtraction or a.dtype

    def size(low, high, least=None):
        sides = (high - low) if least is None else (high - low).clamp(min=least)
        sides = sides.to(kind)
        return sides[..., 0] * sides[..., 1]

    p, q = a[:, None], b[None]
    areas = size(a[:, :2], a[:, 2:]), size(b[:, :2], b[:, 2:])
    if function == "box_area":
        return areas[0].double()
    both = size(torch.maximum(p[..., :2], q[..., :2]), torch.minimum(p[..., 2:], q[..., 2:]), least=0)
    union = areas[0][:, None] + areas[1][None] - both
    value = both / union
    if function == "generalized_box_iou":
        hull = size(torch.minimum(p[..., :2], q[..., :2]), torch.maximum(p[..., 2:], q[..., 2:]))
        value = value - (hull - union) / hull
    return value.double()


@check(
    "The boxes stay as they are",
    points=5,
    why="The same boxes are needed afterwards, for the loss or for drawing.",
    after=["test_overlapping"],
)
def test_inputs_untouched(sandbox):
    a, b = _boxes(4, 80) - 50, _boxes(5, 81) - 50
    for name, given in sandbox.run(probes.inputs_afterwards, a, b).items():
        for which, before, after in zip(("boxes_a", "boxes_b"), (a, b), given, strict=True):
            changed = int((before != after).sum())
            expect(
                changed == 0,
                expected=f"{which} unchanged by {name}",
                actual=f"{changed} of {before.numel()} values changed in place",
                because="whoever uses the boxes next gets other boxes.",
                looks_like="an in-place operation on a slice of the argument; slices and .float() may share its memory",
            )


def _slow_gradient(name, a, b, weights):
    """The gradients of the weighted sum, one pair after the other with scalars."""
    a, b = a.double().requires_grad_(), b.double().requires_grad_()
    total = torch.zeros((), dtype=torch.float64)
    for i in range(len(a)):
        for j in range(len(b)):
            p, q = a[i], b[j]
            width = (torch.min(p[2], q[2]) - torch.max(p[0], q[0])).clamp(min=0)
            height = (torch.min(p[3], q[3]) - torch.max(p[1], q[1])).clamp(min=0)
            both = width * height
            union = (p[2] - p[0]) * (p[3] - p[1]) + (q[2] - q[0]) * (q[3] - q[1]) - both
            value = both / union
            if name == "generalized_box_iou":
                wide, high = (
                    torch.max(p[2], q[2]) - torch.min(p[0], q[0]),
                    torch.max(p[3], q[3]) - torch.min(p[1], q[1]),
                )
                value = value - (wide * high - union) / (wide * high)
            total = total + weights[i, j] * value
    return torch.autograd.grad(total, (a, b))


_SPOILT = {
    "0 / 0 was replaced after the division; replace the denominator before it": lambda part, whole: torch.where(
        whole > 0, part / whole, torch.zeros_like(whole)
    ),
    "the denominator is clamped at so small a number that dividing by it overflows; put 1 where it is 0": lambda p, w: (
        p / w.clamp(min=torch.finfo(w.dtype).tiny)
    ),
}


def _spoilt(name, boxes, pair):
    """The way to divide that makes the gradients of these boxes nan and infinite at just these places."""
    for text, divide in _SPOILT.items():
        a, b = boxes.clone().requires_grad_(), boxes.clone().requires_grad_()
        p, q = a[:, None], b[None]
        inner = (torch.minimum(p[..., 2:], q[..., 2:]) - torch.maximum(p[..., :2], q[..., :2])).clamp(min=0)
        outer = torch.maximum(p[..., 2:], q[..., 2:]) - torch.minimum(p[..., :2], q[..., :2])
        both, hull = inner[..., 0] * inner[..., 1], outer[..., 0] * outer[..., 1]
        area_a, area_b = ((t[:, 2] - t[:, 0]) * (t[:, 3] - t[:, 1]) for t in (a, b))
        union = area_a[:, None] + area_b[None] - both
        value = divide(both, union)
        if name == "generalized_box_iou":
            value = value - divide(hull - union, hull)
        guess = torch.autograd.grad(value.sum(), (a, b))
        if all(torch.equal(torch.isfinite(g), torch.isfinite(v)) for g, v in zip(guess, pair, strict=True)):
            return text
    return None


@check(
    "Gradients reach both lists of boxes, and are finite even for empty boxes",
    points=5,
    why="As a loss this is differentiated. A nan gradient of one cropped box ends a training run.",
    after=["test_empty_boxes", "test_inputs_untouched"],
)
def test_gradients(sandbox):
    g = torch.Generator().manual_seed(90)
    a, b = _boxes(4, 91).double(), _boxes(5, 92).double()
    lonely = (torch.tensor([[0.0, 0.0, 10.0, 10.0]]).double(), torch.tensor([[20.0, 30.0, 25.0, 41.0]]).double())
    cases = [(a, b, torch.rand(4, 5, generator=g).double()), (*lonely, torch.ones(1, 1).double())]
    empty = torch.tensor([[3.0, 3.0, 3.0, 3.0], [3.0, 1.0, 3.0, 6.0], [8.0, 8.0, 8.0, 8.0], [0.0, 0.0, 5.0, 5.0]])
    found = sandbox.run(probes.gradients, [*cases, (empty, empty, torch.ones(4, 4))])
    for case, row in zip(cases, found, strict=False):
        for name, pair in row.items():
            for which, value, right in zip(("boxes_a", "boxes_b"), pair, _slow_gradient(name, *case), strict=True):
                because = f"{name} has to be differentiable with respect to {which}."
                expect_tensor(value, because=because, looks_like="the graph is cut, by detach, .data or no_grad")
                looks = None
                if name == "generalized_box_iou" and len(case[0]) == 1 and not bool(value.any()):
                    looks = "no gradient from the hull, the very part that pulls disjoint boxes together"
                because = f"the gradient of a weighted sum of {name} with respect to {which}."
                expect_close(value, right, because=because, looks_like=looks, rtol=1e-5, atol=1e-9)
    for name, pair in found[-1].items():
        for which, value in zip(("boxes_a", "boxes_b"), pair, strict=True):
            expect_tensor(value, because=f"{name} has to be differentiable with respect to {which}.")
        for which, value in zip(("boxes_a", "boxes_b"), pair, strict=True):
            bad = int((~torch.isfinite(value)).sum())
            expect(
                bad == 0,
                expected=f"a finite gradient of {name} with respect to {which}, with empty boxes among them",
                actual=f"{bad} of {value.numel()} values are nan or infinite: {describe(value.flatten()[:8])}",
                because="backward goes through every division: a denominator of 0, or of nearly 0, shows in the"
                " gradient although the value was repaired.",
                looks_like=_spoilt(name, empty, pair) if bad else None,
            )


@check(
    "The work is done by a few tensor operations, not by a loop over boxes",
    points=5,
    why="100,000 anchors against 50 truths are five million pairs: a Python loop takes seconds for each image.",
    after=["test_overlapping"],
)
def test_cost(sandbox):
    found = sandbox.run(probes.cost, [(_boxes(6, 100), _boxes(5, 101)), (_boxes(60, 102), _boxes(50, 103))])
    for name, (few, many) in found.items():
        for what, said in (("operations", "tensor operations"), ("lines", "lines of Python")):
            expect(
                many[what] <= 1.5 * few[what] + 20,
                expected=f"about as many {said} in {name} for 60 and 50 boxes as for 6 and 5, {few[what]}",
                actual=f"{many[what]} {said}",
                because="the work by box has to be done inside a few tensor operations.",
                looks_like="a Python loop, or comprehension, over the boxes",
            )
