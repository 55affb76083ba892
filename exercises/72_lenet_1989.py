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
    raise NotImplementedError(
        "TODO: float in [-1, 1], then bilinear to 16x16, without antialiasing"
    )


def targets(labels: Tensor) -> Tensor:
    """Classes (N,) int64 as targets (N, 10) float32: 1 for the class, -1 for the nine others."""
    raise NotImplementedError("TODO: 1 at the class, -1 elsewhere")


class LeNet1989(nn.Module):
    """Digits (N, 1, 16, 16) to ten outputs (N, 10) between -1 and 1; the largest one is the answer.

    A layer may be a module instead of a method: make `self.h1 = …` in `__init__`, and delete the method h1.
    """

    def __init__(self) -> None:
        super().__init__()
        raise NotImplementedError(
            "TODO: the parameters of h1, h2, h3 and out: 9,760, uniform within 2.4 / sqrt(F)"
        )

    def h1(self, x: Tensor) -> Tensor:
        """(N, 1, 16, 16) -> (N, 12, 8, 8)."""
        raise NotImplementedError(
            "TODO: pad with -1, 5x5 with stride 2, a bias for each unit, tanh"
        )

    def h2(self, x: Tensor) -> Tensor:
        """(N, 12, 8, 8) -> (N, 12, 4, 4); each plane from 8 of the 12."""
        raise NotImplementedError("TODO: the same, each group of four planes from its own eight")

    def h3(self, x: Tensor) -> Tensor:
        """(N, 12, 4, 4) -> (N, 30)."""
        raise NotImplementedError("TODO: fully connected, tanh")

    def out(self, x: Tensor) -> Tensor:
        """(N, 30) -> (N, 10)."""
        raise NotImplementedError("TODO: fully connected, tanh here too")

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, 16, 16) -> (N, 10)."""
        raise NotImplementedError("TODO: one layer after the other")


def train_pass(model: nn.Module, images: Tensor, wanted: Tensor, lr: float = 0.03, batch_size: int = 1) -> float:
    """One pass of plain SGD through all examples in their order, one step per batch; returns their mean loss.

    `wanted` (N, 10) holds the targets. The loss of an example is the mean of its ten squared errors; the loss of a
    batch, whose gradient is followed, the mean of its examples'. The last batch may be smaller. What is returned is
    the mean over all examples, each as it was when its step was taken.
    """
    raise NotImplementedError(
        "TODO: batches in order: mean squared error, backward, a step against the gradient"
    )


@torch.no_grad()
def misses(model: nn.Module, images: Tensor, labels: Tensor) -> int:
    """How many images have their largest output at another class than `labels` (N,) says."""
    raise NotImplementedError("TODO: compare the largest output with the label")


if __name__ == "__main__":
    print(sum(p.numel() for p in LeNet1989().parameters()))  # 9760
