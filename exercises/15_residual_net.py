"""A residual network for small images: ResNet-18 as it is built for CIFAR-10.

A block adds what its two convolutions find to what came in. It only has to learn a correction, and the gradient has a
way past the convolutions that nothing weakens, which is why such nets can be a hundred layers deep.

    model = ResNet18()                                # 11,173,962 parameters
    logits = model(torch.randn(8, 3, 32, 32))         # (8, 10)
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class BasicBlock(nn.Module):
    """(N, in_channels, H, W) -> (N, channels, ceil(H / stride), ceil(W / stride))."""

    def __init__(self, in_channels: int, channels: int, stride: int = 1, zero_init: bool = False) -> None:
        super().__init__()
        raise NotImplementedError(
            "TODO: conv1, bn1, conv2, bn2; downsample where shapes change; zero_init"
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError("TODO: the branch, the shortcut, their sum, then the ReLU")


class ResNet18(nn.Module):
    """(N, 3, H, W) -> (N, num_classes) logits, for images of any size. `width`: channels of the first stage."""

    def __init__(self, num_classes: int = 10, width: int = 64, zero_init: bool = False) -> None:
        super().__init__()
        raise NotImplementedError("TODO: conv1 and bn1, layer1 to layer4 with two blocks each, fc")

    def _stage(self, in_channels: int, channels: int, stride: int, zero_init: bool) -> nn.Sequential:
        """A helper, yours to use or to delete: two blocks, the first with the stride."""
        raise NotImplementedError("TODO: two blocks in an nn.Sequential")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError("TODO: stem with its ReLU, four stages, mean over H and W, fc")
