"""The convolutional network of 1989, digit for digit.

Backpropagation Applied to Handwritten Zip Code Recognition (LeCun and others, 1989) is an early convolutional network
that did real work. Its layers have parameters as follows, and this file ends in the same numbers:

    H1      12 planes of 8x8     12 kernels of 1x5x5 + 768 biases =  1,068
    H2      12 planes of 4x4     12 kernels of 8x5x5 + 192 biases =  2,592
    H3      30 units             192 x 30 + 30                    =  5,790
    out     10 units             30 x 10 + 10                     =    310      together 9,760

Run as a script it counts them. It guesses where the paper is silent: which planes H2 sees, the learning rate, the
targets, and the square root in the range of the first weights, as the rebuilding of 2022 did.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def digits_1989(images: Tensor) -> Tensor:
    """MNIST's uint8 images (N, 1, 28, 28) as the digits of 1989: float32 (N, 1, 16, 16), from -1 (paper) to 1 (ink)."""
    # solution: begin float in [-1, 1], then bilinear to 16x16, without antialiasing
    x = images.float() / 127.5 - 1  # a float first: uint8 can be neither negative nor 0.5
    return F.interpolate(x, size=(16, 16), mode="bilinear", align_corners=False)
    # solution: end


def targets(labels: Tensor) -> Tensor:
    """Classes (N,) int64 as targets (N, 10) float32: 1 for the class, -1 for the nine others."""
    # solution: begin 1 at the class, -1 elsewhere
    # The ends of tanh's range. With 0 and 1, half the range of an output unit would mean nothing.
    return 2 * F.one_hot(labels, 10).float() - 1
    # solution: end


class LeNet1989(nn.Module):
    """Digits (N, 1, 16, 16) to ten outputs (N, 10) between -1 and 1; the largest one is the answer.

    A layer may be a module instead of a method: make `self.h1 = …` in `__init__`, and delete the method h1.
    """

    def __init__(self) -> None:
        super().__init__()
        # solution: begin the parameters of h1, h2, h3 and out: 9,760, uniform within 2.4 / sqrt(F)
        def uniform(fan_in: int, *shape: int) -> nn.Parameter:
            # As wide as keeps a unit's sum where tanh is still steep: the more inputs, the smaller each weight.
            bound = 2.4 / fan_in**0.5
            return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))

        self.h1_weight = uniform(5 * 5, 12, 1, 5, 5)
        self.h1_bias = nn.Parameter(torch.zeros(12, 8, 8))  # for each unit its own; the weights alone are shared
        self.h2_weight = uniform(8 * 5 * 5, 12, 8, 5, 5)    # each plane sees 8 of the 12: F is 200, not 300
        self.h2_bias = nn.Parameter(torch.zeros(12, 4, 4))
        self.h3_weight = uniform(12 * 4 * 4, 12 * 4 * 4, 30)
        self.h3_bias = nn.Parameter(torch.zeros(30))
        self.out_weight = uniform(30, 30, 10)
        self.out_bias = nn.Parameter(torch.full((10,), -1.0))  # nine targets of ten are -1: start near them
        # solution: end

    def h1(self, x: Tensor) -> Tensor:
        """(N, 1, 16, 16) -> (N, 12, 8, 8)."""
        # solution: begin pad with -1, 5x5 with stride 2, a bias for each unit, tanh
        x = F.pad(x, (2, 2, 2, 2), value=-1.0)  # (N, 1, 20, 20): more paper around. Zeros would be grey
        return torch.tanh(F.conv2d(x, self.h1_weight, stride=2) + self.h1_bias)
        # solution: end

    def h2(self, x: Tensor) -> Tensor:
        """(N, 12, 8, 8) -> (N, 12, 4, 4); each plane from 8 of the 12."""
        # solution: begin the same, each group of four planes from its own eight
        x = F.pad(x, (2, 2, 2, 2), value=-1.0)  # (N, 12, 12, 12)
        first = F.conv2d(x[:, 0:8], self.h2_weight[0:4], stride=2)    # planes 0-3 see 0-7
        second = F.conv2d(x[:, 4:12], self.h2_weight[4:8], stride=2)  # planes 4-7 see 4-11
        ends = torch.cat([x[:, 0:4], x[:, 8:12]], dim=1)
        third = F.conv2d(ends, self.h2_weight[8:12], stride=2)        # planes 8-11 see 0-3 and 8-11
        return torch.tanh(torch.cat([first, second, third], dim=1) + self.h2_bias)
        # solution: end

    def h3(self, x: Tensor) -> Tensor:
        """(N, 12, 4, 4) -> (N, 30)."""
        # solution: begin fully connected, tanh
        return torch.tanh(x.flatten(1) @ self.h3_weight + self.h3_bias)
        # solution: end

    def out(self, x: Tensor) -> Tensor:
        """(N, 30) -> (N, 10)."""
        # solution: begin fully connected, tanh here too
        return torch.tanh(x @ self.out_weight + self.out_bias)  # the targets are tanh's own limits
        # solution: end

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, 16, 16) -> (N, 10)."""
        # solution: begin one layer after the other
        return self.out(self.h3(self.h2(self.h1(x))))
        # solution: end


def train_pass(model: nn.Module, images: Tensor, wanted: Tensor, lr: float = 0.03, batch_size: int = 1) -> float:
    """One pass of plain SGD through all examples in their order, one step per batch; returns their mean loss.

    `wanted` (N, 10) holds the targets. The loss of an example is the mean of its ten squared errors; the loss of a
    batch, whose gradient is followed, the mean of its examples'. The last batch may be smaller. What is returned is
    the mean over all examples, each as it was when its step was taken.
    """
    # solution: begin batches in order: mean squared error, backward, a step against the gradient
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)  # no momentum, so it needn't live from pass to pass
    total = 0.0
    for x, y in zip(images.split(batch_size), wanted.split(batch_size), strict=True):
        optimizer.zero_grad()
        loss = ((model(x) - y) ** 2).mean()  # over examples and outputs
        loss.backward()
        optimizer.step()
        total += loss.item() * len(x)  # the last batch weighs by its size
    return total / len(images)
    # solution: end


@torch.no_grad()
def misses(model: nn.Module, images: Tensor, labels: Tensor) -> int:
    """How many images have their largest output at another class than `labels` (N,) says."""
    # solution: begin compare the largest output with the label
    return int((model(images).argmax(dim=1) != labels).sum())
    # solution: end


if __name__ == "__main__":
    print(sum(p.numel() for p in LeNet1989().parameters()))  # 9760
