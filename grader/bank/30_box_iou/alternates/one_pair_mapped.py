"""One pair of boxes with plain indexing, mapped over both lists by torch.vmap; an empty denominator gets 1 added."""

from __future__ import annotations

import torch
from torch import Tensor


def _number(boxes: Tensor) -> Tensor:
    return boxes.to(torch.float64 if boxes.dtype == torch.float64 else torch.float32)


def _sides(low: Tensor, high: Tensor) -> Tensor:
    return (high[2] - low[0]) * (high[3] - low[1])


def _fraction(part: Tensor, whole: Tensor) -> Tensor:
    return part / (whole + (whole == 0))


def _pair(p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """IoU, and the empty share of the hull."""
    least, most = torch.minimum(p, q), torch.maximum(p, q)
    both = (least[2] - most[0]).clamp(min=0) * (least[3] - most[1]).clamp(min=0)
    union = _sides(p, p) + _sides(q, q) - both
    hull = _sides(least, most)
    return _fraction(both, union), _fraction(hull - union, hull)


def _table(boxes_a: Tensor, boxes_b: Tensor) -> tuple[Tensor, Tensor]:
    a, b = _number(boxes_a), _number(boxes_b)
    if not (len(a) and len(b)):
        nothing = (a.sum() + b.sum()).expand(len(a), len(b))
        return nothing, nothing
    return torch.vmap(torch.vmap(_pair, (None, 0)), (0, None))(a, b)


def box_area(boxes: Tensor) -> Tensor:
    x1, y1, x2, y2 = _number(boxes).T
    return (x2 - x1) * (y2 - y1)


def box_iou(boxes_a: Tensor, boxes_b: Tensor) -> Tensor:
    return _table(boxes_a, boxes_b)[0]


def generalized_box_iou(boxes_a: Tensor, boxes_b: Tensor) -> Tensor:
    iou, empty = _table(boxes_a, boxes_b)
    return iou - empty
