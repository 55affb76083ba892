"""Dynamic graphs: a forward pass that decides as it runs, and gradients that you write yourself.

PyTorch records the graph while the forward pass runs, operation by operation. So plain Python may decide what
happens next: each call builds a new graph, and `backward` walks through exactly what was executed.

    net = GrowUntil(features=2)                       # doubles every row until its norm reaches 10
    net(torch.tensor([[3.0, 4.0], [0.6, 0.8]]))       # [[6, 8], [9.6, 12.8]]: one step and four
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


def input_gradient(fn: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """The gradient of `fn(x).sum()` with respect to `x`, same shape as `x`; `x` itself stays as it was.

    This part is complete. Read it, run `practice check 00`, and see its check pass.
    """
    leaf = x.detach().clone().requires_grad_(True)  # a copy of our own: the caller's tensor isn't touched
    (gradient,) = torch.autograd.grad(fn(leaf).sum(), leaf)  # returned, not added into anyone's .grad
    return gradient


class GrowUntil(nn.Module):
    """Multiplies each row by `growth`, again and again, until the row's Euclidean norm reaches `limit`."""

    def __init__(self, features: int, limit: float = 10.0, max_steps: int = 8) -> None:
        super().__init__()
        self.limit = limit
        self.max_steps = max_steps
        # solution: begin self.growth: nn.Parameter (features,), all 2.0
        self.growth = nn.Parameter(torch.full((features,), 2.0))  # a plain tensor would never be trained
        # solution: end

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, features) -> (N, features)."""
        # solution: begin grow the rows below the limit, max_steps at most
        h = x
        for _ in range(self.max_steps):
            small = torch.linalg.vector_norm(h, dim=1, keepdim=True) < self.limit  # (N, 1)
            if not small.any():  # ordinary control flow: the graph only ever holds the steps that were run
                break
            # where, not an in-place product: h may be the caller's own tensor, and backward needs the old h
            h = torch.where(small, h * self.growth, h)
        return h
        # solution: end


class Swish(torch.autograd.Function):
    """y = x · sigmoid(beta · x), with a backward of its own. Used as `Swish.apply(x, beta)`; beta has shape ()."""

    @staticmethod
    def forward(ctx, x: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
        # solution: begin save for backward, return x * sigmoid(beta * x)
        # Only inputs and outputs may be saved. Saving the sigmoid would spare a recomputation, but autograd
        # didn't record how it was made, so second derivatives would silently take it for a constant.
        ctx.save_for_backward(x, beta)
        return x * torch.sigmoid(beta * x)
        # solution: end

    @staticmethod
    def backward(ctx, grad_y: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        # solution: begin grad_x and grad_beta; None where not needed
        x, beta = ctx.saved_tensors
        s = torch.sigmoid(beta * x)
        slope = s * (1 - s)  # the derivative of the sigmoid
        grad_x = grad_beta = None
        if ctx.needs_input_grad[0]:
            grad_x = grad_y * (s + x * beta * slope)
        if ctx.needs_input_grad[1]:
            grad_beta = (grad_y * x * x * slope).sum()  # beta went into every element: its gradients add up
        return grad_x, grad_beta
        # solution: end


class Quantize(torch.autograd.Function):
    """Rounds to `levels` evenly spaced values in [0, 1], with a straight-through gradient.

    Used as `Quantize.apply(x, levels)`; `levels` is an int, at least 2.
    """

    @staticmethod
    def forward(ctx, x: torch.Tensor, levels: int) -> torch.Tensor:
        # solution: begin clamp to [0, 1], round to the nearest level
        ctx.save_for_backward(x)
        return torch.round(x.clamp(0, 1) * (levels - 1)) / (levels - 1)
        # solution: end

    @staticmethod
    def backward(ctx, grad_y: torch.Tensor) -> tuple[torch.Tensor, None]:
        # solution: begin pass grad_y where 0 <= x <= 1; None for levels
        (x,) = ctx.saved_tensors
        inside = (x >= 0) & (x <= 1)
        # The true derivative is 0 almost everywhere and would stop all learning; the identity is a useful lie.
        return grad_y * inside, None  # one value for every argument of forward, None for the int
        # solution: end
