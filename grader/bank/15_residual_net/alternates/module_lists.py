"""nn.ModuleList for the stages; spatial mean by reduce; zero_init applied by the network."""

import torch
import torch.nn.functional as F
from torch import nn


class BasicBlock(nn.Module):
    def __init__(self, in_channels, channels, stride=1, zero_init=False):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, padding=1, stride=stride, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = nn.ModuleList()
        if stride != 1 or channels != in_channels:
            self.downsample.append(nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False))
            self.downsample.append(nn.BatchNorm2d(channels))
        if zero_init:
            self.reset_last_norm()

    def reset_last_norm(self):
        self.bn2.weight = nn.Parameter(torch.zeros_like(self.bn2.weight))

    def forward(self, x):
        y = self.conv1(x)
        y = F.relu(self.bn1(y), inplace=True)
        y = self.bn2(self.conv2(y))
        for layer in self.downsample:
            x = layer(x)
        y = y + x
        return y.clamp(min=0)


class ResNet18(nn.Module):
    def __init__(self, num_classes=10, width=64, zero_init=False):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = nn.ModuleList([BasicBlock(width, width), BasicBlock(width, width)])
        self.layer2 = nn.ModuleList([BasicBlock(width, 2 * width, 2), BasicBlock(2 * width, 2 * width)])
        self.layer3 = nn.ModuleList([BasicBlock(2 * width, 4 * width, 2), BasicBlock(4 * width, 4 * width)])
        self.layer4 = nn.ModuleList([BasicBlock(4 * width, 8 * width, 2), BasicBlock(8 * width, 8 * width)])
        self.fc = nn.Linear(8 * width, num_classes)
        if zero_init:
            for block in self.modules():
                if isinstance(block, BasicBlock):
                    block.reset_last_norm()

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in stage:
                x = block(x)
        return self.fc(x.flatten(2).mean(-1))
