"""One matrix product per kernel position, on a strided slice of the image."""

import torch
import torch.nn.functional as F


def output_size(size, kernel, stride=1, padding=0, dilation=1):
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def _two(v):
    return tuple(v) if isinstance(v, (tuple, list)) else (v, v)


def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    s, p, d = _two(stride), _two(padding), _two(dilation)
    n, c, h, w = x.shape
    o, cg, kh, kw = weight.shape
    if c != cg * groups:
        raise ValueError("channels don't match")
    if o % groups != 0:
        raise ValueError("groups must divide the output channels")
    oh = output_size(h, kh, s[0], p[0], d[0])
    ow = output_size(w, kw, s[1], p[1], d[1])
    if min(oh, ow) <= 0:
        raise ValueError("kernel too large")
    x = F.pad(x, (p[1], p[1], p[0], p[0])).view(n, groups, cg, h + 2 * p[0], w + 2 * p[1])
    weight = weight.reshape(groups, o // groups, cg, kh, kw)
    out = x.new_zeros(n, groups, o // groups, oh, ow)
    for k in range(kh):
        for l in range(kw):  # noqa: E741
            top, left = k * d[0], l * d[1]
            patch = x[..., top : top + s[0] * (oh - 1) + 1 : s[0], left : left + s[1] * (ow - 1) + 1 : s[1]]
            out = out + torch.einsum("ngcij,goc->ngoij", patch, weight[..., k, l])
    out = out.reshape(n, o, oh, ow)
    if bias is not None:
        out = out + bias.view(1, -1, 1, 1)
    return out
