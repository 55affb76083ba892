"""Scale and shift folded into one multiplication and one addition; buffers replaced instead of changed in place."""

import torch


class BatchNorm2d(torch.nn.Module):
    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True):
        super().__init__()
        self.C = num_features
        self.eps = eps
        self.m = momentum
        self.weight = torch.nn.Parameter(torch.ones(num_features)) if affine else None
        self.bias = torch.nn.Parameter(torch.zeros(num_features)) if affine else None
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))
        self.register_buffer("num_batches_tracked", torch.tensor(0, dtype=torch.int64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, c, h, w = x.shape  # raises a ValueError for other than four dimensions
        if c != self.C:
            raise ValueError(f"{c} channels instead of {self.C}")
        if self.training:
            mean, var = self.update(x, n * h * w)
        else:
            mean, var = self.running_mean, self.running_var
        centred = x - mean.reshape(c, 1, 1)
        scale = (var + self.eps).pow(-0.5)
        if self.weight is not None:
            scale = scale * self.weight
        out = centred * scale.reshape(c, 1, 1)
        return out if self.bias is None else out + self.bias.reshape(c, 1, 1)

    def update(self, x, count):
        if count == 1:
            raise ValueError("a single value has no variance")
        flat = x.transpose(0, 1).reshape(self.C, count)
        mean = flat.mean(1)
        var = (flat - mean.unsqueeze(1)).pow(2).mean(1)
        self.num_batches_tracked = self.num_batches_tracked + 1
        m = 1.0 / self.num_batches_tracked.item() if self.m is None else self.m
        self.running_mean = (1 - m) * self.running_mean + m * mean.detach()
        self.running_var = (1 - m) * self.running_var + m * var.detach() * count / (count - 1)
        return mean, var
