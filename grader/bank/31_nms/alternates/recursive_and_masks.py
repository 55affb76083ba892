"""A mask over all boxes instead of a shrinking list; batched NMS splits, suppresses, and merges."""

from __future__ import annotations

import torch
from torch import Tensor


class Pairwise:
    def __init__(self, boxes: Tensor) -> None:
        self.boxes = boxes
        self.size = boxes[:, 2:] - boxes[:, :2]

    def row(self, i: int) -> Tensor:
        low = self.boxes[:, :2].maximum(self.boxes[i, :2])
        high = self.boxes[:, 2:].minimum(self.boxes[i, 2:])
        inner = (high - low).clamp_min(0)
        inter = inner[:, 0] * inner[:, 1]
        area = self.size[:, 0] * self.size[:, 1]
        return inter / (area + area[i] - inter).clamp_min(1e-20)


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    dropped = torch.zeros(scores.shape, dtype=torch.bool)
    pairs, kept = Pairwise(boxes), []
    # sorted() is stable, and reverse=True keeps it stable
    for i in sorted(range(len(scores)), key=scores.tolist().__getitem__, reverse=True):
        if dropped[i]:
            continue
        kept.append(i)
        dropped |= pairs.row(i) > iou_threshold
        dropped[i] = True
    return torch.as_tensor(kept, dtype=torch.int64)


def batched_nms(boxes: Tensor, scores: Tensor, classes: Tensor, iou_threshold: float) -> Tensor:
    parts = [torch.empty(0, dtype=torch.int64)]
    for c in set(classes.tolist()):
        (own,) = torch.where(classes == c)
        parts.append(own[nms(boxes[own], scores[own], iou_threshold)])
    merged = torch.cat(parts).sort().values  # by index first, so that the stable sort settles ties by index
    return merged[scores[merged].argsort(descending=True, stable=True)]


def soft_nms(
    boxes: Tensor, scores: Tensor, sigma: float = 0.5, score_threshold: float = 0.001
) -> tuple[Tensor, Tensor]:
    pairs = Pairwise(boxes)
    live = scores.clone()
    final = torch.zeros_like(scores)
    keep: list[int] = []
    for _ in range(len(scores)):
        value, i = live.max(dim=0)
        if not value >= score_threshold:
            break
        keep.append(int(i))
        final[i] = value
        live = live * torch.exp(-pairs.row(int(i)).pow(2).div(sigma))
        live[i] = 0.0 if score_threshold > 0 else float("-inf")
        live[keep] = float("-inf")
    indices = torch.tensor(keep, dtype=torch.int64)
    return indices, final[indices]
