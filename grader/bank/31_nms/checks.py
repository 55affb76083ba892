"""Checks for NMS. The oracle goes through pairs of boxes in Python floats, written from the statement alone."""

from __future__ import annotations

import math
from functools import partial

import torch

from grader.checking import check, describe, expect, expect_close, expect_dtype, expect_shape, fail

from . import probes

# --- oracles -------------------------------------------------------------------------------------------


def _iou(a, b, extra=0.0):
    sides = [min(a[i + 2], b[i + 2]) - max(a[i], b[i]) + extra for i in (0, 1)]
    both = max(sides[0], 0.0) * max(sides[1], 0.0)
    areas = [(box[2] - box[0] + extra) * (box[3] - box[1] + extra) for box in (a, b)]
    union = sum(areas) - both
    return both / union if union > 0 else 0.0


def _order(scores):
    values = scores.tolist()
    return sorted(range(len(values)), key=lambda i: (-values[i], i))


def _greedy(boxes, scores, threshold, *, order=None, blockers="kept", strict=True, extra=0.0, same=None):
    """Greedy suppression; the keywords make it wrong on purpose, for naming misconceptions."""
    rows, kept, seen = boxes.double().tolist(), [], []
    for i in _order(scores) if order is None else order:
        rivals = [j for j in (kept if blockers == "kept" else seen) if same is None or same[j] == same[i]]
        ious = [_iou(rows[j], rows[i], extra) for j in rivals]
        if not any(v > threshold if strict else v >= threshold for v in ious):
            kept.append(i)
        seen.append(i)
    return kept


def _soft(boxes, scores, sigma=0.5, score_threshold=0.001, decay=None, inclusive=False):
    rows, now = boxes.double().tolist(), scores.double().tolist()
    decay = decay or (lambda v: math.exp(-v * v / sigma))
    waiting, kept, marks = list(range(len(now))), [], []
    while waiting:
        best = min(waiting, key=lambda i: (-now[i], i))
        if now[best] < score_threshold or (inclusive and now[best] == score_threshold):
            break
        waiting.remove(best)
        kept.append(best)
        marks.append(now[best])
        for i in waiting:
            now[i] *= decay(_iou(rows[best], rows[i]))
    return kept, marks


# --- inputs --------------------------------------------------------------------------------------------


def _crowd(n, seed, objects=4, spread=6.0, dtype=torch.float32):
    """n boxes around a few objects, as a detector gives them; all scores different, in no order."""
    g = torch.Generator().manual_seed(seed)
    centres = torch.rand(objects, 2, generator=g) * 120
    corner = centres[torch.randint(objects, (n,), generator=g)] + torch.randn(n, 2, generator=g) * spread
    boxes = torch.cat([corner, corner + 16 + torch.rand(n, 2, generator=g) * 16], dim=1)
    scores = (torch.randperm(n, generator=g) + 1).to(dtype) / (n + 1)
    return boxes.to(dtype), scores


def _wrong_greedy(boxes, scores, threshold):
    """By misconception, the indices that it would keep."""
    ascending = _order(-scores)
    right = _greedy(boxes, scores, threshold)
    return {
        "the lowest scores come first": _greedy(boxes, scores, threshold, order=ascending),
        "the boxes are taken in the order given, not by score": _greedy(
            boxes, scores, threshold, order=range(len(scores))
        ),
        "among equal scores the larger index comes first": _greedy(
            boxes, scores, threshold, order=_ties_reversed(scores)
        ),
        "boxes that were dropped drop others: compare with the kept ones only": _greedy(
            boxes, scores, threshold, blockers="all"
        ),
        "an IoU equal to the threshold suppresses; it has to be greater": _greedy(
            boxes, scores, threshold, strict=False
        ),
        "x2 - x1 + 1 in the areas: the old convention of counting pixels": _greedy(boxes, scores, threshold, extra=1.0),
        "nothing is suppressed": _order(scores),
        "only the best box is kept": right[:1],
        "the right boxes, but ordered by index instead of score": sorted(right),
        "the right boxes, but with the worst one first": right[::-1],
        "places in the sorted list instead of indices into the boxes": sorted(_order(scores).index(i) for i in right),
        "the boxes that are dropped, instead of those kept": [i for i in _order(scores) if i not in right],
    }


