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
        # solution: begin conv1, bn1, conv2, bn2; downsample where shapes change; zero_init
        # No biases: batch norm subtracts the mean, and a constant with it, and has a bias of its own.
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = None
        if stride != 1 or in_channels != channels:  # x can't be added as it is: a 1x1 convolution fits its shape
            conv = nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False)
            # With a norm, both summands have the same scale at the start.
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(channels))
        if zero_init:
            # The last factor of the branch: everything before it keeps its scale and learns from the second step on.
            nn.init.zeros_(self.bn2.weight)
        # solution: end

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # solution: begin the branch, the shortcut, their sum, then the ReLU
        shortcut = x if self.downsample is None else self.downsample(x)
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))  # no ReLU yet: a correction must be able to be negative
        return F.relu(out + shortcut)  # a new tensor; `shortcut += out` would write into x
        # solution: end


class ResNet18(nn.Module):
    """(N, 3, H, W) -> (N, num_classes) logits, for images of any size. `width`: channels of the first stage."""

    def __init__(self, num_classes: int = 10, width: int = 64, zero_init: bool = False) -> None:
        super().__init__()
        # solution: begin conv1 and bn1, layer1 to layer4 with two blocks each, fc
        # 3x3 with stride 1 and no pooling: the 7x7 stem for ImageNet would leave 8x8 of a 32x32 image.
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = self._stage(width, width, 1, zero_init)
        self.layer2 = self._stage(width, 2 * width, 2, zero_init)  # half the size, twice the channels:
        self.layer3 = self._stage(2 * width, 4 * width, 2, zero_init)  # every stage costs about the same
        self.layer4 = self._stage(4 * width, 8 * width, 2, zero_init)
        self.fc = nn.Linear(8 * width, num_classes)
        # solution: end

    def _stage(self, in_channels: int, channels: int, stride: int, zero_init: bool) -> nn.Sequential:
        """A helper, yours to use or to delete: two blocks, the first with the stride."""
        # solution: begin two blocks in an nn.Sequential
        first = BasicBlock(in_channels, channels, stride, zero_init)
        return nn.Sequential(first, BasicBlock(channels, channels, zero_init=zero_init))
        # solution: end

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # solution: begin stem with its ReLU, four stages, mean over H and W, fc
        x = F.relu(self.bn1(self.conv1(x)))  # (N, width, H, W)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))  # (N, 8 * width, H / 8, W / 8)
        return self.fc(x.mean(dim=(2, 3)))  # the mean fits any size
        # solution: end
