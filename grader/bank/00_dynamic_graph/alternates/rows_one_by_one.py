"""Row by row in plain Python; functions in the newer setup_context style."""

import torch
import torch.nn as nn


def input_gradient(fn, x):
    leaf = x.detach().clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(fn(leaf).sum(), leaf)
    return gradient


class GrowUntil(nn.Module):
    def __init__(self, features, limit=10.0, max_steps=8):
        super().__init__()
        self.limit, self.max_steps = limit, max_steps
        self.growth = nn.Parameter(torch.ones(features) * 2)

    def grow_row(self, row):
        steps = 0
        while row.norm() < self.limit and steps < self.max_steps:
            row = row * self.growth
            steps += 1
        return row

    def forward(self, x):
        return torch.stack([self.grow_row(row) for row in x])


class Swish(torch.autograd.Function):
    @staticmethod
    def forward(x, beta):
        return x * (beta * x).sigmoid()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grad):
        x, beta = ctx.saved_tensors
        s = (beta * x).sigmoid()
        need_x, need_beta = ctx.needs_input_grad
        dx = grad * s * (1 + beta * x * (1 - s)) if need_x else None
        # not summed: autograd reduces a gradient to the shape of its input
        dbeta = grad * x.pow(2) * s * (1 - s) if need_beta else None
        return dx, dbeta


class Quantize(torch.autograd.Function):
    @staticmethod
    def forward(x, levels):
        n = levels - 1
        return x.mul(n).add(0.5).floor().clamp(0, n).div(n)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, _ = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad.masked_fill((x < 0) | (x > 1), 0.0), None
