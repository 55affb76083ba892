"""Channels moved to the end, so that everything broadcasts by itself; std_mean."""

import torch
from torch import nn


class BatchNorm2d(nn.Module):
    num_batches_tracked: torch.Tensor
    running_mean: torch.Tensor
    running_var: torch.Tensor

    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=True):
        super().__init__()
        self.eps = eps
        self.momentum = momentum
        self.register_parameter("weight", nn.Parameter(torch.ones(num_features)) if affine else None)
        self.register_parameter("bias", nn.Parameter(torch.zeros(num_features)) if affine else None)
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, images):
        if images.ndim != 4:
            raise ValueError(f"expected 4 dimensions, got {images.ndim}")
        if images.shape[1] != self.running_mean.numel():
            raise ValueError("number of channels")
        x = images.permute(0, 2, 3, 1)
        pixels = x.reshape(-1, x.shape[-1])
        if self.training:
            if len(pixels) == 1:
                raise ValueError("one pixel")
            mean = pixels.mean(0)
            var = (pixels - mean).square().mean(0)
            self._remember(pixels.detach())
        else:
            mean, var = self.running_mean, self.running_var
        x = (x - mean) / (var + self.eps) ** 0.5
        if self.weight is not None:
            x = x * self.weight + self.bias
        return x.permute(0, 3, 1, 2).contiguous()

    def _remember(self, pixels):
        self.num_batches_tracked += 1
        keep = 1 - (1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum)
        std, mean = torch.std_mean(pixels, 0)
        self.running_mean.mul_(keep).add_(mean, alpha=1 - keep)
        self.running_var.mul_(keep).add_(std**2, alpha=1 - keep)
