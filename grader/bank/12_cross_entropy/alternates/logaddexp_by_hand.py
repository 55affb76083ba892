"""The log of the sum as a function of its own; targets moved to the last dimension and flattened."""

import torch


def _log_sum_exp(x, dim):
    top = torch.max(x, dim=dim, keepdim=True)[0].detach()
    return top + torch.log(torch.sum(torch.exp(x - top), dim=dim, keepdim=True))


def log_softmax(logits, dim=-1):
    # x - (max + log sum) would lose digits for large logits; subtracting one after the other doesn't
    top = torch.max(logits, dim=dim, keepdim=True)[0].detach()
    return (logits - top) - _log_sum_exp(logits - top, dim)


def cross_entropy(logits, targets, weight=None, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
    c = logits.size(1)
    shape = targets.shape
    rows = logits.movedim(1, -1).reshape(-1, c)
    flat = targets.reshape(-1)
    keep = flat.ne(ignore_index)
    w = torch.ones(c, dtype=logits.dtype) if weight is None else weight.to(logits.dtype)

    chosen, y = log_softmax(rows[keep], dim=1), flat[keep]
    part = -chosen[torch.arange(len(y)), y] * w[y]
    if label_smoothing:
        part = part * (1 - label_smoothing) - (label_smoothing / c) * (chosen @ w)
    if reduction == "mean":
        return part.sum() / w[y].sum()
    if reduction == "sum":
        return part.sum()
    everything = torch.zeros(flat.shape, dtype=logits.dtype)
    everything[keep] = part
    return everything.view(shape)
