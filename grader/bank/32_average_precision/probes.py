"""Fetches hits, average precisions and mAPs. Judges nothing."""

from __future__ import annotations


def _copy(images):
    return [{name: value.clone() for name, value in image.items()} for image in images]


def matches(candidate, cases):
    return [
        candidate.match(boxes.clone(), scores.clone(), truths.clone(), *rest) for boxes, scores, truths, *rest in cases
    ]


def precisions(candidate, cases):
    return [candidate.average_precision(scores.clone(), hits.clone(), *rest) for scores, hits, *rest in cases]


def means(candidate, cases):
    return [candidate.mean_average_precision(_copy(found), _copy(targets), *rest) for found, targets, *rest in cases]


def inputs_afterwards(candidate, matching, ranking, detections, targets):
    """The inputs, once each function has seen them."""
    first = [t.clone() for t in matching]
    candidate.match(*first)
    second = [t.clone() for t in ranking]
    candidate.average_precision(*second, 5)
    third = [_copy(detections), _copy(targets)]
    candidate.mean_average_precision(*third)
    return {"match": first, "average_precision": second, "mean_average_precision": third}
