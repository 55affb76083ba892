"""Kaiming's start for the convolutions, zero_init afterwards over all modules, nn.Identity for the shortcut."""

import torch.nn as nn
import torch.nn.functional as F


class BasicBlock(nn.Module):
    def __init__(self, in_channels, channels, stride=1, zero_init=False):
        super().__init__()
        changes = stride != 1 or in_channels != channels
        self.downsample = (
            nn.Sequential(nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))
            if changes
            else nn.Identity()
        )
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
        if zero_init:
            self.bn2.weight.data.zero_()

    def forward(self, x):
        out = self.conv2(self.bn1(self.conv1(x)).relu_())
        return F.relu(self.downsample(x).add(self.bn2(out)))


class ResNet18(nn.Module):
    def __init__(self, num_classes=10, width=64, zero_init=False):
        super().__init__()
        w = [width, width, 2 * width, 4 * width, 8 * width]
        self.conv1 = nn.Conv2d(3, w[0], 3, 1, 1, bias=False)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.bn1 = nn.BatchNorm2d(w[0])
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            nn.Sequential(
                BasicBlock(w[i], w[i + 1], 1 if i == 0 else 2, zero_init=zero_init),
                BasicBlock(w[i + 1], w[i + 1], zero_init=zero_init),
            )
            for i in range(4)
        )
        self.fc = nn.Linear(w[-1], num_classes)
        nn.init.normal_(self.fc.weight, std=0.02)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x):
        x = self.bn1(self.conv1(x)).relu_()
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))
