"""The targets as a boolean table, by comparison with all class numbers; an ignored row has no True in it."""

import torch


def log_softmax(logits, dim=-1):
    x = logits - torch.amax(logits, dim, True)
    return x - torch.log1p(x.exp().sum(dim, True) - 1)


def cross_entropy(logits, targets, weight=None, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
    c = logits.shape[1]
    column = [1, c] + [1] * (targets.dim() - 1)
    log_p = log_softmax(logits, 1)
    ignored = targets == ignore_index
    hot = (torch.arange(c).view(column) == targets.unsqueeze(1)) & ~ignored.unsqueeze(1)
    w = (torch.ones(c, dtype=logits.dtype) if weight is None else weight).view(column)
    loss = -log_p.masked_fill(~hot, 0).mul(w).sum(1)
    if label_smoothing:
        spread = -(log_p * w).sum(1).masked_fill(ignored, 0) / c
        loss = (1 - label_smoothing) * loss + label_smoothing * spread
    if reduction == "none":
        return loss
    return loss.sum() / (1 if reduction == "sum" else (hot * w).sum())
