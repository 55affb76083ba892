"""A denominator clamped at a very small number: nothing is added, and 0 / small is 0."""

from __future__ import annotations

import torch
from torch import Tensor

SMALL = 1e-12


def to_float(boxes: Tensor) -> Tensor:
    return boxes.to(torch.promote_types(boxes.dtype, torch.float32))


def box_area(boxes: Tensor) -> Tensor:
    boxes = to_float(boxes)
    return torch.mul(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])


def _stats(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    a, b = a.unsqueeze(-2), b.unsqueeze(-3)
    inner = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp_min(0)
    outer = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    area = lambda box: (box[..., 2] - box[..., 0]) * (box[..., 3] - box[..., 1])  # noqa: E731
    inter = inner[..., 0] * inner[..., 1]
    return inter, area(a) + area(b) - inter, outer[..., 0] * outer[..., 1]


def box_iou(boxes_a: Tensor, boxes_b: Tensor) -> Tensor:
    inter, union, _ = _stats(to_float(boxes_a), to_float(boxes_b))
    return inter / union.clamp(min=SMALL)


def generalized_box_iou(boxes_a: Tensor, boxes_b: Tensor) -> Tensor:
    inter, union, hull = _stats(to_float(boxes_a), to_float(boxes_b))
    return inter / union.clamp(min=SMALL) - (hull - union) / hull.clamp(min=SMALL)
