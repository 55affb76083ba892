"""A running maximum over the positions of the kernel, with the winner's index kept beside it."""

import torch


class MaxPool2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, kernel, stride, padding):
        N, C, H, W = x.shape
        (KH, KW), (SH, SW), (PH, PW) = kernel, stride, padding
        OH = (H + 2 * PH - KH) // SH + 1
        OW = (W + 2 * PW - KW) // SW + 1
        padded = x.new_full((N, C, H + 2 * PH, W + 2 * PW), float("-inf"))
        padded[:, :, PH : PH + H, PW : PW + W] = x
        numbers = torch.arange(padded.shape[2] * padded.shape[3]).view(padded.shape[2:])
        best = index = None
        for k in range(KH):
            for l in range(KW):  # noqa: E741
                area = (slice(k, k + SH * (OH - 1) + 1, SH), slice(l, l + SW * (OW - 1) + 1, SW))
                here, number = padded[(..., *area)], numbers[area].expand(N, C, OH, OW)
                if best is None:
                    best, index = here, number
                else:
                    better = here >= best  # the last of equal pixels wins
                    best, index = torch.where(better, here, best), torch.where(better, number, index)
        ctx.save_for_backward(index)
        ctx.sizes = (N, C, H, W), padding
        return best.clone()

    @staticmethod
    def backward(ctx, grad):
        (index,) = ctx.saved_tensors
        (N, C, H, W), (PH, PW) = ctx.sizes
        flat = grad.new_zeros(N, C, (H + 2 * PH) * (W + 2 * PW))
        flat = flat.scatter_add(-1, index.reshape(N, C, -1), grad.reshape(N, C, -1))
        padded = flat.reshape(N, C, H + 2 * PH, W + 2 * PW)
        return padded[:, :, PH : PH + H, PW : PW + W], None, None, None


def _tuple(v):
    return tuple(v) if isinstance(v, (list, tuple)) else (v, v)


def max_pool2d(x, kernel_size, stride=None, padding=0):
    kernel, pad = _tuple(kernel_size), _tuple(padding)
    for i in (0, 1):
        if pad[i] > kernel[i] / 2:
            raise ValueError("too much padding")
        if kernel[i] > x.shape[2 + i] + 2 * pad[i]:
            raise ValueError("kernel too large")
    return MaxPool2d.apply(x, kernel, kernel if stride is None else _tuple(stride), pad)