def _expect_indices(found, right, because, wrong=dict):
    """A (K,) int64 tensor of exactly these indices in this order.

    `wrong` returns what misconceptions give: a dict, or pairs that are computed one after the other.
    """
    looks = None
    if type(found) is torch.Tensor and found.dtype == torch.bool:
        looks = "a mask: indices are asked for, in the order of the scores"
    elif type(found) is torch.Tensor and found.dim() == 2 and found.shape[-1] == 4:
        looks = "the boxes themselves: their indices are asked for"
    elif isinstance(found, list):
        looks = "a Python list: return torch.tensor(kept, dtype=torch.int64)"
    if type(found) is not torch.Tensor or found.dim() != 1:
        fail(expected="a (K,) int64 tensor of indices", actual=describe(found), because=because, looks_like=looks)
    if looks is None and found.dtype.is_floating_point and not len(found):
        looks = "torch.tensor([]) is a float tensor: give it dtype=torch.int64"
    expect_dtype(found, torch.int64, because="indices are int64: only those index a tensor.", looks_like=looks)
    got = found.tolist()
    if got == right:
        return
    guesses = wrong()
    pairs = guesses.items() if isinstance(guesses, dict) else guesses
    looks = next((text for text, guess in pairs if guess == got), None)
    if looks is None and len(set(got)) < len(got):
        looks = "an index appears twice"
    fail(expected=_listed(right), actual=_listed(got), because=because, looks_like=looks)


def _listed(indices):
    shown = ", ".join(map(str, indices[:14]))
    return f"[{shown}{', …' if len(indices) > 14 else ''}] ({len(indices)} boxes)"


# --- nms -----------------------------------------------------------------------------------------------

ROW = torch.tensor([[0.0, 0.0, 4.0, 4.0], [1.0, 0.0, 5.0, 4.0], [2.5, 0.0, 6.5, 4.0]])


@check(
    "nms returns int64 indices into the boxes",
    points=5,
    why="Indices let the caller select scores, classes and masks as well; the boxes alone lose all that.",
)
def test_indices(sandbox):
    apart = torch.tensor([[0.0, 0.0, 4.0, 4.0], [10.0, 0.0, 14.0, 4.0], [20.0, 0.0, 24.0, 4.0]])
    one = (apart[:1], torch.tensor([0.5]), 0.5)
    falling = (apart, torch.tensor([0.9, 0.8, 0.7]), 0.5)
    found = sandbox.run(probes.greedy, [one, falling])
    _expect_indices(found[0], [0], "a single box is kept.")
    _expect_indices(found[1], [0, 1, 2], "boxes that don't overlap are all kept.", partial(_wrong_greedy, *falling))


def _wrong_order(boxes, scores, threshold, found):
    wrong = _wrong_greedy(boxes, scores, threshold)
    same = sorted(found.tolist()) == sorted(_greedy(boxes, scores, threshold))
    if same and bool((scores[found].diff() <= 0).all()):  # by falling score, so that only the ties are wrong
        wrong["an unstable sort leaves the order of ties open: pass stable=True"] = found.tolist()
    return wrong


@check(
    "The kept boxes come best first, the smaller index first among equals",
    points=10,
    why="Callers take keep[:100]. And without a rule for ties two machines give two results.",
    after=["test_indices"],
)
def test_order(sandbox):
    grid = torch.tensor([[20.0 * i, 0.0, 20.0 * i + 9, 9.0] for i in range(40)])
    mixed = torch.tensor([0.3, 0.9, 0.1, 0.7, 0.5])
    tied = torch.tensor([0.5, 0.9, 0.5, 0.9, 0.5, 0.2, 0.9])
    same = torch.full((40,), 0.25)
    halves = (1 + torch.arange(40) % 2) / 2
    cases = [(grid[:5], mixed, 0.5), (grid[:7], tied, 0.5), (grid, same, 0.5), (grid, halves, 0.5)]
    what = ["five boxes apart", "seven boxes apart, three scores", "forty equal scores", "scores of 0.5 and 1 in turn"]
    for text, case, found in zip(what, cases, sandbox.run(probes.greedy, cases), strict=True):
        because = f"({text}) by falling score; among equal scores the smaller index comes first."
        wrong = partial(_wrong_order, *case, found)
        _expect_indices(found, _greedy(*case), because, wrong)


