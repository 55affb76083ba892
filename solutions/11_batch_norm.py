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
        # solution: begin weight and bias (None if not affine), and three buffers
        # Parameters are trained and saved; buffers are saved and moved by .to(), but no optimizer sees them.
        self.weight = nn.Parameter(torch.ones(num_features)) if affine else None
        self.bias = nn.Parameter(torch.zeros(num_features)) if affine else None
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))
        self.register_buffer("num_batches_tracked", torch.tensor(0))  # int64; a tensor, so that it is saved, too
        # solution: end

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        # solution: begin pick the statistics by mode, normalise, scale and shift
        if x.ndim != 4 or x.shape[1] != self.num_features:
            raise ValueError(f"expected (N, {self.num_features}, H, W), got {tuple(x.shape)}")
        mean, var = self._batch_statistics(x) if self.training else (self.running_mean, self.running_var)
        # eps inside the root: for a constant channel the factor is 1 / sqrt(eps), and so is its gradient
        y = (x - mean[:, None, None]) * torch.rsqrt(var + self.eps)[:, None, None]
        if self.weight is not None:
            y = y * self.weight[:, None, None] + self.bias[:, None, None]
        return y
        # solution: end

    def _batch_statistics(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """A helper, yours to use or to delete: (C,) mean and biased variance; updates the running ones."""
        # solution: begin statistics over N, H, W; then the running average
        n = x.numel() // self.num_features  # values per channel
        if n == 1:
            raise ValueError("one value per channel has no variance to normalise by")
        # Gradients flow through both: moving one pixel moves the mean and variance of its whole channel.
        mean = x.mean(dim=(0, 2, 3))
        var = x.var(dim=(0, 2, 3), correction=0)  # biased: it makes the variance of this very batch 1

        with torch.no_grad():  # otherwise every batch's graph would hang on the next one's
            self.num_batches_tracked += 1
            share = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean += share * (mean - self.running_mean)
            # unbiased: as an estimate of the variance of all images, the batch's own is too small by (n - 1) / n
            self.running_var += share * (var * n / (n - 1) - self.running_var)
        return mean, var
        # solution: end
