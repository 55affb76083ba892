"""The two networks of the ConvNetJS demos, with what trained and tested them in a browser in 2014.

Five thousand parameters read MNIST, twenty-two thousand read CIFAR-10. Half of the result comes from what surrounds the
network: where the weights start, crops and shifts drawn anew for each image, and a test that asks several times.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def scale(images: Tensor) -> Tensor:
    """Bytes 0…255 to float32 -0.5…0.5, of the same shape."""
    raise NotImplementedError("TODO: pixel / 255 - 0.5")


def init_(net: nn.Module) -> None:
    """Sets the start of all Conv2d and Linear of the net, in place: N(0, 1/fan_in); biases 0.1 and 0."""
    raise NotImplementedError(
        "TODO: normal weights with variance 1/fan_in, convolution biases 0.1, linear biases 0"
    )


class MnistNet(nn.Module):
    """N×1×24×24 to N×10 logits, 5,994 parameters."""

    def __init__(self) -> None:
        super().__init__()
        raise NotImplementedError("TODO: conv1 to 8 maps, conv2 to 16, fc; then init_")

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError("TODO: conv, relu, pool 2; conv, relu, pool 3; fc")


class CifarNet(nn.Module):
    """N×3×32×32 to N×10 logits, 22,466 parameters."""

    def __init__(self) -> None:
        super().__init__()
        raise NotImplementedError(
            "TODO: conv1 to 16 maps, conv2 to 20, conv3 to 20, fc; then init_"
        )

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError("TODO: three times conv, relu, pool 2; fc")


def random_crop(images: Tensor, size: int) -> Tensor:
    """Cuts a square out of each image, each at a place of its own: N×C×H×W to N×C×size×size."""
    raise NotImplementedError("TODO: draw a top left corner for each image, cut there")


def jitter(images: Tensor, most: int = 2) -> Tensor:
    """Mirrors each square image or not, and moves it by up to `most` pixels; what comes in from outside is 0."""
    raise NotImplementedError("TODO: a coin for each image, then a crop out of the padded images")


def mnist_views(images: Tensor) -> list[Tensor]:
    """The four corners, 24×24 each, of images N×1×28×28: top left, top right, bottom left, bottom right."""
    raise NotImplementedError("TODO: four slices")


def cifar_views(images: Tensor) -> list[Tensor]:
    """The images as they are, moved up left by 2, moved down right by 2; then the same three mirrored."""
    raise NotImplementedError(
        "TODO: slices of the images in a frame of two zeros, then their mirror images"
    )


def average(model: nn.Module, views: Sequence[Tensor]) -> Tensor:
    """The mean over the views of the model's class probabilities, (N, K)."""
    raise NotImplementedError(
        "TODO: eval mode, no gradients, softmax of each view, their mean; mode restored"
    )


def make_optimizer(model: nn.Module, l2: float) -> torch.optim.Optimizer:
    """Adadelta as in the demos, for all parameters; ½ · l2 · w² for weights, nothing for biases."""
    raise NotImplementedError("TODO: Adadelta with rho=0.95, eps=1e-6, lr=1 and two groups")


def train(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    augment: Callable[[Tensor], Tensor],
    epochs: int,
    batch_size: int,
    l2: float,
) -> None:
    """Trains the model in place on raw images (uint8, N×C×H×W), each batch scaled and augmented anew."""
    raise NotImplementedError(
        "TODO: one optimizer; each epoch a new order; scale, augment, mean cross-entropy, step"
    )
