"""Cross-entropy from logits, by hand, with everything that `F.cross_entropy` can do to class indices.

The loss of an example is -log p[target]. The art is in never computing p: the exponential of a logit of 100
overflows float32, and the logarithm of a probability that was rounded to 0 is infinite. Both vanish in log space.

    cross_entropy(torch.zeros(1, 10), torch.tensor([3]))  # ln 10 = 2.3026, the loss of knowing nothing
"""

from __future__ import annotations

import torch


def log_softmax(logits: torch.Tensor, dim: int = -1) -> torch.Tensor:
    """The logarithm of the softmax along `dim`, for logits of any size. Same shape."""
    # solution: begin shift by the maximum, then subtract the log of the sum of the exponentials
    # log softmax doesn't change when all logits move alike. With the largest at 0 no exponential overflows, and
    # one of them is 1, so that the sum is at least 1 and its logarithm is finite.
    shifted = logits - logits.amax(dim=dim, keepdim=True)
    return shifted - shifted.exp().sum(dim=dim, keepdim=True).log()
    # solution: end


def cross_entropy(
    logits: torch.Tensor,
    targets: torch.Tensor,
    weight: torch.Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> torch.Tensor:
    """The loss of logits (N, C, ...) for targets (N, ...). A scalar, or (N, ...) with reduction="none"."""
    # solution: begin pick -log p of the targets, smooth, weight, leave out what is ignored, reduce
    num_classes = logits.shape[1]
    log_p = log_softmax(logits, dim=1)  # (N, C, ...)
    counted = targets != ignore_index  # (N, ...)
    index = torch.where(counted, targets, 0)  # -100 is no index; what is picked there is thrown away below
    if weight is None:
        weight = logits.new_ones(num_classes)

    of_target = weight[index]  # (N, ...)
    # gather instead of a product with one-hot targets: 0 * -inf is nan, and C times the memory.
    loss = -of_target * log_p.gather(1, index.unsqueeze(1)).squeeze(1)
    if label_smoothing > 0:
        # The target distribution is (1 - e) * one-hot + e / C everywhere, the target's own class included.
        of_class = weight.reshape(1, -1, *[1] * (logits.dim() - 2))
        smooth = -(of_class * log_p).sum(dim=1) / num_classes
        loss = (1 - label_smoothing) * loss + label_smoothing * smooth
    loss = torch.where(counted, loss, 0.0)

    if reduction == "none":
        return loss
    if reduction == "sum":
        return loss.sum()
    # A weighted mean divides by the weights that went in, not by N. With nothing counted, 0 / 0 is nan.
    return loss.sum() / torch.where(counted, of_target, 0.0).sum()
    # solution: end