@check(
    "A box is dropped when it overlaps a better one by more than the threshold",
    points=10,
    why="The definition: every kept pair is below the threshold, every dropped box has a kept one that explains it.",
    after=["test_indices"],
)
def test_suppression(sandbox):
    two = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 7.0]])  # IoU 0.7
    small = torch.tensor([[0.0, 0.0, 4.0, 4.0], [2.0, 0.0, 6.0, 4.0]])  # IoU 1/3, and 0.43 with "+ 1"
    inner = torch.tensor([[0.0, 0.0, 20.0, 20.0], [5.0, 5.0, 10.0, 10.0]])  # contained, IoU 1/16
    apart = torch.tensor([[0.0, 0.0, 5.0, 5.0], [5.5, 0.0, 9.0, 5.0]])
    up, down = torch.tensor([0.4, 0.8]), torch.tensor([0.8, 0.4])
    cases = [(two, down, 0.5), (two, up, 0.5), (two, up, 0.8), (small, up, 0.4), (inner, down, 0.5), (apart, up, 0.1)]
    cases += [(two, torch.tensor([-3.0, -1.0]), 0.5), (two + torch.tensor([-30.0, -40.0] * 2), up, 0.5)]
    cases += [(two / 100, up, 0.5), (small / 100, up, 0.4)]  # coordinates from 0 to 1
    for case, found in zip(cases, sandbox.run(probes.greedy, cases), strict=True):
        boxes, scores, threshold = case
        iou = _iou(*boxes.tolist())
        because = f"two boxes with an IoU of {iou:.3g}, scores {describe(scores.tolist())}, threshold {threshold}."
        _expect_indices(found, _greedy(*case), because, partial(_wrong_greedy, *case))


@check(
    "Only boxes that are kept suppress others",
    points=15,
    why="The heart of greedy NMS, and its most frequent mistake: a dropped box must not take its neighbour along.",
    after=["test_suppression"],
)
def test_chain(sandbox):
    chain = torch.tensor([[3.0 * i, 0.0, 3.0 * i + 10.0, 10.0] for i in range(6)])  # neighbours 0.54, next 0.25
    falling = torch.linspace(0.9, 0.4, 6)
    cases = [(chain[:3], falling[:3], 0.5), (chain, falling, 0.5), (chain, falling[[2, 0, 4, 1, 5, 3]], 0.3)]
    cases += [(*_crowd(n, 10 + n), t) for n, t in ((17, 0.5), (40, 0.3), (40, 0.7), (60, 0.45))]
    found = sandbox.run(probes.greedy, cases)
    for case, keep in zip(cases, found, strict=True):
        n = len(case[1])
        because = f"{n} boxes in a row, each overlapping its neighbours" if n < 10 else f"{n} boxes, several by object"
        because += f", threshold {case[2]}. A box that a better one has dropped plays no part any more."
        _expect_indices(keep, _greedy(*case), because, partial(_wrong_greedy, *case))
    left = [(boxes[keep], scores[keep], t) for (boxes, scores, t), keep in zip(cases, found, strict=True)]
    for case, keep in zip(left, sandbox.run(probes.greedy, left), strict=True):
        because = "what survived survives a second time: no two of the kept boxes overlap too much."
        _expect_indices(keep, list(range(len(case[1]))), because, partial(_wrong_greedy, *case))


@check(
    "An IoU equal to the threshold doesn't suppress; empty and equal boxes are no special case",
    points=5,
    why="Thresholds of 0 and 1 and boxes cropped to nothing show what the comparison really says.",
    after=["test_suppression"],
)
def test_limits(sandbox):
    half = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 1.0]])  # IoU 0.5, exact
    twins = half[[0, 0, 0]]
    touching = torch.tensor([[0.0, 0.0, 2.0, 2.0], [2.0, 0.0, 4.0, 2.0], [5.0, 5.0, 6.0, 6.0]])
    points = torch.tensor([[3.0, 3.0, 3.0, 3.0], [3.0, 3.0, 3.0, 3.0], [0.0, 0.0, 9.0, 9.0], [4.0, 0.0, 4.0, 9.0]])
    cases = {
        "an IoU of 0.5 and a threshold of 0.5": (half, torch.tensor([0.5, 0.9]), 0.5),
        "an IoU of 0.5 and a threshold of 0.499": (half, torch.tensor([0.5, 0.9]), 0.499),
        "three equal boxes, threshold 1": (twins, torch.tensor([0.5, 0.9, 0.7]), 1.0),
        "three equal boxes, threshold 0.99": (twins, torch.tensor([0.5, 0.9, 0.7]), 0.99),
        "four equal boxes with equal scores: the first stays": (half[[0, 0, 0, 0]], torch.full((4,), 0.8), 0.5),
        "boxes that touch, threshold 0": (touching, torch.tensor([0.5, 0.9, 0.7]), 0.0),
        "points and lines, whose IoU is 0": (points, torch.tensor([0.5, 0.9, 0.7, 0.1]), 0.3),
        "float64": (half.double(), torch.tensor([0.5, 0.9]).double(), 0.5),
    }
    for (text, case), found in zip(cases.items(), sandbox.run(probes.greedy, list(cases.values())), strict=True):
        because = f"({text}) dropped is what overlaps by more than the threshold."
        _expect_indices(found, _greedy(*case), because, partial(_wrong_greedy, *case))


