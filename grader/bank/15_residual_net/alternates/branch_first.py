"""One nn.Sequential for the whole network, its parts under the right names; the branch in a method."""

from collections import OrderedDict

import torch
from torch import nn


class BasicBlock(nn.Module):
    def __init__(self, in_channels: int, channels: int, stride: int = 1, zero_init: bool = False):
        super().__init__()
        conv = dict(kernel_size=3, padding=1, bias=False)
        self.conv1 = nn.Conv2d(in_channels, channels, stride=stride, **conv)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, **conv)
        self.bn2 = nn.BatchNorm2d(channels)
        with torch.no_grad():
            self.bn2.weight.fill_(0.0 if zero_init else 1.0)
        if (stride, in_channels) != (1, channels):
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, channels, kernel_size=1, stride=stride, bias=False), nn.BatchNorm2d(channels)
            )

    def branch(self, x):
        return self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))

    def forward(self, x):
        through = self.downsample(x) if hasattr(self, "downsample") else x
        return torch.relu(torch.add(self.branch(x), through))


class ResNet18(nn.Sequential):
    def __init__(self, num_classes: int = 10, width: int = 64, zero_init: bool = False):
        parts = OrderedDict(
            conv1=nn.Conv2d(3, width, kernel_size=3, padding="same", bias=False),
            bn1=nn.BatchNorm2d(width),
            relu=nn.ReLU(),
        )
        channels = width
        for stage, stride in enumerate((1, 2, 2, 2), start=1):
            out = width << (stage - 1)
            first = BasicBlock(channels, out, stride, zero_init)
            second = BasicBlock(out, out, 1, zero_init)
            parts[f"layer{stage}"] = nn.Sequential(first, second)
            channels = out
        parts["pool"] = nn.AdaptiveAvgPool2d(1)
        parts["flat"] = nn.Flatten()
        parts["fc"] = nn.Linear(channels, num_classes)
        super().__init__(parts)
