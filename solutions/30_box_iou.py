"""How much do two boxes overlap? IoU and GIoU of every pair, by broadcasting.

Everything in detection rests on this number: matching predictions to truths, suppressing duplicates, the metric.
A box is (x1, y1, x2, y2) in continuous coordinates, so its width is x2 - x1: the old "+ 1" counted pixels.

    box_iou(torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 1.0, 3.0, 3.0]]))  # tensor([[0.1429]]), 1 / 7
"""

from __future__ import annotations

import torch


def _floating(boxes: torch.Tensor) -> torch.Tensor:
    """A helper, yours to use or to delete: the boxes in a float type that areas fit into."""
    # solution: begin float64 stays, everything else becomes float32
    # float16 ends at 65504, which is an area of 256 x 256; integers wrap around, and can't hold a ratio.
    return boxes if boxes.dtype == torch.float64 else boxes.float()
    # solution: end


def _ratio(part: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    """A helper, yours to use or to delete: part / whole, and 0 where whole is 0."""
    # solution: begin divide so that neither the value nor the gradient of 0 / 0 becomes nan
    # The zeros are replaced before the division. A torch.where around part / whole would repair the value, but
    # backward still goes through the division, and 0 * nan is nan.
    return part / torch.where(whole > 0, whole, torch.ones_like(whole))
    # solution: end


def _overlap(boxes_a: torch.Tensor, boxes_b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A helper, yours to use or to delete: intersection and union of every pair, (N, M) each."""
    # solution: begin the intersection's sides by broadcasting, then areas
    top_left = torch.maximum(boxes_a[:, None, :2], boxes_b[None, :, :2])  # (N, 1, 2) with (1, M, 2) -> (N, M, 2)
    bottom_right = torch.minimum(boxes_a[:, None, 2:], boxes_b[None, :, 2:])
    # Disjoint boxes have a negative side; without the clamp two of them would make a positive area.
    width, height = (bottom_right - top_left).clamp(min=0).unbind(dim=2)
    intersection = width * height
    union = box_area(boxes_a)[:, None] + box_area(boxes_b)[None, :] - intersection  # counted in both areas
    return intersection, union
    # solution: end


def box_area(boxes: torch.Tensor) -> torch.Tensor:
    """The areas. (N, 4) -> (N,)"""
    # solution: begin width times height
    x1, y1, x2, y2 = _floating(boxes).unbind(dim=1)
    return (x2 - x1) * (y2 - y1)
    # solution: end


def box_iou(boxes_a: torch.Tensor, boxes_b: torch.Tensor) -> torch.Tensor:
    """Intersection over union of every pair, 0 where the union is empty. (N, 4), (M, 4) -> (N, M)"""
    # solution: begin intersection / union
    intersection, union = _overlap(_floating(boxes_a), _floating(boxes_b))
    return _ratio(intersection, union)
    # solution: end


def generalized_box_iou(boxes_a: torch.Tensor, boxes_b: torch.Tensor) -> torch.Tensor:
    """IoU minus the empty share of the smallest box around both. (N, 4), (M, 4) -> (N, M), from -1 to 1"""
    # solution: begin IoU - (hull - union) / hull
    boxes_a, boxes_b = _floating(boxes_a), _floating(boxes_b)
    intersection, union = _overlap(boxes_a, boxes_b)
    top_left = torch.minimum(boxes_a[:, None, :2], boxes_b[None, :, :2])
    bottom_right = torch.maximum(boxes_a[:, None, 2:], boxes_b[None, :, 2:])
    width, height = (bottom_right - top_left).unbind(dim=2)  # never negative: no clamp
    hull = width * height
    # IoU is 0 for all disjoint boxes, near or far, so its gradient is 0 too. The second term pulls them together.
    return _ratio(intersection, union) - _ratio(hull - union, hull)
    # solution: end
