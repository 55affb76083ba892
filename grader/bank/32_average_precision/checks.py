"""Checks for average precision. The oracles follow the statement step by step, in Python floats and fractions."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import partial
from itertools import pairwise

import torch

from grader.checking import check, describe, expect, expect_dtype, expect_equal, expect_shape, expect_type, fail

from . import probes

NAN = float("nan")
TEN = [0.5 + 0.05 * k for k in range(10)]
FLOAT = "a metric goes into logs, JSON and comparisons: it has to be a Python float."

# --- oracles -------------------------------------------------------------------------------------------


def _iou(a, b):
    sides = [min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1)]
    both = max(sides[0], 0.0) * max(sides[1], 0.0)
    union = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)) - both
    return both / union if union > 0 else 0.0


def _order(scores):
    values = scores.tolist()
    return sorted(range(len(values)), key=lambda i: (-values[i], i))


def _match(boxes, scores, truths, threshold=0.5, *, rule="free", order=None, strict=False, last=False):
    """By the statement; the keywords make it wrong on purpose, for naming misconceptions."""
    rows, wanted = boxes.double().tolist(), truths.double().tolist()
    taken, hits = set(), [False] * len(rows)
    for i in _order(scores) if order is None else order:
        ious = [_iou(rows[i], t) for t in wanted]
        free = [j for j in range(len(wanted)) if rule in ("best of all", "again and again") or j not in taken]
        if rule == "first that fits":
            free = [j for j in free if ious[j] >= threshold][:1]
        if not free:
            continue
        best = max(free, key=lambda j: (ious[j], j if last else -j))
        enough = ious[best] > threshold if strict else ious[best] >= threshold
        if enough and (best not in taken or rule == "again and again"):
            hits[i] = True
            taken.add(best)
        elif rule == "taken by misses":
            taken.add(best)
    return hits


def _ap(scores, hits, num, points=None, *, order=None, envelope=True, first=0):
    """By the statement, in fractions; the keywords make it wrong on purpose."""
    if num == 0:
        return NAN
    marks = hits.tolist()
    found, curve = 0, []  # (recall, precision) after each detection
    for n, i in enumerate(_order(scores) if order is None else order, start=1):
        found += marks[i]
        curve.append((Fraction(found, num), Fraction(found, n)))

    def at(r):
        reached = [p for recall, p in curve if recall >= r]
        return (max(reached) if envelope else reached[0]) if reached else Fraction(0)

    if points is not None:
        grid = [Fraction(k, points - 1) for k in range(first, points)]
        return float(sum(at(r) for r in grid) / len(grid))
    area, before = Fraction(0), Fraction(0)
    for recall in sorted({r for r, _ in curve}):
        area += (recall - before) * at(recall)
        before = recall
    return float(area)


def _trapezoid(scores, hits, num, *, envelope, start):
    """Lines between the points of the curve; `start` puts the point (0, 1) before it."""
    marks, found, curve = hits.tolist(), 0, []
    for n, i in enumerate(_order(scores), start=1):
        found += marks[i]
        curve.append((found / num, found / n))
    if envelope:
        curve = [(r, max(p for _, p in curve[k:])) for k, (r, _) in enumerate(curve)]
    if start:
        curve.insert(0, (0.0, 1.0))
    return sum((r - q) * (p + o) / 2 for (q, o), (r, p) in pairwise(curve))


def _labels(images):
    return sorted({label for image in images for label in image["labels"].tolist()})


def _class_ap(detections, targets, label, threshold, matcher=_match):
    scores, hits, num = [], [], 0
    for found, target in zip(detections, targets, strict=True):
        own, truths = found["labels"] == label, target["boxes"][target["labels"] == label]
        scores.append(found["scores"][own])
        hits += matcher(found["boxes"][own], found["scores"][own], truths, threshold)
        num += len(truths)
    return _ap(torch.cat(scores) if scores else torch.zeros(0), torch.tensor(hits, dtype=torch.bool), num)


def _mean(values):
    return sum(values) / len(values) if values else NAN


def _map(detections, targets, thresholds=None, labels=None, ap=_class_ap):
    thresholds = TEN if thresholds is None else thresholds
    labels = _labels(targets) if labels is None else labels
    per_class = {c: _mean([ap(detections, targets, c, t) for t in thresholds]) for c in labels}
    result = {"map": _mean(list(per_class.values())), "per_class": per_class}
    for name, t in (("map_50", 0.5), ("map_75", 0.75)):
        result[name] = _mean([ap(detections, targets, c, t) for c in labels])
    return result


# --- inputs --------------------------------------------------------------------------------------------


def _scene(truths, found, seed, classes=1, images=1, spread=3.0, extra=2):
    """Random images: truths, detections near some of them (several for one truth), and some elsewhere."""
    g = torch.Generator().manual_seed(seed)

    def rand(*shape):
        return torch.rand(*shape, generator=g)

    detections, targets = [], []
    for _ in range(images):
        corner = rand(truths, 2) * 120
        boxes = torch.cat([corner, corner + 15 + rand(truths, 2) * 25], dim=1)
        labels = torch.randint(classes, (truths,), generator=g)
        which = torch.randint(truths, (found,), generator=g) if truths else torch.zeros(0, dtype=torch.int64)
        near = boxes[which] + torch.randn(len(which), 4, generator=g) * spread
        corner = rand(extra, 2) * 120
        stray = torch.cat([corner, corner + 20], dim=1)
        named = torch.where(rand(len(which)) < 0.8, labels[which], torch.randint(classes, (len(which),), generator=g))
        marks = torch.cat([named, torch.randint(classes, (extra,), generator=g)])
        scores = (torch.randperm(len(marks), generator=g) + rand(len(marks)) * 0.5 + 0.5) / (len(marks) + 1)
        detections.append({"boxes": torch.cat([near, stray]), "scores": scores, "labels": marks})
        targets.append({"boxes": boxes, "labels": labels})
    return detections, targets


def _case(truths, found, seed, threshold=0.5, spread=3.0):
    (image,), (target,) = _scene(truths, found, seed, spread=spread)
    return image["boxes"], image["scores"], target["boxes"], threshold


def _ranking(n, seed, rate=0.6):
    g = torch.Generator().manual_seed(seed)
    scores = torch.randperm(n, generator=g).float() / n
    return scores, torch.rand(n, generator=g) < 0.2 + rate * scores


# --- comparing -----------------------------------------------------------------------------------------


def _near(value, guess):
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return (math.isnan(value) and math.isnan(guess)) or abs(value - guess) < 1e-5


def _explained(cases, values, wrong, agree=_near):
    """The misconception that gives every value of the check, not only the one that is shown; None if none does.

    `wrong` maps its text to what it would give for a case.
    """
    pairs = list(zip(cases, values, strict=True))
    return next((text for text, guess in wrong.items() if all(agree(v, guess(*case)) for case, v in pairs)), None)


def _expect_float(value, right, because, looks_like=None):
    """`looks_like` is a function: the search costs more than the check."""
    looks = "the .item() is missing" if type(value) is torch.Tensor else None
    expect_type(value, float, because=FLOAT, looks_like=looks)
    if not _near(value, right):
        looks = looks_like() if looks_like else None
        fail(expected=f"{right:.6g}", actual=f"{value:.6g}", because=because, looks_like=looks)


def _by_rank(boxes, scores, truths, *rest):
    right = _match(boxes, scores, truths, *rest)
    return [right[i] for i in _order(scores)]


_WRONG_MATCH = {
    "sorted by score; the order given is asked for": _by_rank,
    "the detections are taken in the order given, not by score": lambda b, s, *rest: _match(
        b, s, *rest, order=range(len(b))
    ),
    "the lowest scores come first": lambda b, s, *rest: _match(b, s, *rest, order=_order(s)[::-1]),
    "among equal scores the larger index comes first": lambda b, s, *rest: _match(b, s, *rest, order=_ties_reversed(s)),
    "a truth is matched again and again: duplicates count as hits": partial(_match, rule="again and again"),
    "the best truth is looked up among all, the taken ones included; a free one may fit as well": partial(
        _match, rule="best of all"
    ),
    "the first truth that fits is taken instead of the best one": partial(_match, rule="first that fits"),
    "a detection that misses takes the truth, too": partial(_match, rule="taken by misses"),
    "of truths with equal IoU the last is taken; the first is asked for": partial(_match, last=True),
    "an IoU equal to the threshold has to be a hit": partial(_match, strict=True),
    "an unstable sort leaves the order of ties open: pass stable=True": lambda b, s, *rest: _match(
        b, s, *rest, order=s.argsort(descending=True).tolist()
    ),
    "every detection is a hit": lambda b, *_: [True] * len(b),
    "no detection is a hit": lambda b, *_: [False] * len(b),
}


def _ties_reversed(scores):
    values = scores.tolist()
    return sorted(range(len(values)), key=lambda i: (-values[i], -i))


def _expect_hits(found, cases, because):
    """The hits of every case; `because` is a text for each."""
    for hits, case, text in zip(found, cases, because, strict=True):
        boxes, scores, truths, *_ = case
        n = len(boxes)
        expect_shape(hits, (n,), because=f"({text}) one answer for each detection, hits and misses alike.")
        expect_dtype(hits, torch.bool, because="a detection is a hit or it isn't: True or False.")
        right, got = _match(*case), hits.tolist()
        if got == right:
            continue
        order = _order(scores)
        i = next(i for i in order if got[i] != right[i])
        ious = ", ".join(f"{_iou(boxes[i].tolist(), t):.3g}" for t in truths.tolist()[:6])
        fail(
            expected=f"detection {i} (rank {order.index(i) + 1} of {n}, IoU with the truths: {ious}) to be {right[i]}",
            actual=f"{got[i]}; {sum(a != b for a, b in zip(got, right, strict=True))} of {n} differ",
            because=text,
            looks_like=_explained(
                cases, found, _WRONG_MATCH, lambda h, guess: type(h) is torch.Tensor and h.tolist() == guess
            ),
        )


# --- match ---------------------------------------------------------------------------------------------


@check(
    "match says for each detection, in the order given, whether it is a hit",
    points=5,
    why="The caller joins hits with the scores: they have to stand in the same order.",
)
def test_match(sandbox):
    truths = torch.tensor([[0.0, 0.0, 10.0, 10.0], [50.0, 50.0, 60.0, 60.0]])
    near, far = [1.0, 0.0, 11.0, 10.0], [100.0, 100.0, 110.0, 110.0]
    cases = [
        (torch.tensor([near, far, [50.0, 51.0, 60.0, 61.0]]), torch.tensor([0.8, 0.1, 0.9]), truths),
        (torch.tensor([far, [50.0, 51.0, 60.0, 61.0], near]), torch.tensor([0.2, 0.4, 0.9]), truths),
        (torch.tensor([far, far]), torch.tensor([0.2, 0.4]), truths[:1]),
        (torch.tensor([near]), torch.tensor([0.4]), truths[1:]),
        (torch.tensor([near]), torch.tensor([0.4]), truths[:1]),
    ]
    because = [f"{len(b)} detections, {len(t)} truths; no two detections lie on the same truth." for b, _, t in cases]
    _expect_hits(sandbox.run(probes.matches, cases), cases, because)


@check(
    "Each truth is matched once, by the surest detection; duplicates are false positives",
    points=10,
    why="The rule that makes duplicates cost something. Without it nobody would need NMS.",
    after=["test_match"],
)
def test_duplicates(sandbox):
    truth = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    three = torch.tensor([[0.0, 0.0, 10.0, 9.0], [0.0, 0.0, 10.0, 10.0], [1.0, 0.0, 11.0, 10.0]])
    cases = [
        (three, torch.tensor([0.9, 0.8, 0.7]), truth),
        (three, torch.tensor([0.3, 0.8, 0.9]), truth),
        (three, torch.tensor([0.5, 0.5, 0.5]), truth),
        (three[[1, 1, 1]].repeat(20, 1), torch.tensor([0.5, 0.9, 0.9] * 20), truth),
        (three + 5, torch.tensor([0.9, 0.8, 0.7]), torch.cat([truth, truth + 5])),
    ]
    because = [
        f"{len(boxes)} detections on {len(truths)} truth(s), scores {[round(s, 3) for s in scores.tolist()[:4]]}: the"
        " highest score takes it. Among equal scores the smaller index comes first."
        for boxes, scores, truths in cases
    ]
    _expect_hits(sandbox.run(probes.matches, cases), cases, because)


@check(
    "A detection takes the best free truth, when the IoU is at least the threshold",
    points=10,
    why="In a crowd the matching decides; VOC and COCO differ here, and the statement says which rule holds.",
    after=["test_match"],
)
def test_best_free_truth(sandbox):
    row = torch.tensor([[0.0, 0.0, 10.0, 10.0], [3.0, 0.0, 13.0, 10.0]])
    first = torch.tensor([[0.0, 0.0, 10.0, 10.0], [1.0, 0.0, 11.0, 10.0]])  # both nearest to the left truth
    between = torch.tensor([[2.0, 0.0, 12.0, 10.0], [0.0, 0.0, 10.0, 10.0]])  # the first is nearer to the right one
    half = torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[0.0, 0.0, 2.0, 1.0]])  # IoU 0.5, exact
    poor = torch.tensor([[0.0, 0.0, 10.0, 4.0], [0.0, 0.0, 10.0, 9.0]])  # IoU 0.4, then 0.9
    scores = torch.tensor([0.9, 0.8])
    cases = {
        "both detections are nearest to one truth; the second falls back on the other": (first, scores, row),
        "the first detection fits both truths, and the right one better": (between, scores, row),
        "an IoU of exactly 0.5": (*half[:1], torch.tensor([0.7]), half[1], 0.5),
        "a detection below the threshold comes first, and must not take the truth": (poor, scores, row[:1]),
        "two equal truths, two equal detections": (row[[0, 0]], scores, row[[0, 0]]),
        "the first detection has an IoU of 0.5 with both truths: it takes the first": (
            torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 1.0, 2.0]]),
            scores,
            torch.tensor([[0.0, 0.0, 1.0, 2.0], [1.0, 0.0, 2.0, 2.0]]),
        ),
        "the default threshold, 0.5, IoUs of 0.55 and 0.45": (
            torch.tensor([[0.0, 0.0, 10.0, 4.5], [3.0, 0.0, 13.0, 5.5]]),
            scores,
            row,
        ),
        "a threshold of 0.75, under 10/12 and over 7/13": (first, scores, row, 0.75),
    }
    for i, (m, n, t, spread) in enumerate(
        [(4, 12, 0.5, 4.0), (6, 20, 0.3, 6.0), (6, 20, 0.75, 2.0), (12, 40, 0.1, 8.0)]
    ):
        cases[f"{m} truths, {n + 2} detections, threshold {t}"] = _case(m, n, 20 + i, t, spread)
    boxes, marks, truths, _ = _case(6, 20, 24, spread=6.0)
    cases["the same in coordinates from 0 to 1"] = (boxes / 160, marks, truths / 160, 0.3)
    apart = torch.tensor([[0.0, 0.0, 0.1, 0.1], [0.6, 0.7, 0.8, 0.9]])
    cases["coordinates from 0 to 1, the detection diagonally away"] = (apart[:1], scores[:1], apart[1:], 0.3)
    because = [f"({text}) the free truth with the highest IoU, if that reaches the threshold." for text in cases]
    _expect_hits(sandbox.run(probes.matches, list(cases.values())), list(cases.values()), because)


@check(
    "No truths or no detections are no special case for match",
    points=5,
    why="Most images of most classes are empty; an argmax over nothing raises.",
    after=["test_match"],
)
def test_match_nothing(sandbox):
    boxes, none = torch.tensor([[0.0, 0.0, 5.0, 5.0], [1.0, 1.0, 1.0, 1.0]]), torch.zeros(0, 4)
    cases = {
        "detections, no truths": (boxes, torch.tensor([0.5, 0.7]), none),
        "truths, no detections": (none, torch.zeros(0), boxes),
        "neither": (none, torch.zeros(0), none),
        "more detections than truths": (boxes[[0, 0, 0]], torch.tensor([0.1, 0.2, 0.3]), boxes[:1]),
        "an empty box on an empty truth: their IoU is 0": (boxes[1:], torch.tensor([0.5]), boxes[1:], 0.5),
    }
    because = [f"({text}) what has no free truth to take is a false positive." for text in cases]
    _expect_hits(sandbox.run(probes.matches, list(cases.values())), list(cases.values()), because)


@check(
    "No package that knows boxes or metrics is used",
    points=5,
    why="The interviewer knows that the library has it, and asks whether you do.",
)
def test_own_work(sandbox):
    detections, targets = _scene(3, 6, 30, classes=2, images=2)
    called = sandbox.run(probes.library_calls, list(_case(3, 6, 31)[:3]), list(_ranking(9, 32)), detections, targets)
    expect(
        called == [],
        expected="no call into torchvision.ops or a metric package",
        actual=f"called {', '.join(map(str, called[:6]))}",
        because="this breaks a rule of the exercise; the values may well be right.",
    )


# --- average_precision ---------------------------------------------------------------------------------


def _shares(scores, hits):
    """The precision after each detection."""
    marks = [bool(hits[i]) for i in _order(scores)]
    return [sum(marks[: k + 1]) / (k + 1) for k in range(len(marks))]


def _area_by(envelope, start):
    def area(scores, hits, num, points=None):
        if points or not num:
            return _ap(scores, hits, num, points)
        return _trapezoid(scores, hits, num, envelope=envelope, start=start)

    return area


_TRAPEZOID = "trapezoids between the points: the curve is a staircase"
_WRONG_AP = {
    "no envelope: the precision at a recall is the largest at that recall or any higher one": partial(
        _ap, envelope=False
    ),
    "the detections are taken in the order given, not by score": lambda s, *rest: _ap(s, *rest, order=range(len(s))),
    "the lowest scores come first": lambda s, *rest: _ap(s, *rest, order=_order(s)[::-1]),
    "among equal scores the larger index comes first": lambda s, *rest: _ap(s, *rest, order=_ties_reversed(s)),
    "ranked in float32, where scores that differ become equal": lambda s, *rest: _ap(s.float(), *rest),
    "recall is divided by the hits found, not by all truths: what was missed costs nothing": lambda s, h, num, *rest: (
        _ap(s, h, max(int(h.sum()), 1), *rest)
    ),
    "the mean of the precision over all detections": lambda s, h, *_: _mean(_shares(s, h)),
    "precision of the whole list": lambda s, h, *_: (_shares(s, h) or [0.0])[-1],
    "recall of the whole list": lambda s, h, num, *_: int(h.sum()) / num if num else NAN,
    _TRAPEZOID: _area_by(envelope=True, start=False),
    f"{_TRAPEZOID}, here with (0, 1) as the first": _area_by(envelope=True, start=True),
    f"{_TRAPEZOID}, and has an envelope": _area_by(envelope=False, start=False),
    f"{_TRAPEZOID}, and has an envelope; here with (0, 1) as the first": _area_by(envelope=False, start=True),
    "the mean at eleven recalls, whatever `points` says": lambda s, h, num, *_: _ap(s, h, num, 11),
    "the area, whatever `points` says": lambda s, h, num, *_: _ap(s, h, num),
    "recall 0 is left out: the points are 0, 1/(points-1), …, 1": lambda s, h, num, points=None: _ap(
        s, h, num, points, first=1
    ),
    "divided by points - 1 instead of points": lambda s, h, num, points=None: (
        _ap(s, h, num, points) * (points / (points - 1) if points else 1)
    ),
    "one point too many: the step is 1/points": lambda s, h, num, points=None: _ap(
        s, h, num, points + 1 if points else None
    ),
}


def _expect_aps(values, cases, because):
    """The AP of every case; `because` is a text for each."""
    for case, value, text in zip(cases, values, because, strict=True):
        _expect_float(value, _ap(*case), text, lambda: _explained(cases, values, _WRONG_AP))


@check(
    "average_precision is the area under the precision envelope",
    points=15,
    why="Sorting, cumulative counts, a running maximum from the right: three lines, each easily wrong.",
)
def test_area(sandbox):
    hand = (torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.tensor([True, False, True, False]), 3)
    cases = [hand, (torch.tensor([0.9, 0.5]), torch.tensor([True, True]), 2)]
    cases += [(torch.tensor([0.9, 0.8, 0.7]), torch.tensor([False, True, True]), 2)]
    for i, (n, extra) in enumerate([(7, 3), (30, 0), (101, 11)]):
        scores, hits = _ranking(n, 40 + i)
        order = torch.tensor(_order(scores))
        cases.append((scores[order], hits[order], int(hits.sum()) + extra))
    because = [
        f"{len(scores)} detections, best first, {int(hits.sum())} of them hits, {num} truths."
        for scores, hits, num in cases
    ]
    _expect_aps(sandbox.run(probes.precisions, cases), cases, because)


@check(
    "The ranking is by score, whatever the order and the scale of the scores",
    points=5,
    why="AP judges a ranking: shuffling the list, or any rising function of the scores, changes nothing.",
    after=["test_area"],
)
def test_ranking(sandbox):
    scores, hits = _ranking(41, 50)
    num = int(hits.sum()) + 4
    shuffle = torch.randperm(41, generator=torch.Generator().manual_seed(51))
    tied, marks = torch.tensor([0.5, 0.9, 0.5, 0.5, 0.9]), torch.tensor([True, False, False, True, True])
    many = (torch.arange(60) % 3).float() / 3, torch.rand(60, generator=torch.Generator().manual_seed(52)) < 0.5
    cases = {
        "in random order": (scores, hits, num),
        "in another order": (scores[shuffle], hits[shuffle], num),
        "logits instead of probabilities, negative ones among them": (6 * scores - 4, hits, num),
        "all scores squeezed into 0.9 to 0.91": (0.9 + scores.double() / 100, hits, num),
        "equal scores: the smaller index comes first": (tied, marks, 4),
        "sixty detections, three scores": (*many, 40),
        "all scores equal": (torch.full((60,), 0.5), many[1], 40),
        "scores in float64 that are equal in float32": (0.5 + scores.double() / 10**8, hits, num),
    }
    values = sandbox.run(probes.precisions, list(cases.values()))
    for (text, case), value in zip(cases.items(), values, strict=True):

        def looks(case=case, value=value):
            found = _explained(cases.values(), values, _WRONG_AP)
            low, high = (_ap(*case, order=_ties_by(*case[:2], hits_first=first)) for first in (False, True))
            if found is None and low - 1e-5 < value < high + 1e-5:
                found = "equal scores come in another order than given; a sort that leaves it open needs stable=True"
            return found

        _expect_float(value, _ap(*case), f"({text}) only the order of the scores counts.", looks)


def _ties_by(scores, hits, *, hits_first):
    """Best score first; among equal ones all hits first, or last: the highest and the lowest AP that ties allow."""
    values, marks = scores.tolist(), hits.tolist()
    return sorted(range(len(values)), key=lambda i: (-values[i], marks[i] != hits_first))


@check(
    "points=11 and points=101 sample the envelope at evenly spaced recalls",
    points=10,
    why="PASCAL VOC 2007 and COCO report these; whoever compares numbers has to know the difference.",
    after=["test_area"],
)
def test_points(sandbox):
    hand = (torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.tensor([True, False, True, False]), 3)
    cases = [(*hand, 11)]
    # Prime numbers of truths: no sampled recall but 0 and 1 is reached exactly. The statement leaves the others open.
    for i, (n, num, points) in enumerate([(20, 13, 11), (60, 47, 101), (30, 23, 5), (9, 7, 11)]):
        scores, hits = _ranking(n, 60 + i)
        cases.append((scores, hits & (hits.cumsum(0) <= num), num, points))
    every = torch.tensor([False, True, True, True])
    cases += [(torch.tensor([0.9, 0.8, 0.7, 0.6]), every, 3, 11), (torch.tensor([0.9, 0.8]), every[:2], 53, 101)]
    cases += [(torch.tensor([0.9, 0.8]), every[1:3], 2, 2), (*hand, None)]
    because = [
        f"{len(scores)} detections, {int(hits.sum())} hits, {num} truths, points={points}: the mean of the largest"
        " precision at recalls of at least 0, 1/(points-1), …, 1; 0 where none is."
        for scores, hits, num, points in cases
    ]
    _expect_aps(sandbox.run(probes.precisions, cases), cases, because)


@check(
    "No truths give nan, no detections 0, a perfect ranking 1",
    points=5,
    why="Rare classes meet all of these; a 0 or an exception for an absent class spoils the mean.",
    after=["test_area"],
)
def test_ap_limits(sandbox):
    nothing = torch.zeros(0), torch.zeros(0, dtype=torch.bool)
    three, yes = torch.tensor([0.3, 0.9, 0.5]), torch.ones(3, dtype=torch.bool)
    cases = {
        "no truths, no detections": (*nothing, 0),
        "no truths, three false positives": (three, ~yes, 0),
        "no truths, points=11": (three, ~yes, 0, 11),
        "truths, no detections": (*nothing, 4),
        "truths, no detections, points=11": (*nothing, 4, 11),
        "three hits, three truths": (three, yes, 3),
        "three hits, three truths, points=101": (three, yes, 3, 101),
        "three false positives": (three, ~yes, 3),
        "three false positives, points=11": (three, ~yes, 3, 11),
        "three hits, 300 truths": (three, yes, 300),
    }
    for (text, case), value in zip(cases.items(), sandbox.run(probes.precisions, list(cases.values())), strict=True):
        right = _ap(*case)
        missed = "0 says that everything was missed; there was nothing to find"
        looks = missed if case[2] == 0 and _near(value, 0.0) else None
        _expect_float(value, right, f"({text}) AP is {right:.4g} there, by definition.", lambda looks=looks: looks)


# --- mean_average_precision ----------------------------------------------------------------------------


_FLOATS = ("map_50", "map_75", "map")


def _same_floats(found, guess):
    return isinstance(found, dict) and all(_near(found.get(name), guess[name]) for name in _FLOATS)


def _expect_maps(values, cases, because, wrong):
    """The dicts of all cases; `because` is a text for each, `wrong` maps a misconception to what it would give."""
    names = ["map", "map_50", "map_75", "per_class"]
    for found, case, text in zip(values, cases, because, strict=True):
        if not isinstance(found, dict):
            fail(
                expected="a dict with " + ", ".join(names), actual=describe(found), because="that is what is returned."
            )
        expect_equal(
            sorted(map(str, found)), names, because="mean_average_precision returns exactly these four entries."
        )
        right = _map(*case)
        for name in _FLOATS:
            _expect_float(
                found[name], right[name], f"{name}: {text}", lambda: _explained(cases, values, wrong, _same_floats)
            )
        expect_type(found["per_class"], dict, because="per_class maps each label with truths, an int, to its AP.")
        expect_equal(
            sorted(found["per_class"], key=str),
            sorted(right["per_class"], key=str),
            because=f"per_class has the labels that have a truth, as ints. {text}",
        )
        for label, value in right["per_class"].items():
            _expect_float(found["per_class"][label], value, f"per_class[{label}]: {text}")


@check(
    "The ten thresholds are 0.50, 0.55, …, 0.95; map_50 and map_75 are always at theirs",
    points=5,
    why="With nine thresholds, or eleven, the number can't be compared with anybody else's.",
    after=["test_match", "test_area"],
)
def test_thresholds(sandbox):
    # Detections with an IoU of 0.51, 0.56, …, 0.96, far from each other: each counts up to its own threshold.
    shares = [0.51 + 0.05 * k for k in range(10)] + [0.995]
    truths = torch.tensor([[100.0 * k, 0.0, 100.0 * k + 50, 100.0] for k in range(11)])
    boxes = truths.clone()
    boxes[:, 3] = 100 * torch.tensor(shares)
    labels = torch.zeros(11, dtype=torch.int64)
    found = [{"boxes": boxes, "scores": torch.linspace(0.9, 0.5, 11), "labels": labels}]
    stairs = found, [{"boxes": truths, "labels": labels}]
    scene = _scene(8, 20, 90, spread=1.5)  # one image, one class: those come later
    cases = [stairs, scene, (*scene, [0.5]), (*scene, [0.3, 0.6]), (*stairs, [0.75]), (*stairs, [0.9, 0.95])]
    wrong = {
        "nine thresholds: 0.95 is missing": lambda d, t, asked=None: _map(d, t, asked or TEN[:9]),
        "eleven thresholds: 1.0 is among them": lambda d, t, asked=None: _map(d, t, asked or [*TEN, 1.0]),
        "0.5 isn't among the thresholds": lambda d, t, asked=None: _map(d, t, asked or TEN[1:]),
        "iou_thresholds isn't used": lambda d, t, asked=None: _map(d, t),
        "map is the AP at 0.5": lambda d, t, asked=None: _map(d, t, [0.5]),
        "map_50 is taken at the first of iou_thresholds": lambda d, t, asked=None: {
            **_map(d, t, asked),
            "map_50": _map(d, t, [(asked or TEN)[0]])["map"],
        },
    }
    because = [
        f"iou_thresholds={asked[0] if asked else None}: the mean over them; map_50 and map_75 don't depend on them."
        for _, _, *asked in cases
    ]
    _expect_maps(sandbox.run(probes.means, cases), cases, because, wrong)


def _per_image(detections, targets, label, threshold):
    values = [_class_ap([d], [t], label, threshold) for d, t in zip(detections, targets, strict=True)]
    return _mean([v for v in values if not math.isnan(v)])


def _across_images(detections, targets, label, threshold):
    """As if all images were one."""
    whole = {k: torch.cat([d[k] for d in detections]) for k in ("boxes", "scores", "labels")}
    truths = {k: torch.cat([t[k] for t in targets]) for k in ("boxes", "labels")}
    return _class_ap([whole], [truths], label, threshold)


def _without_empty(detections, targets, label, threshold):
    pairs = [(d, t) for d, t in zip(detections, targets, strict=True) if bool((t["labels"] == label).any())]
    return _class_ap([d for d, _ in pairs], [t for _, t in pairs], label, threshold)


def _without_undetected(detections, targets, label, threshold):
    pairs = [(d, t) for d, t in zip(detections, targets, strict=True) if bool((d["labels"] == label).any())]
    if not pairs:
        return 0.0
    return _class_ap([d for d, _ in pairs], [t for _, t in pairs], label, threshold)


def _at_most_100(detections, targets, label, threshold):
    best = [d["scores"].argsort(descending=True, stable=True)[:100] for d in detections]
    cut = [{k: d[k][i] for k in d} for d, i in zip(detections, best, strict=True)]
    return _class_ap(cut, targets, label, threshold)


def _zero_for_nan(*args):
    value = _class_ap(*args)
    return 0.0 if math.isnan(value) else value


def _any_class(detections, targets, label, threshold, *, own, count_all):
    """Truths of every class may be matched: by the detections of the class (`own`), or by all of them."""
    scores, hits, num = [], [], 0
    for found, target in zip(detections, targets, strict=True):
        mine = found["labels"] == label
        chosen = mine if own else torch.ones_like(mine)
        marks = torch.tensor(
            _match(found["boxes"][chosen], found["scores"][chosen], target["boxes"], threshold), dtype=torch.bool
        )
        scores.append(found["scores"][mine])
        hits.append(marks if own else marks[mine])
        num += len(target["labels"]) if count_all else int((target["labels"] == label).sum())
    return _ap(torch.cat(scores), torch.cat(hits), num)


def _flat(images):
    return [{**image, "labels": torch.zeros_like(image["labels"])} for image in images]


_OF_CLASS = "the class of the truths is ignored: a detection may only match truths of its own class"
_WRONG_MAP = {
    "images without truths are left out; their detections are false positives": partial(_map, ap=_without_empty),
    "images without detections are left out; their truths are missed": partial(_map, ap=_without_undetected),
    "the mean of one AP for each image; the detections of all images have to be ranked together": partial(
        _map, ap=_per_image
    ),
    "the images are mixed: a detection may only match truths of its own image": partial(_map, ap=_across_images),
    "the images are pooled from the last to the first, so that equal scores come in another order": (
        lambda d, t, asked: _map(d[::-1], t[::-1], asked)
    ),
    "at most 100 detections of an image count; that is a rule of COCO's, and none here": partial(_map, ap=_at_most_100),
    "classes without detections are left out; they have an AP of 0": lambda d, t, asked: _map(
        d, t, asked, labels=sorted(set(_labels(d)) & set(_labels(t)))
    ),
    "classes without truths count as 0; they have no AP": lambda d, t, asked: _map(
        d, t, asked, labels=sorted(set(_labels(d)) | set(_labels(t))), ap=_zero_for_nan
    ),
    "the classes are ignored: all are evaluated as one": lambda d, t, asked: _map(_flat(d), _flat(t), asked),
    _OF_CLASS: partial(_map, ap=partial(_any_class, own=True, count_all=False)),
    f"{_OF_CLASS}, and only they count": partial(_map, ap=partial(_any_class, own=True, count_all=True)),
    f"the classes are told apart after the matching; {_OF_CLASS.partition(': ')[2]}": partial(
        _map, ap=partial(_any_class, own=False, count_all=False)
    ),
}


@check(
    "mAP ranks the detections of all images together, and matches within each image",
    points=10,
    why="One threshold will serve all images, so one ranking is judged. A mean of the images' APs is another number.",
    after=["test_match", "test_area"],
)
def test_images(sandbox):
    one, target = torch.tensor([[0.0, 0.0, 10.0, 10.0]]), torch.tensor([0])

    def image(boxes, scores):
        return {"boxes": boxes, "scores": torch.tensor(scores), "labels": torch.zeros(len(boxes), dtype=torch.int64)}

    truth, empty = {"boxes": one, "labels": target}, {"boxes": one[:0], "labels": target[:0]}
    cases = {
        "two images with a truth at the same place": ([image(one, [0.9]), image(one, [0.8])], [truth, truth]),
        "both detections in the first image, where one truth is": (
            [image(one[[0, 0]], [0.9, 0.8]), image(one[:0], [])],
            [truth, truth],
        ),
        "a false positive in an image without truths": ([image(one, [0.9]), image(one, [0.8])], [empty, truth]),
        "an image that was found nothing in": ([image(one, [0.9]), image(one[:0], [])], [truth, truth]),
        "four random images": _scene(4, 9, 70, images=4),
        "images of different difficulty": tuple(
            a + b
            for a, b in zip(_scene(5, 8, 71, spread=1.0), _scene(2, 9, 72, images=2, spread=6.0, extra=5), strict=True)
        ),
        "equal scores across images, the first image first": (
            [image(one + 40, [0.5]), image(one, [0.5]), image(torch.cat([one + 70, one]), [0.5, 0.5])],
            [truth, truth, truth],
        ),
    }
    crowd, at = torch.cat([one + 30, one]), [0] * 129 + [1]
    cases["129 false positives before the only hit"] = (
        [image(crowd[at], torch.linspace(0.9, 0.1, 130).tolist())],
        [truth],
    )
    because = [f"({text}) match image by image, then one ranking over all images." for text in cases]
    asked = [(*case, [0.5, 0.75]) for case in cases.values()]  # independent of the default
    _expect_maps(sandbox.run(probes.means, asked), asked, because, _WRONG_MAP)


@check(
    "mAP is the plain mean over the classes that have truths",
    points=10,
    why="Classes without truths have no AP. Classes without detections have one, and it is 0.",
    after=["test_match", "test_area"],
)
def test_classes(sandbox):
    plain = _scene(6, 14, 80, classes=3, images=3)
    odd_detections, odd_targets = _scene(6, 14, 81, classes=4, images=3)
    for image in odd_detections:
        image["labels"] = torch.where(image["labels"] == 0, 99, image["labels"])  # class 0 is never detected
    for image in odd_targets:
        keep = image["labels"] != 3  # class 3 has detections, and no truth
        image["boxes"], image["labels"] = image["boxes"][keep], image["labels"][keep]
    unequal = tuple(a + b for a, b in zip(_scene(9, 20, 82, spread=1.5), _scene(1, 2, 83, spread=9.0), strict=True))
    for image in (unequal[0][1], unequal[1][1]):
        image["labels"] = image["labels"] + 7
    none = [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}] * 3
    cases = {
        "three classes": plain,
        "a class without detections, two without truths": (odd_detections, odd_targets),
        "class 0 with nine truths, class 7 with one": unequal,
        "no truths at all": (plain[0], none),
        "no images": ([], []),
    }
    because = [f"({text}) the mean over the classes with at least one truth." for text in cases]
    asked = [(*case, [0.5, 0.75]) for case in cases.values()]  # independent of the default
    _expect_maps(sandbox.run(probes.means, asked), asked, because, _WRONG_MAP)


@check(
    "The inputs stay as they are",
    points=5,
    why="The same detections are drawn, stored and evaluated again.",
    after=["test_match"],
)
def test_inputs_untouched(sandbox):
    boxes, scores, truths, _ = _case(4, 9, 95)
    ranking = _ranking(12, 96)
    detections, targets = _scene(4, 9, 97, classes=2, images=2)
    found = sandbox.run(probes.inputs_afterwards, [boxes, scores, truths], list(ranking), detections, targets)
    before = {
        "match": dict(zip(("boxes", "scores", "truths"), (boxes, scores, truths), strict=True)),
        "average_precision": dict(zip(("scores", "hits"), ranking, strict=True)),
    }
    for name, tensors in before.items():
        now = zip(tensors.items(), found[name], strict=True)
        _expect_untouched([which for (which, a), b in now if not torch.equal(a, b)], name)
    changed = []
    for which, given, now in zip(
        ("detections", "targets"), (detections, targets), found["mean_average_precision"], strict=True
    ):
        if len(given) != len(now):
            changed.append(which)
        for a, b in zip(given, now, strict=False):
            changed += [
                f'{which}[…]["{k}"]' for k in {**a, **b} if k not in a or k not in b or not torch.equal(a[k], b[k])
            ]
    _expect_untouched(sorted(set(changed)), "mean_average_precision")


def _expect_untouched(changed, name):
    expect(
        not changed,
        expected=f"the arguments of {name} as they were",
        actual=f"changed in place: {', '.join(changed)}",
        because="an evaluation only looks; the caller goes on with the same objects.",
        looks_like="an in-place operation on an argument: clone it first",
    )