@check(
    "The functions of torchvision aren't used",
    points=5,
    why="The interviewer knows that the library has it, and asks whether you do.",
)
def test_own_work(sandbox):
    boxes, scores = _crowd(8, 20)
    called = sandbox.run(probes.library_calls, boxes, scores, torch.tensor([0, 1] * 4))
    expect(
        called == [],
        expected="no call into torchvision.ops",
        actual=f"called {', '.join(map(str, called))}" if called else "",
        because="this breaks a rule of the exercise; the values may well be right.",
    )


# --- batched_nms ---------------------------------------------------------------------------------------


def _wrong_batched(boxes, scores, classes, threshold):
    """Misconceptions and what each would keep, one after the other: some cost more than the check itself."""
    numbers = classes.tolist()
    right = _greedy(boxes, scores, threshold, same=numbers)
    grouped = sorted(right, key=lambda i: (numbers[i], right.index(i)))
    yield "the class is ignored: boxes of different classes suppress each other", _greedy(boxes, scores, threshold)
    yield "class after class; one common order by score is asked for", grouped
    yield "ordered by index instead of score", sorted(right)
    yield (
        "among equal scores the larger index comes first",
        _greedy(boxes, scores, threshold, order=_ties_reversed(scores), same=numbers),
    )
    groups = [torch.tensor([i for i, c in enumerate(numbers) if c == number]) for number in sorted(set(numbers))]
    places = [i for own in groups for i in _greedy(boxes[own], scores[own], threshold)]
    yield "places within the class instead of indices into the whole list", [i for i in _order(scores) if i in places]
    yield (
        "the class number itself is the offset: too little to move the boxes apart",
        _greedy(boxes + classes[:, None], scores, threshold),
    )
    compact = classes.unique(return_inverse=True)[1]
    by_largest, by_extent = boxes.max() + 1, boxes.max() - boxes.min() + 1

    def moved(factors, offset, dtype):
        return _greedy(boxes.to(dtype) + factors[:, None].to(dtype) * offset.to(dtype), scores, threshold)

    for factors in (classes, compact):
        text = "the offset is the largest coordinate; with negative ones the classes still meet"
        yield text, moved(factors, by_largest, torch.float64)
    for factors in (classes, compact):
        for offset in (by_extent, by_largest):
            text = "the boxes are moved so far apart that float32 rounds their coordinates"
            yield text, moved(factors, offset, torch.float32)
    yield "only boxes of different classes suppress each other", _greedy_other(boxes, scores, threshold, numbers)


def _ties_reversed(scores):
    values = scores.tolist()
    return sorted(range(len(values)), key=lambda i: (-values[i], -i))


def _greedy_other(boxes, scores, threshold, numbers):
    rows, kept = boxes.double().tolist(), []
    for i in _order(scores):
        if not any(numbers[j] != numbers[i] and _iou(rows[j], rows[i]) > threshold for j in kept):
            kept.append(i)
    return kept


@check(
    "batched_nms suppresses within a class only, and returns one order",
    points=10,
    why="A person on a bicycle: two classes, two boxes, nearly the same place, both right.",
    after=["test_chain"],
)
def test_classes(sandbox):
    twins = ROW[[0, 0, 0, 0]]
    cases = [
        (twins, torch.tensor([0.6, 0.9, 0.7, 0.8]), torch.tensor([1, 0, 0, 1]), 0.5),
        (ROW, torch.tensor([0.7, 0.9, 0.8]), torch.tensor([7, 7, 3]), 0.3),
        (twins, torch.full((4,), 0.5), torch.tensor([2, 1, 2, 1]), 0.5),
    ]
    for n, k in ((25, 3), (50, 5)):
        boxes, scores = _crowd(n, 30 + n)
        cases.append((boxes, scores, torch.randint(k, (n,), generator=torch.Generator().manual_seed(n)), 0.4))
    cases.append((cases[-1][0], cases[-1][1], torch.zeros(50, dtype=torch.int64), 0.4))
    for case, found in zip(cases, sandbox.run(probes.by_class, cases), strict=True):
        boxes, scores, classes, threshold = case
        because = f"{len(scores)} boxes of {classes.unique().numel()} classes, threshold {threshold}."
        right = _greedy(boxes, scores, threshold, same=classes.tolist())
        _expect_indices(found, right, because, partial(_wrong_batched, *case))


