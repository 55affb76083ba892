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
    # solution: begin sort so that the order of ties is defined
    return scores.argsort(descending=True, stable=True)  # without `stable` the order of ties is open
    # solution: end


def nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """The indices of the boxes that survive, best first. (N, 4), (N,) -> (K,) int64"""
    # solution: begin take the best, drop what overlaps it by more than the threshold, repeat
    remaining = _best_first(scores)
    kept = []
    while remaining.numel() > 0:
        best, rest = remaining[0], remaining[1:]
        kept.append(int(best))
        # Only a *kept* box suppresses. What `best` drops here can't drop anything itself any more.
        remaining = rest[_ious(boxes[best], boxes[rest]) <= iou_threshold]
    return torch.tensor(kept, dtype=torch.int64)  # the dtype matters when nothing is kept
    # solution: end


def batched_nms(boxes: torch.Tensor, scores: torch.Tensor, classes: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """NMS within each class; the survivors of all classes together, best first. -> (K,) int64"""
    # solution: begin nms for each class, then one common order
    keep = torch.zeros(len(scores), dtype=torch.bool)
    for number in classes.unique():
        members = (classes == number).nonzero()[:, 0]  # (n,) indices into the whole list
        keep[members[nms(boxes[members], scores[members], iou_threshold)]] = True
    # The well-known trick is one nms over boxes moved apart by class * (largest coordinate + 1). It fails for
    # negative coordinates, and rounds the boxes to nothing when class numbers are large.
    order = _best_first(scores)
    return order[keep[order]]
    # solution: end


def soft_nms(
    boxes: torch.Tensor, scores: torch.Tensor, sigma: float = 0.5, score_threshold: float = 0.001
) -> tuple[torch.Tensor, torch.Tensor]:
    """Lowers scores instead of dropping boxes. -> (K,) int64 indices as picked, (K,) their scores when picked"""
    # solution: begin pick the best, multiply the others' scores by exp(-iou² / sigma), repeat
    scores = scores.clone()  # changed below, and it belongs to the caller
    waiting = torch.ones(len(scores), dtype=torch.bool)
    kept = []
    while waiting.any():
        # The scores change, so the order does: a search in every round, no sort before the first.
        best = int(scores.masked_fill(~waiting, -torch.inf).argmax())
        if scores[best] < score_threshold:
            break
        kept.append(best)
        waiting[best] = False
        decay = torch.exp(-(_ious(boxes[best], boxes) ** 2) / sigma)
        scores[waiting] *= decay[waiting]  # those picked already keep their scores
    keep = torch.tensor(kept, dtype=torch.int64)
    return keep, scores[keep]
    # solution: end
