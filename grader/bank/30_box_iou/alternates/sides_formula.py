"""The overlap of two intervals as (length + length - reach), clamped at 0; widths and heights handled alike."""

import torch


class _Axis:
    """Every pair of intervals on one axis."""

    def __init__(self, a, b):
        self.length_a = a[:, 1] - a[:, 0]
        self.length_b = b[:, 1] - b[:, 0]
        low = torch.minimum(a[:, None, 0], b[None, :, 0])
        high = torch.maximum(a[:, None, 1], b[None, :, 1])
        self.reach = high - low
        inside_low = torch.maximum(a[:, None, 0], b[None, :, 0])
        inside_high = torch.minimum(a[:, None, 1], b[None, :, 1])
        self.overlap = (inside_high - inside_low).clamp(min=0)


def _axes(boxes_a, boxes_b):
    kind = torch.float64 if torch.float64 in (boxes_a.dtype, boxes_b.dtype) else torch.float32
    a, b = boxes_a.to(kind), boxes_b.to(kind)
    return _Axis(a[:, 0::2], b[:, 0::2]), _Axis(a[:, 1::2], b[:, 1::2])


def box_area(boxes):
    if boxes.dtype != torch.float64:
        boxes = boxes.float()
    return torch.diff(boxes[:, 0::2], dim=1)[:, 0] * torch.diff(boxes[:, 1::2], dim=1)[:, 0]


def _measure(boxes_a, boxes_b):
    x, y = _axes(boxes_a, boxes_b)
    both = x.overlap * y.overlap
    union = torch.outer(x.length_a * y.length_a, torch.ones_like(x.length_b)) + (x.length_b * y.length_b) - both
    return both, union, x.reach * y.reach


def box_iou(boxes_a, boxes_b):
    both, union, _ = _measure(boxes_a, boxes_b)
    empty = (union == 0).to(union.dtype)
    return both / (union + empty)


def generalized_box_iou(boxes_a, boxes_b):
    both, union, hull = _measure(boxes_a, boxes_b)
    # union / hull - 1 is -(hull - union) / hull, but for an empty hull
    penalty = (hull - union) / (hull + (hull == 0).to(hull.dtype))
    return both / (union + (union == 0).to(union.dtype)) - penalty
