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
    # solution: begin the kernel's span, then how often the stride fits into what is left
    span = dilation * (kernel - 1) + 1  # from the first to the last pixel under the kernel, both included
    return (size + 2 * padding - span) // stride + 1  # floored: pixels at the end may stay unread
    # solution: end


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
    # solution: begin check the shapes, pad, view all windows, sum over channels and kernel, add the bias
    (sh, sw), (ph, pw), (dh, dw) = _pair(stride), _pair(padding), _pair(dilation)
    c = x.shape[1]
    o, c_group, kh, kw = weight.shape
    if c != c_group * groups or o % groups:
        raise ValueError(f"{c} channels and a weight of shape {tuple(weight.shape)} don't fit {groups} groups")

    x = F.pad(x, (pw, pw, ph, ph))  # F.pad counts from the last axis: columns come first
    # unfold is a view: no pixel is copied. Windows as long as the dilated kernel, of which every d-th pixel is read.
    # It makes as many of them as output_size says, and raises when the kernel is larger than the padded image.
    windows = x.unfold(2, dh * (kh - 1) + 1, sh).unfold(3, dw * (kw - 1) + 1, sw)
    windows = windows[..., ::dh, ::dw]  # (N, C, OH, OW, KH, KW)

    # Group g owns a block of neighbouring channels, in and out. One axis more says so.
    windows = windows.unflatten(1, (groups, c_group))  # (N, G, C/G, OH, OW, KH, KW)
    kernels = weight.unflatten(0, (groups, o // groups))  # (G, O/G, C/G, KH, KW)
    # The sum over (c, k, l) is a matrix product; einsum copies the windows into a matrix (im2col) and calls it.
    out = torch.einsum("ngchwkl,gockl->ngohw", windows, kernels).flatten(1, 2)  # (N, O, OH, OW)
    return out if bias is None else out + bias[:, None, None]  # one number per channel, not per column
    # solution: end
