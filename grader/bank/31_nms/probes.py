"""Fetches what survives. Judges nothing."""

from __future__ import annotations

import sys

import torch
from torch.overrides import TorchFunctionMode

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
    called = []

    def profile(frame, event, arg):
        name, module = frame.f_code.co_name, frame.f_globals.get("__name__", "")
        if event == "call" and module.startswith("torchvision.ops") and name != "<module>":
            called.append(name)
        elif event == "call" and module == "torch._ops" and name == "__call__":  # the library's compiled kernels
            kernel = str(getattr(frame.f_locals.get("self"), "_qualified_op_name", ""))
            if kernel.startswith("torchvision::"):
                called.append(kernel)

    sys.setprofile(profile)
    try:
        candidate.nms(boxes.clone(), scores.clone(), 0.5)
        candidate.batched_nms(boxes.clone(), scores.clone(), classes.clone(), 0.5)
        candidate.soft_nms(boxes.clone(), scores.clone())
    finally:
        sys.setprofile(None)
    return sorted(set(called))


class _Operations(TorchFunctionMode):
    """Counts the calls into torch."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


def _lines(call):
    """How many lines of Python run during the call, in any function."""
    count = 0

    def trace(frame, event, arg):
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


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
            given = [t.clone() for t in case]
            with _Operations() as operations:
                call(*given)
            lines = _lines(lambda call=call, case=case: call(*[t.clone() for t in case]))
            found[name].append({"operations": operations.count, "lines": lines})
    return found
