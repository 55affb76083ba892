"""A mask of the maxima, cut down to the first of them by a cumulative sum; spread back position by position."""

import math

import torch


class MaxPool2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, kernel, stride, padding):
        ph, pw = padding
        padded = torch.nn.functional.pad(x, (pw, pw, ph, ph), "constant", -math.inf)
        w = padded.unfold(2, kernel[0], stride[0]).unfold(3, kernel[1], stride[1]).flatten(-2)
        out = w.amax(dim=-1)
        equal = w == out[..., None]
        first = equal & (equal.cumsum(-1) == 1)
        ctx.save_for_backward(first)
        ctx.geometry = (tuple(x.shape), kernel, stride, padding)
        return out

    @staticmethod
    def backward(ctx, g):
        (first,) = ctx.saved_tensors
        (n, c, h, w), (kh, kw), (sh, sw), (ph, pw) = ctx.geometry
        oh, ow = g.shape[-2:]
        total = g.new_zeros(n, c, h + 2 * ph, w + 2 * pw)
        for at in range(kh * kw):
            i, j = divmod(at, kw)
            total[:, :, i : i + sh * (oh - 1) + 1 : sh, j : j + sw * (ow - 1) + 1 : sw] += g * first[..., at]
        return total[:, :, ph : ph + h, pw : pw + w], None, None, None


def max_pool2d(x, kernel_size, stride=None, padding=0):
    k = (kernel_size,) * 2 if isinstance(kernel_size, int) else tuple(kernel_size)
    s = k if stride is None else (stride,) * 2 if isinstance(stride, int) else tuple(stride)
    p = (padding,) * 2 if isinstance(padding, int) else tuple(padding)
    if p[0] * 2 > k[0] or p[1] * 2 > k[1]:
        raise ValueError("pad should be smaller than or equal to half of kernel size")
    return MaxPool2d.apply(x, k, s, p)  # unfold raises when the kernel doesn't fit