def _many_classes(classes=150, size=4000.0, threshold=0.45):
    """Two small boxes of each class, somewhere in a large image; no IoU is close to the threshold."""
    g = torch.Generator().manual_seed(77)
    corner = torch.rand(classes, 2, generator=g) * (size - 4)
    first = torch.cat([corner, corner + 1 + torch.rand(classes, 2, generator=g)], dim=1)
    shift = (torch.rand(classes, 1, generator=g) * 0.8).expand(-1, 4)
    second = first + shift * torch.tensor([1.0, 0.0, 1.0, 0.0])
    clear = [abs(_iou(p, q) - threshold) > 0.004 for p, q in zip(first.tolist(), second.tolist(), strict=True)]
    boxes = torch.cat([first[torch.tensor(clear)], second[torch.tensor(clear)]])
    scores = (torch.randperm(len(boxes), generator=g) + 1.0) / (len(boxes) + 1)
    return boxes, scores, torch.arange(classes)[torch.tensor(clear)].repeat(2), threshold


@check(
    "Negative coordinates and any class numbers are fine",
    points=5,
    why="The trick with offsets by class breaks on boxes that stick out of the image, and on large numbers.",
    after=["test_chain"],
)
def test_class_numbers(sandbox):
    numbers = {
        "boxes left of and above the origin": (torch.tensor([0, 1, 2]), -150.0),
        "boxes on both sides of the origin": (torch.tensor([0, 1]), -60.0),
        "negative class numbers": (torch.tensor([-1, 5, -100]), 0.0),
        "class numbers of millions": (torch.tensor([3, 4_000_037, 90_000_001]), 0.0),
        "class numbers near 2**40": (torch.tensor([2**40, 2**40 + 1]), 0.0),
    }
    cases = []
    for i, (pool, moved) in enumerate(numbers.values()):
        boxes, scores = _crowd(30, 60 + i, objects=3)
        g = torch.Generator().manual_seed(70 + i)
        cases.append((boxes + moved, scores, pool[torch.randint(len(pool), (30,), generator=g)], 0.4))
    # Two classes whose boxes lie exactly where an offset of the largest coordinate + 1 would make them meet.
    low, high = [-21.0, -21.0, -1.0, -1.0], [-10.0, -10.0, 10.0, 10.0]
    boxes = torch.tensor([low, [0.0, 0.0, 10.0, 10.0], high])
    cases.append((boxes, torch.tensor([0.9, 0.8, 0.7]), torch.tensor([1, 0, 0]), 0.3))
    cases.append(_many_classes())
    names = [*numbers, "three boxes, two classes, around the origin", "150 classes in an image of 4000 pixels"]
    for name, case, found in zip(names, cases, sandbox.run(probes.by_class, cases), strict=True):
        right = _greedy(*case[:2], case[3], same=case[2].tolist())
        because = f"({name}) whether two boxes are of one class doesn't depend on its number or on where they lie."
        _expect_indices(found, right, because, partial(_wrong_batched, *case))


# --- soft_nms ------------------------------------------------------------------------------------------


