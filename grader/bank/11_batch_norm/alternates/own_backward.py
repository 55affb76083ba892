"""The training path as a Function with its backward by hand."""

import torch
from torch import nn


class _Normalize(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, eps):
        mean = x.mean(dim=(0, 2, 3), keepdim=True)
        centred = x - mean
        var = (centred**2).mean(dim=(0, 2, 3), keepdim=True)
        inv_std = 1.0 / torch.sqrt(var + eps)
        normed = centred * inv_std
        ctx.save_for_backward(normed, inv_std)
        ctx.mark_non_differentiable(mean, var)
        return normed, mean, var

    @staticmethod
    def backward(ctx, grad, _mean, _var):
        normed, inv_std = ctx.saved_tensors
        g_mean = grad.mean(dim=(0, 2, 3), keepdim=True)
        g_normed = (grad * normed).mean(dim=(0, 2, 3), keepdim=True)
        return (grad - g_mean - normed * g_normed) * inv_std, None


class BatchNorm2d(nn.Module):
    def __init__(self, num_features, eps=1e-05, momentum=0.1, affine=True):
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.weight = self.bias = None
        if affine:
            self.weight = nn.Parameter(torch.ones(num_features))
            self.bias = nn.Parameter(torch.zeros(num_features))
        for name, value in {
            "running_mean": torch.zeros(num_features),
            "running_var": torch.ones(num_features),
            "num_batches_tracked": torch.tensor(0, dtype=torch.long),
        }.items():
            self.register_buffer(name, value)

    @torch.no_grad()
    def _track(self, mean, var, n):
        self.num_batches_tracked += 1
        eaf = self.momentum if self.momentum is not None else 1 / self.num_batches_tracked
        self.running_mean.copy_((1 - eaf) * self.running_mean + eaf * mean)
        self.running_var.copy_((1 - eaf) * self.running_var + eaf * var * (n / (n - 1)))

    def forward(self, x):
        if len(x.shape) != 4 or x.shape[1] != self.num_features:
            raise ValueError("expected (N, C, H, W)")
        if self.training:
            n = x[:, 0].numel()
            if n <= 1:
                raise ValueError("expected more than 1 value per channel when training")
            y, mean, var = _Normalize.apply(x, self.eps)
            self._track(mean.flatten(), var.flatten(), n)
        else:
            y = x - self.running_mean[None, :, None, None]
            y = y / torch.sqrt(self.running_var + self.eps)[None, :, None, None]
        if self.affine:
            y = y * self.weight[None, :, None, None] + self.bias[None, :, None, None]
        return y
