"""By the Fourier transform: a correlation is a product there, with one factor conjugated; strides pick afterwards."""

import torch
import torch.nn.functional as F


def both(v):
    return tuple(v) if isinstance(v, (tuple, list)) else (v, v)


def output_size(size, kernel, stride=1, padding=0, dilation=1):
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    n, c, h, w = x.shape
    o, cg, kh, kw = weight.shape
    if c != cg * groups or o % groups:
        raise ValueError(f"{tuple(x.shape)} and {tuple(weight.shape)} don't fit {groups} groups")
    (sh, sw), (ph, pw), (dh, dw) = both(stride), both(padding), both(dilation)
    oh, ow = output_size(h, kh, sh, ph, dh), output_size(w, kw, sw, pw, dw)
    if min(oh, ow) < 1:
        raise ValueError("the kernel is larger than the padded image")

    x = F.pad(x, (pw, pw, ph, ph))
    size = x.shape[2:]
    spread = x.new_zeros(o, cg, dh * (kh - 1) + 1, dw * (kw - 1) + 1)
    spread[:, :, ::dh, ::dw] = weight
    images = torch.fft.rfft2(x).unflatten(1, (groups, cg))
    kernels = torch.fft.rfft2(spread, s=size).unflatten(0, (groups, o // groups))
    product = torch.einsum("ngchw,gochw->ngohw", images, kernels.conj()).flatten(1, 2)
    out = torch.fft.irfft2(product, s=size)[:, :, : sh * (oh - 1) + 1 : sh, : sw * (ow - 1) + 1 : sw]
    return out if bias is None else out + bias[:, None, None]
