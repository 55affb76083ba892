"""No padding at all: positions outside the image are clamped into it and masked; topk forward, index_add backward."""

import torch


def pair(value):
    return (value, value) if isinstance(value, int) else (value[0], value[1])


class MaxPool2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, kernel, stride, padding):
        h, w = x.shape[2:]
        starts = [torch.arange((n + 2 * p - k) // s + 1) * s - p for n, k, s, p in zip((h, w), kernel, stride, padding)]
        i, j = (start[:, None] + torch.arange(k) for start, k in zip(starts, kernel))  # (OH, KH), (OW, KW)
        i, j = i[:, None, :, None], j[None, :, None, :]
        inside = ((i >= 0) & (i < h) & (j >= 0) & (j < w)).flatten(2)
        place = (i.clamp(0, h - 1) * w + j.clamp(0, w - 1)).flatten(2)  # (OH, OW, KH * KW)
        top = x.flatten(2)[:, :, place].masked_fill(~inside, float("-inf")).topk(1, -1)
        ctx.save_for_backward(place.expand(*x.shape[:2], -1, -1, -1).gather(-1, top.indices).squeeze(-1))
        ctx.shape = x.shape
        return top.values.squeeze(-1)

    @staticmethod
    def backward(ctx, grad):
        (place,) = ctx.saved_tensors
        n, c, h, w = ctx.shape
        image = torch.arange(n * c).view(n, c, 1, 1) * (h * w)
        flat = grad.new_zeros(n * c * h * w).index_add(0, (place + image).flatten(), grad.flatten())
        return flat.view(ctx.shape), None, None, None


def max_pool2d(x, kernel_size, stride=None, padding=0):
    k, p = pair(kernel_size), pair(padding)
    if any(2 * a > b for a, b in zip(p, k)):
        raise ValueError("too much padding")
    if any(b > n + 2 * a for a, b, n in zip(p, k, x.shape[2:])):
        raise ValueError("the kernel is larger than the padded image")
    return MaxPool2d.apply(x, k, k if stride is None else pair(stride), p)
