"""im2col; the winners as a one-hot mask; backward is the mask times the gradient, folded back."""

import torch
import torch.nn.functional as F


class MaxPool2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, kernel, stride, padding):
        n, c, h, w = x.shape
        (kh, kw), (ph, pw) = kernel, padding
        padded = F.pad(x, (pw, pw, ph, ph), value=float("-inf"))
        oh = (padded.shape[2] - kh) // stride[0] + 1
        ow = (padded.shape[3] - kw) // stride[1] + 1
        columns = F.unfold(padded, kernel, stride=stride).view(n, c, kh * kw, oh * ow)
        winners = columns.argmax(dim=2, keepdim=True)
        mask = torch.zeros_like(columns).scatter_(2, winners, 1.0)
        ctx.save_for_backward(mask)
        ctx.settings = kernel, stride, padding, (h, w)
        return columns.gather(2, winners).view(n, c, oh, ow)

    @staticmethod
    def backward(ctx, grad):
        (mask,) = ctx.saved_tensors
        kernel, stride, (ph, pw), (h, w) = ctx.settings
        n, c = grad.shape[:2]
        columns = mask * grad.reshape(n, c, 1, -1)
        padded = F.fold(columns.flatten(1, 2), (h + 2 * ph, w + 2 * pw), kernel, stride=stride)
        return padded[:, :, ph : ph + h, pw : pw + w], None, None, None


def max_pool2d(x, kernel_size, stride=None, padding=0):
    def pair(v):
        return (v, v) if isinstance(v, int) else tuple(v)

    kernel, padding = pair(kernel_size), pair(padding)
    stride = kernel if stride is None else pair(stride)
    if 2 * padding[0] > kernel[0] or 2 * padding[1] > kernel[1]:
        raise ValueError("padding should be at most half of the kernel")
    if x.shape[2] + 2 * padding[0] < kernel[0] or x.shape[3] + 2 * padding[1] < kernel[1]:
        raise ValueError("kernel larger than the image")
    return MaxPool2d.apply(x, kernel, stride, padding)
