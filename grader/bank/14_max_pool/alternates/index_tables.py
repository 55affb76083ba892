"""Advanced indexing with tables of rows and columns; index_put with accumulate in backward."""

import torch
from torch.nn.functional import pad as pad_tensor


class MaxPool2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, kernel, stride, padding):
        h, w = x.shape[2:]
        p = pad_tensor(x, [padding[1]] * 2 + [padding[0]] * 2, value=-torch.inf)
        oh = (h + 2 * padding[0] - kernel[0]) // stride[0] + 1
        ow = (w + 2 * padding[1] - kernel[1]) // stride[1] + 1
        top = torch.arange(oh) * stride[0]
        left = torch.arange(ow) * stride[1]
        k, l = torch.meshgrid(torch.arange(kernel[0]), torch.arange(kernel[1]), indexing="ij")  # noqa: E741
        rows = (top[:, None, None] + k.reshape(-1)).expand(oh, ow, -1)
        cols = (left[None, :, None] + l.reshape(-1)).expand(oh, ow, -1)
        windows = p[:, :, rows, cols]  # n, c, oh, ow, kh*kw
        which = windows.argmax(-1, keepdim=True)
        row = rows.expand_as(windows).gather(-1, which).squeeze(-1) - padding[0]
        col = cols.expand_as(windows).gather(-1, which).squeeze(-1) - padding[1]
        ctx.save_for_backward(row, col)
        ctx.x_shape = x.shape
        return torch.gather(windows, -1, which).squeeze(-1)

    @staticmethod
    def backward(ctx, grad_output):
        row, col = ctx.saved_tensors
        n, c = ctx.x_shape[:2]
        example = torch.arange(n).view(n, 1, 1, 1)
        channel = torch.arange(c).view(1, c, 1, 1)
        zeros = torch.zeros(ctx.x_shape, dtype=grad_output.dtype)
        return zeros.index_put((example, channel, row, col), grad_output, accumulate=True), None, None, None


def max_pool2d(x, kernel_size, stride=None, padding=0):
    stride = kernel_size if stride is None else stride
    kernel_size, stride, padding = (
        (v, v) if isinstance(v, int) else (v[0], v[1]) for v in (kernel_size, stride, padding)
    )
    assert all(p <= k // 2 for p, k in zip(padding, kernel_size, strict=True)), "at most half the kernel"
    fits = [s + 2 * p >= k for s, p, k in zip(x.shape[2:], padding, kernel_size, strict=True)]
    if not all(fits):
        raise ValueError("the kernel doesn't fit")
    return MaxPool2d.apply(x, kernel_size, stride, padding)
