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
        raise NotImplementedError("TODO: self.growth: nn.Parameter (features,), all 2.0")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, features) -> (N, features)."""
        raise NotImplementedError("TODO: grow the rows below the limit, max_steps at most")


class Swish(torch.autograd.Function):
    """y = x · sigmoid(beta · x), with a backward of its own. Used as `Swish.apply(x, beta)`; beta has shape ()."""

    @staticmethod
    def forward(ctx, x: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError("TODO: save for backward, return x * sigmoid(beta * x)")

    @staticmethod
    def backward(ctx, grad_y: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        raise NotImplementedError("TODO: grad_x and grad_beta; None where not needed")


class Quantize(torch.autograd.Function):
    """Rounds to `levels` evenly spaced values in [0, 1], with a straight-through gradient.

    Used as `Quantize.apply(x, levels)`; `levels` is an int, at least 2.
    """

    @staticmethod
    def forward(ctx, x: torch.Tensor, levels: int) -> torch.Tensor:
        raise NotImplementedError("TODO: clamp to [0, 1], round to the nearest level")

    @staticmethod
    def backward(ctx, grad_y: torch.Tensor) -> tuple[torch.Tensor, None]:
        raise NotImplementedError("TODO: pass grad_y where 0 <= x <= 1; None for levels")
