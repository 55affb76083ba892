"""Builds the target distribution first, smoothing included, and takes one weighted sum."""

import torch


def log_softmax(logits, dim=-1):
    z = logits - logits.max(dim=dim, keepdim=True).values
    return z - torch.log(torch.exp(z).sum(dim, keepdim=True))


def cross_entropy(logits, targets, weight=None, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
    num_classes = logits.shape[1]
    ignored = targets == ignore_index
    targets = targets.masked_fill(ignored, 0)
    if weight is None:
        weight = torch.ones(num_classes, dtype=logits.dtype)

    q = torch.full_like(logits, label_smoothing / num_classes)
    q = q.scatter_add(1, targets.unsqueeze(1), torch.full_like(logits[:, :1], 1 - label_smoothing))
    q = q.masked_fill(ignored.unsqueeze(1), 0.0)
    q = q * weight.view([1, num_classes] + [1] * (targets.ndim - 1))

    log_p = log_softmax(logits, 1)
    # where q is 0 nothing is to be added, not even 0 * -inf
    losses = -(q * log_p.masked_fill(q == 0, 0.0)).sum(1)
    match reduction:
        case "none":
            return losses
        case "sum":
            return torch.sum(losses)
        case _:
            return torch.sum(losses) / weight[targets].masked_fill(ignored, 0).sum()
