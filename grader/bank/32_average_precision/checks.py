"""Checks for average precision. The oracles follow the statement step by step, in Python floats and fractions."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import partial

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


def _match(boxes, scores, truths, threshold=0.5, *, rule="free", order=None, strict=False):
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
        best = max(free, key=lambda j: (ious[j], -j))
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


def _trapezoid(scores, hits, num):
    marks, found, area, last = hits.tolist(), 0, 0.0, (0.0, 1.0)
    for n, i in enumerate(_order(scores), start=1):
        found += marks[i]
        now = (found / num, found / n)
        area += (now[0] - last[0]) * (now[1] + last[1]) / 2
        last = now
    return area


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


def _named(value, right, guesses):
    return next((text for text, g in guesses.items() if _near(value, g) and not _near(g, right)), None)


def _expect_float(value, right, because, looks_like=None):
    looks = "the .item() is missing" if type(value) is torch.Tensor else looks_like
    expect_type(value, float, because=FLOAT, looks_like=looks)
    if not _near(value, right):
        fail(expected=f"{right:.6g}", actual=f"{value:.6g}", because=because, looks_like=looks_like)


def _expect_hits(found, case, because):
    boxes, scores, truths, *rest = case
    n = len(boxes)
    expect_shape(found, (n,), because="one answer for each detection, hits and misses alike.")
    expect_dtype(found, torch.bool, because="a detection is a hit or it isn't: True or False.")
    threshold = rest[0] if rest else 0.5
    right, got = _match(boxes, scores, truths, threshold), found.tolist()
    if got == right:
        return
    order = _order(scores)
    args = (boxes, scores, truths, threshold)
    wrong = {
        "sorted by score; the order given is asked for": [right[i] for i in order],
        "the detections are taken in the order given, not by score": _match(*args, order=range(n)),
        "the lowest scores come first": _match(*args, order=order[::-1]),
        "a truth is matched again and again: duplicates count as hits": _match(*args, rule="again and again"),
        "the best truth is looked up among all, the taken ones included; a free one may fit as well": _match(
            *args, rule="best of all"
        ),
        "the first truth that fits is taken instead of the best one": _match(*args, rule="first that fits"),
        "a detection that misses takes the truth, too": _match(*args, rule="taken by misses"),
        "an IoU equal to the threshold has to be a hit": _match(*args, strict=True),
        "every detection is a hit": [True] * n,
        "no detection is a hit": [False] * n,
    }
    looks = next((text for text, guess in wrong.items() if guess == got), None)
    i = next(i for i in order if got[i] != right[i])
    ious = ", ".join(f"{_iou(boxes[i].tolist(), t):.3g}" for t in truths.tolist()[:6])
    fail(
        expected=f"detection {i} (rank {order.index(i) + 1} of {n}, IoU with the truths: {ious}) to be {right[i]}",
        actual=f"{got[i]}; {sum(a != b for a, b in zip(got, right, strict=True))} of {n} differ",
        because=because,
        looks_like=looks,
    )


# --- match ---------------------------------------------------------------------------------------------


@check(
    "match says for each detection, in the order given, whether it is a hit",
    points=10,
    why="The caller joins hits with the scores: they have to stand in the same order.",
)
def test_match(sandbox):
    truths = torch.tensor([[0.0, 0.0, 10.0, 10.0], [50.0, 50.0, 60.0, 60.0]])
    near, far = [1.0, 0.0, 11.0, 10.0], [100.0, 100.0, 110.0, 110.0]
    cases = [
        (torch.tensor([near, far, [50.0, 51.0, 60.0, 61.0]]), torch.tensor([0.9, 0.8, 0.7]), truths),
        (torch.tensor([far, [50.0, 51.0, 60.0, 61.0], near]), torch.tensor([0.2, 0.4, 0.9]), truths),
        (torch.tensor([far, far]), torch.tensor([0.2, 0.4]), truths[:1]),
        (torch.tensor([near]), torch.tensor([0.4]), truths[1:]),
        (torch.tensor([near]), torch.tensor([0.4]), truths[:1]),
    ]
    for case, found in zip(cases, sandbox.run(probes.matches, cases), strict=True):
        because = f"{len(case[0])} detections, {len(case[2])} truths; no two detections lie on the same truth."
        _expect_hits(found, case, because)


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
    for case, found in zip(cases, sandbox.run(probes.matches, cases), strict=True):
        scores = [round(s, 3) for s in case[1].tolist()[:4]]
        because = f"{len(case[0])} detections on {len(case[2])} truth(s), scores {scores}: the highest score takes it."
        because += " Among equal scores the smaller index comes first."
        _expect_hits(found, case, because)


@check(
    "A detection takes the best free truth, when the IoU is at least the threshold",
    points=10,
    why="In a crowd the matching decides; VOC and COCO differ here, and the statement says which rule holds.",
    after=["test_duplicates"],
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
    for (text, case), found in zip(cases.items(), sandbox.run(probes.matches, list(cases.values())), strict=True):
        _expect_hits(found, case, f"({text}) the free truth with the highest IoU, if that reaches the threshold.")


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
    for (text, case), found in zip(cases.items(), sandbox.run(probes.matches, list(cases.values())), strict=True):
        _expect_hits(found, case, f"({text}) what has no free truth to take is a false positive.")


# --- average_precision ---------------------------------------------------------------------------------


def _wrong_ap(scores, hits, num, points=None):
    n, order = len(scores), _order(scores)
    marks = [bool(hits[i]) for i in order]
    shares = [sum(marks[: k + 1]) / (k + 1) for k in range(n)]
    wrong = {
        "no envelope: the precision at a recall is the largest at that recall or any higher one": _ap(
            scores, hits, num, points, envelope=False
        ),
        "the detections are taken in the order given, not by score": _ap(scores, hits, num, points, order=range(n)),
        "the lowest scores come first": _ap(scores, hits, num, points, order=order[::-1]),
        "recall is divided by the hits found, not by all truths: what was missed costs nothing": _ap(
            scores, hits, max(int(hits.sum()), 1), points
        ),
        "the mean of the precision over all detections": _mean(shares),
        "precision of the whole list": shares[-1] if shares else 0.0,
        "recall of the whole list": sum(marks) / num if num else NAN,
        "trapezoids between the points: the curve is a staircase": _trapezoid(scores, hits, num) if num else NAN,
        "the mean at eleven recalls, whatever `points` says": _ap(scores, hits, num, 11),
        "the area, whatever `points` says": _ap(scores, hits, num),
    }
    if points:
        wrong["recall 0 is left out: the points are 0, 1/(points-1), …, 1"] = _ap(scores, hits, num, points, first=1)
        wrong["divided by points - 1 instead of points"] = _ap(scores, hits, num, points) * points / (points - 1)
        wrong["one point too many: the step is 1/points"] = _ap(scores, hits, num, points + 1)
    return wrong


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
    for case, value in zip(cases, sandbox.run(probes.precisions, cases), strict=True):
        right = _ap(*case)
        because = f"{len(case[0])} detections, best first, {int(case[1].sum())} of them hits, {case[2]} truths."
        _expect_float(value, right, because, _named(value, right, _wrong_ap(*case)))


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
    }
    for (text, case), value in zip(cases.items(), sandbox.run(probes.precisions, list(cases.values())), strict=True):
        right = _ap(*case)
        guesses = _wrong_ap(*case)
        backwards = case[0].argsort(stable=True).flip(0).tolist()
        guesses["among equal scores the larger index comes first"] = _ap(*case, order=backwards)
        looks = _named(value, right, guesses)
        if looks is None and ("equal" in text or "three scores" in text):
            looks = "an unstable sort leaves the order of ties open: pass stable=True"
        _expect_float(value, right, f"({text}) only the order of the scores counts.", looks)


@check(
    "points=11 and points=101 sample the envelope at evenly spaced recalls",
    points=10,
    why="PASCAL VOC 2007 and COCO report these; whoever compares numbers has to know the difference.",
    after=["test_area"],
)
def test_points(sandbox):
    hand = (torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.tensor([True, False, True, False]), 3)
    cases = [(*hand, 11)]
    # Prime numbers of truths: no sampled recall but 0 and 1 is reached exactly, so rounding plays no part.
    for i, (n, num, points) in enumerate([(20, 13, 11), (60, 47, 101), (30, 23, 5), (9, 7, 11)]):
        scores, hits = _ranking(n, 60 + i)
        cases.append((scores, hits & (hits.cumsum(0) <= num), num, points))
    every = torch.tensor([False, True, True, True])
    cases += [(torch.tensor([0.9, 0.8, 0.7, 0.6]), every, 3, 11), (torch.tensor([0.9, 0.8]), every[:2], 53, 101)]
    cases += [(torch.tensor([0.9, 0.8]), every[1:3], 2, 2), (*hand, None)]
    for case, value in zip(cases, sandbox.run(probes.precisions, cases), strict=True):
        scores, hits, num, points = case
        right = _ap(*case)
        because = f"{len(scores)} detections, {int(hits.sum())} hits, {num} truths, points={points}: "
        because += "the mean of the largest precision at recalls of at least 0, 1/(points-1), …, 1; 0 where none is."
        _expect_float(value, right, because, _named(value, right, _wrong_ap(*case)))


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
        looks = None
        if case[2] == 0 and _near(value, 0.0):
            looks = "0 says that everything was missed; there was nothing to find"
        _expect_float(value, right, f"({text}) AP is {right:.4g} there, by definition.", looks)


# --- mean_average_precision ----------------------------------------------------------------------------


def _expect_map(found, case, because, wrong=None):
    """The dict of all four entries; `wrong` maps a misconception to a function returning what it would give."""
    names = ["map", "map_50", "map_75", "per_class"]
    if not isinstance(found, dict):
        fail(expected="a dict with " + ", ".join(names), actual=describe(found), because="that is what is returned.")
    expect_equal(sorted(map(str, found)), names, because="mean_average_precision returns exactly these four entries.")
    right = _map(*case)
    for name in ("map_50", "map_75", "map"):
        guesses = {}
        if not _near(found[name], right[name]):  # they cost more than the rest of the check
            guesses = {text: guess()[name] for text, guess in (wrong or {}).items()}
        _expect_float(found[name], right[name], f"{name}: {because}", _named(found[name], right[name], guesses))
    expect_type(found["per_class"], dict, because="per_class maps each label with truths to its AP.")
    expect_equal(
        sorted(found["per_class"], key=str),
        sorted(right["per_class"], key=str),
        because=f"per_class has the labels that have a truth, as ints. {because}",
    )
    for label, value in right["per_class"].items():
        _expect_float(found["per_class"][label], value, f"per_class[{label}]: {because}")


@check(
    "The ten thresholds are 0.50, 0.55, …, 0.95; map_50 and map_75 are always at theirs",
    points=5,
    why="With nine thresholds, or eleven, the number can't be compared with anybody else's.",
    after=["test_best_free_truth", "test_match_nothing", "test_ranking", "test_ap_limits"],
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
    for case, value in zip(cases, sandbox.run(probes.means, cases), strict=True):
        asked = case[2] if len(case) > 2 else None
        wrong = {
            "nine thresholds: 0.95 is missing": partial(_map, *case[:2], TEN[:9]),
            "eleven thresholds: 1.0 is among them": partial(_map, *case[:2], [*TEN, 1.0]),
            "0.5 isn't among the thresholds": partial(_map, *case[:2], TEN[1:]),
            "iou_thresholds isn't used": partial(_map, *case[:2]),
            "map is the AP at 0.5": partial(_map, *case[:2], [0.5]),
        }
        because = f"iou_thresholds={asked}: the mean over them; map_50 and map_75 don't depend on them."
        _expect_map(value, case, because, wrong)


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


def _zero_for_nan(*args):
    value = _class_ap(*args)
    return 0.0 if math.isnan(value) else value


@check(
    "mAP ranks the detections of all images together, and matches within each image",
    points=10,
    why="One threshold will serve all images, so one ranking is judged. A mean of the images' APs is another number.",
    after=["test_thresholds"],
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
    for (text, case), found in zip(cases.items(), sandbox.run(probes.means, list(cases.values())), strict=True):
        wrong = {
            "the mean of one AP for each image; the detections of all images have to be ranked together": partial(
                _map, *case, ap=_per_image
            ),
            "the images are mixed: a detection may only match truths of its own image": partial(
                _map, *case, ap=_across_images
            ),
            "images without truths are left out; their detections are false positives": partial(
                _map, *case, ap=_without_empty
            ),
        }
        _expect_map(found, case, f"({text}) match image by image, then one ranking over all images.", wrong)


@check(
    "mAP is the plain mean over the classes that have truths",
    points=10,
    why="Classes without truths have no AP. Classes without detections have one, and it is 0.",
    after=["test_images"],
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
    for (text, case), found in zip(cases.items(), sandbox.run(probes.means, list(cases.values())), strict=True):
        detections, targets = case
        seen = sorted(set(_labels(detections)) & set(_labels(targets)))
        every = sorted(set(_labels(detections)) | set(_labels(targets)))
        flat = [[{**i, "labels": torch.zeros_like(i["labels"])} for i in images] for images in case]
        wrong = {
            "classes without detections are left out; they have an AP of 0": partial(_map, *case, labels=seen),
            "classes without truths count as 0; they have no AP": partial(_map, *case, labels=every, ap=_zero_for_nan),
            "the classes are ignored: a detection may only match truths of its own class": partial(_map, *flat),
        }
        _expect_map(found, case, f"({text}) the mean over the classes with at least one truth.", wrong)


@check(
    "The inputs stay as they are",
    points=5,
    why="The same detections are drawn, stored and evaluated again.",
    after=["test_images"],
)
def test_inputs_untouched(sandbox):
    boxes, scores, truths, _ = _case(4, 9, 95)
    ranking = _ranking(12, 96)
    detections, targets = _scene(4, 9, 97, classes=2, images=2)
    found = sandbox.run(probes.inputs_afterwards, [boxes, scores, truths], list(ranking), detections, targets)
    before = {"match": [boxes, scores, truths], "average_precision": list(ranking)}
    for name, tensors in before.items():
        same = all(torch.equal(a, b) for a, b in zip(tensors, found[name], strict=True))
        _expect_untouched(same, name)
    for given, now in zip((detections, targets), found["mean_average_precision"], strict=True):
        same = len(given) == len(now) and all(
            a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a) for a, b in zip(given, now, strict=True)
        )
        _expect_untouched(same, "mean_average_precision")


def _expect_untouched(same, name):
    expect(
        same,
        expected=f"the arguments of {name} as they were",
        actual="a tensor, dict or list was changed in place",
        because="an evaluation only looks; the caller goes on with the same objects.",
        looks_like="an in-place operation on an argument, such as marking taken truths in `truths` itself",
    )
