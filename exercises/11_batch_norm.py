"""Batch normalisation for feature maps: two modes, two variances, and a state that isn't trained.

In training each channel is normalised by the mean and variance of the batch at hand, and a running average of both is
kept. In evaluation the running average is used instead, so that an image's result doesn't depend on its neighbours.

    norm = BatchNorm2d(16)
    y = norm(torch.randn(8, 16, 32, 32))              # every channel of y: mean 0, variance 1
    norm.eval()
"""

from __future__ import annotations

import torch
from torch import nn


class BatchNorm2d(nn.Module):
    """(N, C, H, W) -> (N, C, H, W), each channel normalised over N, H and W."""

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        raise NotImplementedError("TODO: weight and bias (None if not affine), and three buffers")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        raise NotImplementedError("TODO: pick the statistics by mode, normalise, scale and shift")

    def _batch_statistics(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """A helper, yours to use or to delete: (C,) mean and biased variance; updates the running ones."""
        raise NotImplementedError("TODO: statistics over N, H, W; then the running average")
