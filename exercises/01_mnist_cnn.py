"""A small CNN for MNIST, the loop that trains it, and the loop that measures it.

Three things to write: a network that turns images (B, 1, 28, 28) into logits (B, 10), one epoch of training,
and the accuracy on a loader. Everything here runs on the CPU.
"""

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SimpleCNN(nn.Module):
    """conv - pool - conv - pool - fully connected, for grey images of 28 x 28 pixels and ten classes."""

    def __init__(self) -> None:
        super().__init__()
        raise NotImplementedError("TODO: two convolutions, then one or two linear layers")

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 1, 28, 28), float and normalised, to raw logits (B, 10)."""
        raise NotImplementedError("TODO: images (B, 1, 28, 28) to logits (B, 10)")


def train_one_epoch(
    model: nn.Module,
    loader: Iterable[tuple[Tensor, Tensor]],
    optimizer: torch.optim.Optimizer,
    loss_fn: Callable[[Tensor, Tensor], Tensor],
) -> float:
    """Go through `loader` once, one optimizer step per batch; return the mean training loss per example.

    `loss_fn(logits, labels)` returns the mean loss of its batch. Raises ValueError when the loader is empty.
    """
    raise NotImplementedError("TODO: per batch: forward, loss, backward, step")


def evaluate(model: nn.Module, loader: Iterable[tuple[Tensor, Tensor]]) -> float:
    """The share of examples in `loader`, from 0.0 to 1.0, whose largest logit is that of the right class.

    Leaves the model as it found it, its mode included. Raises ValueError when the loader is empty.
    """
    raise NotImplementedError("TODO: count right predictions in eval mode")
