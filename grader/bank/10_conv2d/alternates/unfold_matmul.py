"""im2col by F.unfold, one matrix product for each group."""

import torch
import torch.nn.functional as F


def output_size(size: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> int:
    effective_kernel = kernel + (kernel - 1) * (dilation - 1)
    return (size - effective_kernel + 2 * padding) // stride + 1


def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    out_channels, _, kh, kw = weight.shape
    assert out_channels % groups == 0 and x.shape[1] == weight.shape[1] * groups, "channels and groups don't fit"

    def pair(value):
        return value if isinstance(value, (tuple, list)) else (value, value)

    stride, padding, dilation = pair(stride), pair(padding), pair(dilation)
    oh = output_size(x.shape[2], kh, stride[0], padding[0], dilation[0])
    ow = output_size(x.shape[3], kw, stride[1], padding[1], dilation[1])

    results = []
    for part, kernels in zip(x.chunk(groups, dim=1), weight.chunk(groups, dim=0), strict=True):
        columns = F.unfold(part, (kh, kw), dilation=dilation, padding=padding, stride=stride)  # N, C*KH*KW, L
        results.append(kernels.flatten(1) @ columns)
    out = torch.cat(results, dim=1).view(x.shape[0], out_channels, oh, ow)
    if bias is None:
        return out
    return out + bias.reshape(-1, 1, 1)