def _wrong_soft(boxes, scores, sigma=0.5, score_threshold=0.001):
    """By misconception, (indices, scores)."""
    values = scores.double().tolist()
    fixed_order = _order(scores)
    rows, now, marks = boxes.double().tolist(), list(values), []
    for place, i in enumerate(fixed_order):
        marks.append(now[i])
        for j in fixed_order[place + 1 :]:
            now[j] *= math.exp(-(_iou(rows[i], rows[j]) ** 2) / sigma)
    right = _soft(boxes, scores, sigma, score_threshold)
    decays = {
        "the IoU isn't squared": lambda v: math.exp(-v / sigma),
        "sigma is squared": lambda v: math.exp(-v * v / sigma**2),
        "divided by 2·sigma²": lambda v: math.exp(-v * v / (2 * sigma**2)),
        "multiplied by sigma instead of divided": lambda v: math.exp(-v * v * sigma),
        "the linear decay, 1 - IoU": lambda v: 1 - v,
        "nothing decays": lambda v: 1.0,
    }
    wrong = {text: _soft(boxes, scores, sigma, score_threshold, decay) for text, decay in decays.items()}
    wrong["sorted once at the start; the order changes as the scores fall"] = (fixed_order, marks)
    again = [i for i in sorted(fixed_order, key=lambda i: (-now[i], i)) if now[i] >= score_threshold]
    text = "lowered in the order of the original scores, and sorted again at the end; the order changes on the way"
    wrong[text] = (again, [now[i] for i in again])
    wrong["a score equal to the threshold stops it; it has to be below"] = _soft(
        boxes, scores, sigma, score_threshold, inclusive=True
    )
    wrong["the original scores are returned"] = (right[0], [values[i] for i in right[0]])
    wrong["nothing is left out: the score threshold isn't used"] = _soft(boxes, scores, sigma, -math.inf)
    for itself in (False, True):
        lowered = _soft_marked(boxes, scores, sigma, score_threshold, itself=itself)
        wrong["a score that was picked is lowered by the boxes picked later" + " " * itself] = lowered
    for mark in (0.0, -1.0):
        text = f"picked boxes are marked by a score of {mark:g}, which another box can really have"
        wrong[text] = _soft_marked(boxes, scores, sigma, score_threshold, mark=mark)
        wrong[text + " "] = _soft_masked(boxes, scores, sigma, score_threshold, mark)
    wrong["the best box changes places with the first one left, which reorders equal ones"] = _soft_swapped(
        boxes, scores, sigma, score_threshold
    )
    return wrong


def _soft_marked(boxes, scores, sigma, score_threshold, *, itself=False, mark=None):
    """Wrong on purpose: every score is lowered in each round; `mark` is what tells those picked, None for a set."""
    rows, now, kept, marks = boxes.double().tolist(), scores.double().tolist(), [], []
    for _ in now:
        waiting = [i for i in range(len(now)) if mark is not None or i not in kept]
        best = min(waiting, key=lambda i: (-now[i], i))
        if now[best] < score_threshold:
            break
        kept.append(best)
        marks.append(now[best])
        for i in range(len(now)):
            if i != best or itself:
                now[i] *= math.exp(-(_iou(rows[best], rows[i]) ** 2) / sigma)
        if mark is not None:
            now[best] = mark
    return kept, marks if mark is not None else [now[i] for i in kept]


def _soft_masked(boxes, scores, sigma, score_threshold, mark):
    """As with a mark, but the mark stands in for the score only while the best one is looked for."""
    rows, now, kept, marks = boxes.double().tolist(), scores.double().tolist(), [], []
    for _ in now:
        best = min(range(len(now)), key=lambda i: (-(mark if i in kept else now[i]), i))
        if now[best] < score_threshold:
            break
        kept.append(best)
        marks.append(now[best])
        for i in set(range(len(now))) - set(kept):
            now[i] *= math.exp(-(_iou(rows[best], rows[i]) ** 2) / sigma)
    return kept, marks


def _soft_swapped(boxes, scores, sigma, score_threshold):
    rows, now, order = boxes.double().tolist(), scores.double().tolist(), list(range(len(scores)))
    for k in range(len(now)):
        best = max(range(k, len(now)), key=lambda j: (now[j], -j))
        if now[best] < score_threshold:
            return order[:k], now[:k]
        for values in (now, order):
            values[k], values[best] = values[best], values[k]
        for j in range(k + 1, len(now)):
            now[j] *= math.exp(-(_iou(rows[order[k]], rows[order[j]]) ** 2) / sigma)
    return order, now


def _is(keep, marks, indices, values):
    given = torch.tensor(values, dtype=torch.float64)
    return indices == keep.tolist() and marks.shape == given.shape and torch.allclose(marks.double(), given, atol=1e-6)


def _expect_soft(found, case, because):
    boxes, scores, options = case
    if not isinstance(found, (tuple, list)) or len(found) != 2:
        fail(expected="two tensors, (keep, new_scores)", actual=describe(found), because="soft_nms returns both.")
    keep, marks = found
    tensors = type(keep) is torch.Tensor and type(marks) is torch.Tensor
    if tensors and keep.is_floating_point() and marks.dtype == torch.int64:
        fail(
            expected="(keep, new_scores), the indices first",
            actual=f"({describe(keep)}, {describe(marks)})",
            because="soft_nms returns both, in this order.",
            looks_like="the scores come first",
        )
    right, values = _soft(boxes, scores, **options)
    looks = None
    if tensors and keep.dim() == marks.dim() == 1 and not _is(keep, marks, right, values):
        for text, (indices, guess) in _wrong_soft(boxes, scores, **options).items():
            if _is(keep, marks, indices, guess):
                looks = text.strip()
                break
    _expect_indices(keep, right, because, lambda: {looks: keep.tolist()})
    expect_shape(marks, (len(right),), because="one score for each index.")
    expect_dtype(marks, scores.dtype, because="new_scores has the type of the scores given.")
    expect_close(marks, torch.tensor(values).double(), because=because, looks_like=looks, rtol=1e-4, atol=1e-6)


