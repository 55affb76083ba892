"""Max pooling, forward and backward, as a custom autograd function.

Forward keeps the largest value of every window. Backward sends each output's gradient to the one pixel that it came
from, so forward has to remember where that was.

    x = torch.randn(8, 16, 32, 32, requires_grad=True)
    y = max_pool2d(x, 3, stride=2, padding=1)         # (8, 16, 16, 16)
    y.sum().backward()                                # x.grad sums to y.numel(): no gradient is lost
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    """Given, complete: 3 means (3, 3), for rows and columns."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


class MaxPool2d(torch.autograd.Function):
    """Used as `MaxPool2d.apply(x, kernel, stride, padding)`; the last three are pairs (rows, columns)."""

    @staticmethod
    def forward(ctx, x: torch.Tensor, kernel, stride, padding) -> torch.Tensor:
        """(N, C, H, W) -> (N, C, OH, OW)."""
        raise NotImplementedError("TODO: pad by -inf, each window's maximum, save its place")

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        """(N, C, OH, OW) -> (N, C, H, W), and None for what isn't a tensor."""
        raise NotImplementedError("TODO: add each output's gradient to the pixel that won")


def max_pool2d(
    x: torch.Tensor,
    kernel_size: int | tuple[int, int],
    stride: int | tuple[int, int] | None = None,
    padding: int | tuple[int, int] = 0,
) -> torch.Tensor:
    """(N, C, H, W) -> (N, C, OH, OW); the stride is the kernel's size when none is given."""
    raise NotImplementedError("TODO: the default stride, an error for too much padding, then apply")
