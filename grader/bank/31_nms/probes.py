"""Fetches what survives. Judges nothing."""

from __future__ import annotations

import torch

from grader.checking import probing


def greedy(candidate, cases):
    return [probing.call(candidate.nms, boxes.clone(), scores.clone(), t) for boxes, scores, t in cases]


def by_class(candidate, cases):
    return [
        probing.call(candidate.batched_nms, boxes.clone(), scores.clone(), classes.clone(), threshold)
        for boxes, scores, classes, threshold in cases
    ]


def soft(candidate, cases):
    return [
        probing.call(candidate.soft_nms, boxes.clone(), scores.clone(), **options) for boxes, scores, options in cases
    ]


def without_boxes(candidate, nothing):
    """Every function on no boxes at all."""
    return {
        "nms": greedy(candidate, [(*case[:2], 0.5) for case in nothing]),
        "batched_nms": by_class(candidate, [(*case, 0.5) for case in nothing]),
        "soft_nms": soft(candidate, [(*case[:2], {}) for case in nothing]),
    }


def inputs_afterwards(candidate, boxes, scores, classes):
    """The inputs, once each function has seen them."""
    seen = {}
    for name, rest in {"nms": (0.3,), "batched_nms": (classes.clone(), 0.3), "soft_nms": ()}.items():
        given = [boxes.clone(), scores.clone()]
        getattr(candidate, name)(*given, *rest)
        seen[name] = [*given, *[r for r in rest if isinstance(r, torch.Tensor)]]
    return seen


def library_calls(candidate, boxes, scores, classes):
    """The functions of torchvision that run inside the candidate's calls, whatever way they were imported."""
    with probing.library_calls("torchvision.ops") as called:
        candidate.nms(boxes.clone(), scores.clone(), 0.5)
        candidate.batched_nms(boxes.clone(), scores.clone(), classes.clone(), 0.5)
        candidate.soft_nms(boxes.clone(), scores.clone())
    return sorted(set(called))


def cost(candidate, cases):
    """For each function and each size: operations, and lines of Python run."""
    calls = {
        "nms": lambda boxes, scores, classes: candidate.nms(boxes, scores, 0.5),
        "batched_nms": lambda boxes, scores, classes: candidate.batched_nms(boxes, scores, classes, 0.5),
        "soft_nms": lambda boxes, scores, classes: candidate.soft_nms(boxes, scores),
    }
    found = {}
    for name, call in calls.items():
        call(*cases[0])  # whatever happens only once, happens here
        found[name] = []
        for case in cases:
            found[name].append(probing.cost(lambda call=call, case=case: call(*[t.clone() for t in case])))
    return found