@check(
    "soft_nms lowers the scores of overlapping boxes by exp(-iou² / sigma) and picks anew each time",
    points=10,
    why="A lowered neighbour can still be found, where greedy NMS loses it. The order changes while it runs.",
)
def test_soft(sandbox):
    cases = [(ROW, torch.tensor([0.7, 0.9, 0.8]), {}), (ROW[:1], torch.tensor([0.4]), {})]
    for i, (n, options) in enumerate([(6, {}), (12, {"sigma": 0.3}), (12, {"sigma": 2.0}), (30, {"sigma": 0.5})]):
        cases.append((*_crowd(n, 80 + i, objects=2), {**options, "score_threshold": 1e-6}))
    for case, found in zip(cases, sandbox.run(probes.soft, cases), strict=True):
        shown = ", ".join(f"{k}={v}" for k, v in case[2].items()) or "the defaults"
        because = f"{len(case[1])} boxes with {shown}: each picked box multiplies the scores of those still waiting."
        _expect_soft(found, case, because)


@check(
    "Among equal current scores soft_nms picks the smaller index, and it picks each box once",
    points=5,
    why="Boxes already picked have to be told apart by more than a score, and swapping them about reorders ties.",
    after=["test_soft"],
)
def test_soft_ties(sandbox):
    apart = torch.tensor([[20.0 * i, 0.0, 20.0 * i + 9, 9.0] for i in range(12)])
    few = torch.tensor([0.5, 0.2, 0.8, 0.5, 0.2, 0.8, 0.2, 0.5, 0.5, 0.8, 0.2, 0.8])
    middle = torch.tensor([[0.0, 0.0, 4.0, 4.0], [2.0, 0.0, 6.0, 4.0], [50.0, 0.0, 54.0, 4.0], [1.0, 0.0, 5.0, 4.0]])
    cases = {
        "six boxes apart, all with one score": (apart[:6], torch.full((6,), 0.5), {}),
        "three boxes apart, the best one last": (apart[:3], torch.tensor([0.5, 0.5, 0.9]), {}),
        "twelve boxes apart, three scores": (apart, few, {}),
        "twins with equal scores": (ROW[[0, 0, 1, 2]], torch.full((4,), 0.6), {}),
        "two boxes that the third lowers by the same factor": (middle, torch.tensor([0.6, 0.6, 0.1, 0.9]), {}),
        "scores of 0 and a threshold below": (apart[:4], torch.tensor([0.0, 0.5, 0.0, 0.7]), {"score_threshold": -0.1}),
        "a tiny sigma, which lowers scores to 0, and a threshold below it": (
            ROW[[0, 0, 1, 2]],
            torch.tensor([0.5, 0.9, 0.2, 0.05]),
            {"sigma": 1e-5, "score_threshold": -0.1},
        ),
        "negative scores, logits for instance, and a threshold of -5": (
            apart[:4],
            torch.tensor([-0.5, 0.3, -3.0, -2.0]),
            {"score_threshold": -5.0},
        ),
    }
    for (text, case), found in zip(cases.items(), sandbox.run(probes.soft, list(cases.values())), strict=True):
        _expect_soft(found, case, f"({text}) the highest current score not yet picked, then the smaller index.")


