"""How much do two boxes overlap? IoU and GIoU of every pair, by broadcasting.

Everything in detection rests on this number: matching predictions to truths, suppressing duplicates, the metric.
A box is (x1, y1, x2, y2) in continuous coordinates, so its width is x2 - x1: the old "+ 1" counted pixels.

    box_iou(torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 1.0, 3.0, 3.0]]))  # tensor([[0.1429]]), 1 / 7
"""

from __future__ import annotations

import torch


def _floating(boxes: torch.Tensor) -> torch.Tensor:
    """A helper, yours to use or to delete: the boxes in a float type that areas fit into."""
    raise NotImplementedError("TODO: float64 stays, everything else becomes float32")


def _ratio(part: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    """A helper, yours to use or to delete: part / whole, and 0 where whole is 0."""
    raise NotImplementedError(
        "TODO: divide so that neither the value nor the gradient of 0 / 0 becomes nan"
    )


def _overlap(boxes_a: torch.Tensor, boxes_b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A helper, yours to use or to delete: intersection and union of every pair, (N, M) each."""
    raise NotImplementedError("TODO: the intersection's sides by broadcasting, then areas")


def box_area(boxes: torch.Tensor) -> torch.Tensor:
    """The areas. (N, 4) -> (N,)"""
    raise NotImplementedError("TODO: width times height")


def box_iou(boxes_a: torch.Tensor, boxes_b: torch.Tensor) -> torch.Tensor:
    """Intersection over union of every pair, 0 where the union is empty. (N, 4), (M, 4) -> (N, M)"""
    raise NotImplementedError("TODO: intersection / union")


def generalized_box_iou(boxes_a: torch.Tensor, boxes_b: torch.Tensor) -> torch.Tensor:
    """IoU minus the empty share of the smallest box around both. (N, 4), (M, 4) -> (N, M), from -1 to 1"""
    raise NotImplementedError("TODO: IoU - (hull - union) / hull")
