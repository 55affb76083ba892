"""How good is a detector? Average precision, from matching boxes to mAP@[.5:.95].

Three steps, each small, each with its own classic mistakes: which detections are hits (image by image, each truth
once), how precision falls as recall rises (over all images together), and the mean over classes and thresholds.

    detections = [{"boxes": (N, 4), "scores": (N,), "labels": (N,)}, ...]  # one dict for each image
    targets = [{"boxes": (M, 4), "labels": (M,)}, ...]
    mean_average_precision(detections, targets)["map"]
"""

from __future__ import annotations

import math

import torch


def _ious(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Given, complete: IoU of every pair; 0 where the union is empty. (N, 4), (M, 4) -> (N, M)"""
    sides = torch.minimum(a[:, None, 2:], b[None, :, 2:]) - torch.maximum(a[:, None, :2], b[None, :, :2])
    both = sides.clamp(min=0).prod(dim=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(dim=1) for boxes in (a, b)]
    union = areas[0][:, None] + areas[1][None, :] - both
    return torch.where(union > 0, both / union, torch.zeros_like(union))


def match(boxes: torch.Tensor, scores: torch.Tensor, truths: torch.Tensor, iou_threshold: float = 0.5) -> torch.Tensor:
    """Which detections of one image are hits, in the order given. (N, 4), (N,), (M, 4) -> (N,) bool"""
    # solution: begin best score first: take the free truth with the highest IoU, if that is enough
    hits = torch.zeros(len(boxes), dtype=torch.bool)
    ious = _ious(boxes, truths)  # (N, M)
    for i in scores.argsort(descending=True, stable=True).tolist():
        if len(truths) == 0:
            break
        best = int(ious[i].argmax())
        if ious[i, best] >= iou_threshold:
            hits[i] = True
            ious[:, best] = -1.0  # taken: a second detection of the same truth is a false positive
    return hits
    # solution: end


def average_precision(scores: torch.Tensor, hits: torch.Tensor, num_truths: int, points: int | None = None) -> float:
    """AP of one class from all its detections, in any order. (N,), (N,) bool, total of truths -> float"""
    # solution: begin sort, count, precision envelope; then its area, or its mean at `points` recalls
    if num_truths == 0:
        return math.nan  # nothing to find: neither good nor bad
    order = scores.argsort(descending=True, stable=True)
    found = hits[order].long().cumsum(dim=0)  # (N,) hits among the first 1, 2, ... detections
    precision = found.double() / torch.arange(1, len(found) + 1)
    # The envelope: the best precision at this recall *or a higher one*, a running maximum from the right.
    envelope = precision.flip(0).cummax(dim=0).values.flip(0)
    if points is None:
        # Recall rises by 1 / num_truths at each hit, so the area is a sum over the hits.
        return float(envelope[hits[order]].sum() / num_truths)
    # Whole numbers: at the k-th point found / num_truths >= k / (points - 1), with no rounding at equality.
    grid = torch.arange(points)
    reached = found[:, None] * (points - 1) >= grid * num_truths  # (N, points)
    # The envelope falls, so its maximum over all that reach the recall is the precision there. 0 if none does.
    best = torch.where(reached, envelope[:, None], 0.0)
    return float(torch.cat([best, torch.zeros(1, points)]).amax(dim=0).mean())
    # solution: end


def mean_average_precision(
    detections: list[dict[str, torch.Tensor]],
    targets: list[dict[str, torch.Tensor]],
    iou_thresholds: list[float] | None = None,
) -> dict[str, object]:
    """{"map", "map_50", "map_75": float, "per_class": {label: float}} of a whole data set, one dict for each image."""
    # solution: begin for each class and threshold: match image by image, pool all images, one AP
    if iou_thresholds is None:
        iou_thresholds = [0.5 + 0.05 * k for k in range(10)]
    labels = sorted({label for target in targets for label in target["labels"].tolist()})

    def ap(label: int, threshold: float) -> float:
        scores, hits, num_truths = [torch.zeros(0)], [torch.zeros(0, dtype=torch.bool)], 0
        for found, target in zip(detections, targets, strict=True):
            own, truths = found["labels"] == label, target["boxes"][target["labels"] == label]
            scores.append(found["scores"][own])
            hits.append(match(found["boxes"][own], found["scores"][own], truths, threshold))
            num_truths += len(truths)
        # One ranking over all images. A mean of the images' APs would be another number.
        return average_precision(torch.cat(scores), torch.cat(hits), num_truths)

    def mean(values: list[float]) -> float:
        return sum(values) / len(values) if values else math.nan

    per_class = {label: mean([ap(label, threshold) for threshold in iou_thresholds]) for label in labels}
    return {
        "map": mean(list(per_class.values())),
        "map_50": mean([ap(label, 0.5) for label in labels]),
        "map_75": mean([ap(label, 0.75) for label in labels]),
        "per_class": per_class,
    }
    # solution: end