@check(
    "soft_nms stops at the score threshold, and takes empty boxes",
    points=5,
    why="Without the stop every box comes back; with a wrong one good boxes are lost.",
    after=["test_soft"],
)
def test_soft_limits(sandbox):
    twins = ROW[[0, 0, 1, 2]]
    apart = torch.tensor([[20.0 * i, 0.0, 20.0 * i + 9, 9.0] for i in range(4)])
    points = torch.tensor([[3.0, 3.0, 3.0, 3.0], [3.0, 3.0, 3.0, 3.0], [0.0, 0.0, 9.0, 9.0], [3.0, 0.0, 3.0, 9.0]])
    some = torch.tensor([0.5, 0.9, 0.2, 0.05])
    cases = {
        "a threshold of 0.3": (ROW, torch.tensor([0.7, 0.9, 0.8]), {"score_threshold": 0.3}),
        "a threshold of 0.4, under which the third box falls": (
            ROW,
            torch.tensor([0.7, 0.9, 0.8]),
            {"score_threshold": 0.4},
        ),
        "a score equal to the threshold": (apart[:3], torch.tensor([0.5, 0.25, 0.125]), {"score_threshold": 0.25}),
        "the default threshold of 0.001": (apart[:4], torch.tensor([0.9, 0.0012, 0.0008, 0.0011]), {}),
        "a tiny sigma: whatever overlaps goes": (twins, some, {"sigma": 1e-4}),
        "points and lines, whose IoU is 0": (points, some, {}),
        "every score below the threshold": (ROW, torch.tensor([0.1, 0.2, 0.3]), {"score_threshold": 0.5}),
        "float64": (*_crowd(15, 90, objects=2, dtype=torch.float64), {"score_threshold": 0.05}),
    }
    for (text, case), found in zip(cases.items(), sandbox.run(probes.soft, list(cases.values())), strict=True):
        because = f"({text}) it goes on while the highest current score is at least the threshold, and boxes wait."
        _expect_soft(found, case, because)


# --- nothing, inputs, cost -----------------------------------------------------------------------------


@check(
    "No boxes, no indices: an empty int64 tensor from each of the three",
    points=5,
    why="An image without detections comes by in every data set, and torch.tensor([]) is a float tensor.",
    after=["test_indices"],
)
def test_nothing(sandbox):
    nothing = [
        (torch.zeros(0, 4, dtype=kind), torch.zeros(0, dtype=kind), torch.zeros(0, dtype=torch.int64))
        for kind in (torch.float32, torch.float64)
    ]
    found = sandbox.run(probes.without_boxes, nothing)
    for name in ("nms", "batched_nms"):
        for keep in found[name]:
            _expect_indices(keep, [], f"({name} without boxes) no boxes, nothing kept: that is nothing special.")
    for (boxes, scores, _), pair in zip(nothing, found["soft_nms"], strict=True):
        kind = str(scores.dtype).removeprefix("torch.")
        _expect_soft(pair, (boxes, scores, {}), f"(soft_nms without boxes, scores in {kind}) nothing is picked.")


@check(
    "The boxes, scores and classes stay as they are",
    points=5,
    why="soft_nms lowers scores: on a copy, or the caller's own are gone.",
    after=["test_indices"],
)
def test_inputs_untouched(sandbox):
    boxes, scores = _crowd(12, 95, objects=2)
    boxes = boxes - 60  # some coordinates are negative
    classes = torch.tensor([0, 1, 2] * 4)
    for name, given in sandbox.run(probes.inputs_afterwards, boxes, scores, classes).items():
        whose = zip(("boxes", "scores", "classes"), (boxes, scores, classes), given, strict=False)
        for which, before, after in whose:
            changed = int((before != after).sum())
            expect(
                changed == 0,
                expected=f"{which} unchanged by {name}",
                actual=f"{changed} of {before.numel()} values changed in place",
                because="the caller reads the same tensor afterwards.",
                looks_like="an in-place operation on the argument: clone it first",
            )


@check(
    "One box is compared with all others at once, not pair by pair",
    points=5,
    why="A thousand boxes are half a million pairs: in a Python loop that is seconds for each image.",
    after=["test_indices"],
)
def test_cost(sandbox):
    sizes = (12, 48)
    cases = []
    for n in sizes:
        boxes = torch.tensor([[20.0 * i, 0.0, 20.0 * i + 15, 9.0] for i in range(n)])  # apart: all are kept
        scores = (torch.randperm(n, generator=torch.Generator().manual_seed(n)) + 1.0) / (n + 1)
        cases.append((boxes, scores, torch.arange(n) % 3))
    factor = sizes[1] / sizes[0]
    for name, (few, many) in sandbox.run(probes.cost, cases).items():
        for what, said in (("operations", "tensor operations"), ("lines", "lines of Python")):
            expect(
                many[what] <= 1.5 * factor * few[what] + 40,
                expected=f"{said} of {name} to grow about {factor:.0f} times from {sizes[0]} to {sizes[1]} boxes, "
                f"from {few[what]}",
                actual=f"{many[what]} {said}",
                because="one loop over the boxes is fine; a second one inside it makes the cost quadratic in Python.",
                looks_like="a loop over pairs of boxes",
            )
