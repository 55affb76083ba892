"""Advanced indexing: two index tables say which row and column lie under each weight."""

import torch
from torch import Tensor
from torch.nn import functional as F


def output_size(size: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> int:
    count, position = 0, 0
    while position + dilation * (kernel - 1) < size + 2 * padding:
        count, position = count + 1, position + stride
    return count


def _rows(size, kernel, stride, padding, dilation):
    n = output_size(size, kernel, stride, padding, dilation)
    if n == 0:
        raise ValueError("nothing fits")
    return torch.arange(n)[:, None] * stride + torch.arange(kernel) * dilation  # (positions, kernel)


def _as_tuple(value):
    try:
        first, second = value
    except TypeError:
        first = second = value
    return first, second


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None, stride=1, padding=0, dilation=1, groups=1) -> Tensor:
    if x.shape[1] != weight.shape[1] * groups or weight.shape[0] % groups != 0:
        raise ValueError("shapes don't fit")
    s, p, d = map(_as_tuple, (stride, padding, dilation))
    rows = _rows(x.shape[2], weight.shape[2], s[0], p[0], d[0])
    cols = _rows(x.shape[3], weight.shape[3], s[1], p[1], d[1])
    x = F.pad(x, [p[1], p[1], p[0], p[0]])
    windows = x[:, :, rows[:, None, :, None], cols[None, :, None, :]]  # N C OH OW KH KW
    n, c, oh, ow, kh, kw = windows.shape
    windows = windows.reshape(n, groups, c // groups, oh, ow, kh, kw)
    windows = windows.permute(1, 0, 3, 4, 2, 5, 6).reshape(groups, n * oh * ow, -1)
    kernels = weight.reshape(groups, weight.shape[0] // groups, -1).transpose(1, 2)
    out = torch.bmm(windows, kernels)  # G, N*OH*OW, O/G
    out = out.reshape(groups, n, oh, ow, -1).permute(1, 0, 4, 2, 3).reshape(n, -1, oh, ow)
    return out if bias is None else out + bias.unsqueeze(-1).unsqueeze(-1)
