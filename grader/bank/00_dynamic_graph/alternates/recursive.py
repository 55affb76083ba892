"""Recursion instead of a loop: any Python control flow will do."""

import math

import torch


def input_gradient(fn, x):
    leaf = x.detach().clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(fn(leaf).sum(), leaf)
    return gradient


class GrowUntil(torch.nn.Module):
    def __init__(self, features, limit=10.0, max_steps=8):
        super().__init__()
        self.growth = torch.nn.Parameter(torch.tensor([2.0] * features))
        self.limit = float(limit)
        self.max_steps = int(max_steps)

    def forward(self, x):
        return self._grow(x, self.max_steps)

    def _grow(self, h, steps_left):
        done = (h * h).sum(dim=1, keepdim=True) >= self.limit**2
        if steps_left == 0 or bool(done.all()):
            return h
        factor = torch.where(done, torch.ones_like(self.growth), self.growth)
        return self._grow(h * factor, steps_left - 1)


class Swish(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, beta):
        ctx.save_for_backward(x, beta)
        return 0.5 * x * (1 + torch.tanh(beta * x / 2))

    @staticmethod
    def backward(ctx, dy):
        x, beta = ctx.saved_tensors
        t = torch.tanh(beta * x / 2)
        sech2 = 1 - t**2
        dx = db = None
        if ctx.needs_input_grad[0]:
            dx = dy * (0.5 * (1 + t) + 0.25 * beta * x * sech2)
        if ctx.needs_input_grad[1]:
            db = (dy * 0.25 * x**2 * sech2).sum()
        return dx, db


class Quantize(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, levels):
        ctx.save_for_backward(x)
        ctx.levels = levels  # not a tensor: an attribute is the right place
        assert math.isfinite(levels) and levels >= 2
        return torch.div(torch.round(torch.clip(x, 0, 1) * (levels - 1)), levels - 1)

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return dy * x.ge(0).to(dy.dtype) * x.le(1).to(dy.dtype), None
