"""Which of a thousand overlapping detections are worth keeping? Greedy, per-class and soft NMS.

A detector fires several times at each object. Non-maximum suppression takes the best-scored box, drops what overlaps it
too much, and goes on with what is left. It is greedy by nature: whether a box survives depends on those
kept before it, so one loop stays. What belongs to one kept box is done for all others at once.

    keep = nms(boxes, scores, iou_threshold=0.5)
    boxes[keep], scores[keep]  # best first
"""

from __future__ import annotations

import torch


def _ious(box: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """Given, complete: the IoU of one box with many; 0 where the union is empty. (4,), (N, 4) -> (N,)"""
    sides = torch.minimum(box[2:], boxes[:, 2:]) - torch.maximum(box[:2], boxes[:, :2])
    both = sides.clamp(min=0).prod(dim=1)
    union = (box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(dim=1) - both
    return torch.where(union > 0, both / union, torch.zeros_like(union))


def _best_first(scores: torch.Tensor) -> torch.Tensor:
    """A helper, yours to use or to delete: the indices by falling score, the smaller index first among equals."""
    raise NotImplementedError("TODO: sort so that the order of ties is defined")


def nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """The indices of the boxes that survive, best first. (N, 4), (N,) -> (K,) int64"""
    raise NotImplementedError(
        "TODO: take the best, drop what overlaps it by more than the threshold, repeat"
    )


def batched_nms(boxes: torch.Tensor, scores: torch.Tensor, classes: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """NMS within each class; the survivors of all classes together, best first. -> (K,) int64"""
    raise NotImplementedError("TODO: nms for each class, then one common order")


def soft_nms(
    boxes: torch.Tensor, scores: torch.Tensor, sigma: float = 0.5, score_threshold: float = 0.001
) -> tuple[torch.Tensor, torch.Tensor]:
    """Lowers scores instead of dropping boxes. -> (K,) int64 indices as picked, (K,) their scores when picked"""
    raise NotImplementedError(
        "TODO: pick the best, multiply the others' scores by exp(-iou² / sigma), repeat"
    )
