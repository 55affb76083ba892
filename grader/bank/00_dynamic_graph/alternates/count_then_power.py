"""Counts the steps without a graph, then applies the closed form once, inside the graph."""

import torch
from torch import nn
from torch.autograd import Function


def input_gradient(fn, x):
    leaf = x.detach().clone().requires_grad_(True)
    fn(leaf).sum().backward()
    return leaf.grad


class GrowUntil(nn.Module):
    def __init__(self, features: int, limit: float = 10.0, max_steps: int = 8):
        super().__init__()
        self.growth = nn.Parameter(2.0 * torch.ones(features))
        self.limit = limit
        self.max_steps = max_steps

    @torch.no_grad()
    def count(self, x):
        steps = torch.zeros(x.size(0), 1, dtype=x.dtype)
        h = x.clone()
        for _ in range(self.max_steps):
            small = (h.pow(2).sum(1, keepdim=True).sqrt() < self.limit).to(x.dtype)
            steps += small
            h = h * (small * self.growth + (1 - small))
        return steps

    def forward(self, x):
        return x * self.growth ** self.count(x)


class Swish(Function):
    @staticmethod
    def forward(ctx, x, beta):
        ctx.save_for_backward(x, beta)
        return x / (1 + torch.exp(-beta * x))

    @staticmethod
    def backward(ctx, g):
        # let autograd differentiate the formula again; create_graph only when somebody records backward
        x, beta = ctx.saved_tensors
        wanted = [t for t, need in zip((x, beta), ctx.needs_input_grad) if need]
        recording = torch.is_grad_enabled()
        with torch.enable_grad():
            y = x * torch.sigmoid(beta * x)
            grads = iter(torch.autograd.grad(y, wanted, g, create_graph=recording))
        return tuple(next(grads) if need else None for need in ctx.needs_input_grad)


class Quantize(Function):
    @staticmethod
    def forward(ctx, x, levels):
        ctx.inside = (x >= 0) & (x <= 1)  # made here and nobody else's, so an attribute is safe
        steps = levels - 1
        return (x.clamp(min=0.0, max=1.0) * steps).round() / steps

    @staticmethod
    def backward(ctx, g):
        return torch.where(ctx.inside, g, torch.zeros_like(g)), None
