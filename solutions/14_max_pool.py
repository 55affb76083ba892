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
        # solution: begin pad by -inf, each window's maximum, save its place
        (kh, kw), (sh, sw), (ph, pw) = kernel, stride, padding
        # -inf never wins. Zeros would: in a window of negative numbers they are the maximum.
        padded = F.pad(x, (pw, pw, ph, ph), value=-torch.inf)
        # (N, C, OH, OW, KH, KW), a view; unfold raises when the kernel is larger than the padded image
        windows = padded.unfold(2, kh, sh).unfold(3, kw, sw)
        best, at = windows.flatten(4).max(dim=-1)  # at: 0 .. KH * KW - 1, one winner even among equals

        # From a place in the window to a place in the image: the window's corner, plus the row and column in it.
        oh, ow = at.shape[2:]
        rows = torch.arange(oh, device=x.device)[:, None] * sh + at // kw - ph
        columns = torch.arange(ow, device=x.device) * sw + at % kw - pw
        # One number per output is all that backward needs; saving the windows would keep KH * KW times as many.
        ctx.save_for_backward(rows * x.shape[3] + columns)
        ctx.shape = x.shape
        return best
        # solution: end

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        """(N, C, OH, OW) -> (N, C, H, W), and None for what isn't a tensor."""
        # solution: begin add each output's gradient to the pixel that won
        (index,) = ctx.saved_tensors
        n, c, h, w = ctx.shape
        # scatter_add, not scatter: where windows overlap, one pixel may win several times, and its gradients add up.
        zeros = grad.new_zeros(n, c, h * w)
        return zeros.scatter_add(2, index.flatten(2), grad.flatten(2)).view(ctx.shape), None, None, None
        # solution: end


def max_pool2d(
    x: torch.Tensor,
    kernel_size: int | tuple[int, int],
    stride: int | tuple[int, int] | None = None,
    padding: int | tuple[int, int] = 0,
) -> torch.Tensor:
    """(N, C, H, W) -> (N, C, OH, OW); the stride is the kernel's size when none is given."""
    # solution: begin the default stride, an error for too much padding, then apply
    kernel, padding = _pair(kernel_size), _pair(padding)
    stride = kernel if stride is None else _pair(stride)
    if 2 * padding[0] > kernel[0] or 2 * padding[1] > kernel[1]:  # a window could hold padding alone
        raise ValueError(f"padding {padding} is more than half of the kernel, {kernel}")
    return MaxPool2d.apply(x, kernel, stride, padding)
    # solution: end
