"""Cross-entropy from logits, by hand, with everything that `F.cross_entropy` can do to class indices.

The loss of an example is -log p[target]. The art is in never computing p: the exponential of a logit of 100
overflows float32, and the logarithm of a probability that was rounded to 0 is infinite. Both vanish in log space.

    cross_entropy(torch.zeros(1, 10), torch.tensor([3]))  # ln 10 = 2.3026, the loss of knowing nothing
"""

from __future__ import annotations

import torch


def log_softmax(logits: torch.Tensor, dim: int = -1) -> torch.Tensor:
    """The logarithm of the softmax along `dim`, for logits of any size. Same shape."""
    raise NotImplementedError(
        "TODO: shift by the maximum, then subtract the log of the sum of the exponentials"
    )


def cross_entropy(
    logits: torch.Tensor,
    targets: torch.Tensor,
    weight: torch.Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> torch.Tensor:
    """The loss of logits (N, C, ...) for targets (N, ...). A scalar, or (N, ...) with reduction="none"."""
    raise NotImplementedError(
        "TODO: pick -log p of the targets, smooth, weight, leave out what is ignored, reduce"
    )
