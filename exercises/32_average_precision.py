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
    raise NotImplementedError(
        "TODO: best score first: take the free truth with the highest IoU, if that is enough"
    )


def average_precision(scores: torch.Tensor, hits: torch.Tensor, num_truths: int, points: int | None = None) -> float:
    """AP of one class from all its detections, in any order. (N,), (N,) bool, total of truths -> float"""
    raise NotImplementedError(
        "TODO: sort, count, precision envelope; then its area, or its mean at `points` recalls"
    )


def mean_average_precision(
    detections: list[dict[str, torch.Tensor]],
    targets: list[dict[str, torch.Tensor]],
    iou_thresholds: list[float] | None = None,
) -> dict[str, object]:
    """{"map", "map_50", "map_75": float, "per_class": {label: float}} of a whole data set, one dict for each image."""
    raise NotImplementedError(
        "TODO: for each class and threshold: match image by image, pool all images, one AP"
    )
