"""Fetches hits, average precisions and mAPs. Judges nothing."""

from __future__ import annotations

from grader.checking import probing

METRICS = (
    "torchvision.ops",
    "torchmetrics",
    "torcheval",
    "ignite.metrics",
    "pycocotools",
    "faster_coco_eval",
    "sklearn.metrics",
    "supervision",
    "mean_average_precision",
    "mapcalc",
)
"""Packages, or parts of packages, that compute what is to be written here."""


def _copy(images):
    return [{name: value.clone() for name, value in image.items()} for image in images]


def matches(candidate, cases):
    return [
        probing.call(candidate.match, boxes.clone(), scores.clone(), truths.clone(), *rest)
        for boxes, scores, truths, *rest in cases
    ]


def precisions(candidate, cases):
    return [
        probing.call(candidate.average_precision, scores.clone(), hits.clone(), *rest) for scores, hits, *rest in cases
    ]


def means(candidate, cases):
    return [
        probing.call(candidate.mean_average_precision, _copy(found), _copy(targets), *rest)
        for found, targets, *rest in cases
    ]


def library_calls(candidate, matching, ranking, detections, targets):
    """The functions of metric packages that run inside the candidate's calls, whatever way they were imported."""
    calls = [
        (candidate.match, [t.clone() for t in matching]),
        (candidate.average_precision, [*(t.clone() for t in ranking), 5]),
        (candidate.average_precision, [*(t.clone() for t in ranking), 5, 11]),
        (candidate.mean_average_precision, [_copy(detections), _copy(targets)]),
    ]
    with probing.library_calls(*METRICS) as called:  # what raises is for the other checks to tell
        ended = [probing.outcome(function, *given) for function, given in calls]
    if not any("value" in end for end in ended):
        probing.call(calls[0][0], *[t.clone() for t in matching])
    return sorted(set(called))


def inputs_afterwards(candidate, matching, ranking, detections, targets):
    """The inputs, once each function has seen them."""
    first = [t.clone() for t in matching]
    candidate.match(*first)
    second = [t.clone() for t in ranking]
    candidate.average_precision(*second, 5)
    third = [_copy(detections), _copy(targets)]
    candidate.mean_average_precision(*third)
    return {"match": first, "average_precision": second, "mean_average_precision": third}
