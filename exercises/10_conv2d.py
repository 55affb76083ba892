"""2-D convolution, written with nothing but indexing and one product.

What deep learning calls a convolution is a cross-correlation: lay the kernel on the image, multiply what lies on top
of each other, add up, move on. Most of the work is bookkeeping: which pixel lies under which weight.

    x = torch.randn(8, 3, 32, 32)
    w = torch.randn(16, 3, 5, 5)
    conv2d(x, w, stride=2, padding=2).shape           # (8, 16, 16, 16)
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    """Given, complete: 3 means (3, 3), for rows and columns."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def output_size(size: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> int:
    """How many positions a kernel has along one axis."""
    raise NotImplementedError(
        "TODO: the kernel's span, then how often the stride fits into what is left"
    )


def conv2d(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
) -> torch.Tensor:
    """(N, C, H, W), (O, C / groups, KH, KW), (O,) -> (N, O, OH, OW)."""
    raise NotImplementedError(
        "TODO: check the shapes, pad, view all windows, sum over channels and kernel, add the bias"
    )
