"""With the gradient written by hand, p - q, as the fused kernels do."""

import torch


class LogSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, dim):
        x = x - x.amax(dim, keepdim=True)
        out = x - x.exp().sum(dim, keepdim=True).log()
        ctx.save_for_backward(out)
        ctx.dim = dim
        return out

    @staticmethod
    def backward(ctx, grad):
        (out,) = ctx.saved_tensors
        return grad - out.exp() * grad.sum(ctx.dim, keepdim=True), None


def log_softmax(logits, dim=-1):
    return LogSoftmax.apply(logits, dim)


def cross_entropy(logits, targets, weight=None, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
    mask = (targets != ignore_index).to(logits.dtype)
    y = targets * mask.long()
    log_p = log_softmax(logits, 1)
    nll = -torch.take_along_dim(log_p, y[:, None], dim=1)[:, 0]
    per_class = torch.ones(logits.shape[1]).to(logits) if weight is None else weight
    wy = per_class[y] * mask
    loss = wy * nll.masked_fill(mask == 0, 0.0)
    if label_smoothing != 0.0:
        uniform = -torch.einsum("nc...,c->n...", log_p, per_class)
        loss = loss * (1 - label_smoothing) + label_smoothing / logits.shape[1] * uniform.where(mask != 0, 0.0)
    if reduction == "none":
        return loss
    total = loss.sum()
    return total if reduction == "sum" else total / wy.sum()
