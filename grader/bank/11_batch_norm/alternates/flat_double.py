"""One row of values for each channel, in float64; buffers written through .data."""

import torch
from torch import nn


class BatchNorm2d(nn.Module):
    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=True):
        super().__init__()
        self.c, self.eps, self.momentum = num_features, eps, momentum
        self.weight = nn.Parameter(torch.ones(num_features)) if affine else None
        self.bias = nn.Parameter(torch.zeros(num_features)) if affine else None
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))
        self.register_buffer("num_batches_tracked", torch.zeros((), dtype=torch.int64))

    def _remember(self, buffer, new, share):
        buffer.data = ((1 - share) * buffer + share * new.detach().squeeze(1)).to(buffer.dtype)

    def forward(self, x):
        n, c, h, w = x.shape
        if c != self.c:
            raise ValueError(f"{c} channels instead of {self.c}")
        rows = x.transpose(0, 1).flatten(1).double()  # (C, N * H * W)
        k = rows.size(1)
        if self.training:
            if k < 2:
                raise ValueError("one value per channel")
            mean = rows.sum(1, keepdim=True) / k
            var = (rows - mean).square().sum(1, keepdim=True) / k
            self.num_batches_tracked.data = self.num_batches_tracked.data + 1
            share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self._remember(self.running_mean, mean, share)
            self._remember(self.running_var, var * k / (k - 1), share)
        else:
            mean, var = self.running_mean[:, None], self.running_var[:, None]
        y = (rows - mean) * torch.pow(var + self.eps, -0.5)
        if self.weight is not None:
            y = torch.addcmul(self.bias[:, None].double(), y, self.weight[:, None].double())
        return y.to(x.dtype).reshape(c, n, h, w).transpose(0, 1)
