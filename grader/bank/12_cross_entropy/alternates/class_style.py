"""A module that holds the options, as nn.CrossEntropyLoss does, and a thin function around it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def log_softmax(logits: Tensor, dim: int = -1) -> Tensor:
    biggest, _ = logits.max(dim, keepdim=True)
    moved = logits.sub(biggest)
    return moved.sub(moved.exp().sum(dim, keepdim=True).log())


class Loss(nn.Module):
    def __init__(self, weight: Tensor | None, ignore_index: int, smoothing: float, reduction: str) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index
        self.smoothing = smoothing
        self.reduction = reduction

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        classes = logits.shape[1]
        weight = torch.ones(classes).type_as(logits) if self.weight is None else self.weight
        ignored = targets.eq(self.ignore_index)
        safe = targets.clone()
        safe[ignored] = 0
        log_p = log_softmax(logits, dim=1)
        weights = weight.take(safe).masked_fill(ignored, 0.0)
        hard = log_p.gather(1, safe.unsqueeze(1)).squeeze(1).masked_fill(ignored, 0.0)
        loss = weights * hard.neg()
        if self.smoothing:
            extra = (log_p.transpose(0, 1).flatten(1) * weight.unsqueeze(1)).sum(0).view(targets.shape).neg()
            loss = torch.lerp(loss, extra.masked_fill(ignored, 0.0) / classes, self.smoothing)
        if self.reduction == "mean":
            loss = loss.sum().div(weights.sum())
        elif self.reduction == "sum":
            loss = loss.sum()
        return loss


def cross_entropy(
    logits: Tensor,
    targets: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    return Loss(weight, ignore_index, label_smoothing, reduction)(logits, targets)
