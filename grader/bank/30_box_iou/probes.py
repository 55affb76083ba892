"""Fetches areas, tables of overlaps and gradients. Judges nothing."""

from __future__ import annotations

from grader.checking import probing


def areas(candidate, cases):
    return [probing.call(candidate.box_area, boxes.clone()) for boxes in cases]


def ious(candidate, cases):
    return [probing.call(candidate.box_iou, a.clone(), b.clone()) for a, b in cases]


def gious(candidate, cases):
    return [probing.call(candidate.generalized_box_iou, a.clone(), b.clone()) for a, b in cases]


def both(candidate, cases):
    names = ("box_iou", "generalized_box_iou")
    return [{n: probing.call(getattr(candidate, n), a.clone(), b.clone()) for n in names} for a, b in cases]


def every_type(candidate, cases):
    areas_of = [probing.call(candidate.box_area, a.clone()) for a, _ in cases]
    return [{"box_area": area, **tables} for area, tables in zip(areas_of, both(candidate, cases), strict=True)]


def inputs_afterwards(candidate, a, b):
    """The boxes, once each function has seen them."""
    seen = {}
    for name in ("box_area", "box_iou", "generalized_box_iou"):
        given = [a.clone(), b.clone()]
        getattr(candidate, name)(*(given[:1] if name == "box_area" else given))
        seen[name] = given
    return seen


def gradients(candidate, cases):
    """For each (a, b, weights) and each function: the gradients of the weighted sum of the table; None for none."""
    found = []
    for a, b, weights in cases:
        row = {}
        for name in ("box_iou", "generalized_box_iou"):
            a1, b1 = a.clone().requires_grad_(), b.clone().requires_grad_()
            total = (probing.call(getattr(candidate, name), a1, b1) * weights).sum()
            if total.requires_grad:
                total.backward()
            row[name] = [a1.grad, b1.grad]
        found.append(row)
    return found


def library_calls(candidate, a, b):
    """The functions of torchvision that run inside the candidate's calls, whatever way they were imported."""
    with probing.library_calls("torchvision.ops") as called:
        candidate.box_area(a.clone())
        candidate.box_iou(a.clone(), b.clone())
        candidate.generalized_box_iou(a.clone(), b.clone())
    return sorted(set(called))


def cost(candidate, cases):
    """For each function and each size: operations, and lines of Python run."""
    calls = {
        "box_area": lambda a, b: candidate.box_area(a),
        "box_iou": candidate.box_iou,
        "generalized_box_iou": candidate.generalized_box_iou,
    }
    found = {}
    for name, call in calls.items():
        call(*cases[0])  # whatever happens only once, happens here
        found[name] = []
        for a, b in cases:
            found[name].append(probing.cost(lambda call=call, a=a, b=b: call(a, b)))
    return found
