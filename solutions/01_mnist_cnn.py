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
        # solution: begin two convolutions, then one or two linear layers
        self.conv1 = nn.Conv2d(1, 32, kernel_size=3)
        self.conv2 = nn.Conv2d(32, 64, kernel_size=3)
        # Not 64 * 6 * 6: follow one side of the image through the layers, 28 -> 26 -> 13 -> 11 -> 5.
        # A 3x3 convolution without padding takes 2 away; pooling halves and rounds *down*.
        self.fc1 = nn.Linear(64 * 5 * 5, 128)
        self.fc2 = nn.Linear(128, 10)
        # solution: end

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 1, 28, 28), float and normalised, to raw logits (B, 10)."""
        # solution: begin images (B, 1, 28, 28) to logits (B, 10)
        x = F.relu(self.conv1(x))         # (B, 32, 26, 26)
        x = F.max_pool2d(x, 2)            # (B, 32, 13, 13)
        x = F.relu(self.conv2(x))         # (B, 64, 11, 11)
        x = F.max_pool2d(x, 2)            # (B, 64, 5, 5)
        # flatten(1) keeps the batch dimension whatever the maps' size. view(-1, n) doesn't: with a wrong n it
        # cuts the batch into rows that are not images, and for some batch sizes nothing complains.
        x = x.flatten(1)                  # (B, 1600)
        x = F.relu(self.fc1(x))           # (B, 128)
        # No softmax: cross-entropy contains log-softmax and wants the raw scores.
        return self.fc2(x)                # (B, 10)
        # solution: end


def train_one_epoch(
    model: nn.Module,
    loader: Iterable[tuple[Tensor, Tensor]],
    optimizer: torch.optim.Optimizer,
    loss_fn: Callable[[Tensor, Tensor], Tensor],
) -> float:
    """Go through `loader` once, one optimizer step per batch; return the mean training loss per example.

    `loss_fn(logits, labels)` returns the mean loss of its batch. Raises ValueError when the loader is empty.
    """
    # solution: begin per batch: forward, loss, backward, step
    model.train()  # dropout on, batch-norm on batch statistics: the caller may have left the model in eval mode
    loss_sum, examples = 0.0, 0
    for images, labels in loader:
        optimizer.zero_grad()  # backward() adds to .grad, so the last batch's gradient must go first
        loss = loss_fn(model(images), labels)
        loss.backward()
        optimizer.step()
        # The last batch may be smaller, so batches weigh by their size. item() gives a number: keeping the
        # tensor would keep the batch's whole graph alive.
        loss_sum += loss.item() * len(labels)
        examples += len(labels)
    if examples == 0:
        raise ValueError("the loader gave no batches: there is nothing to train on")
    return loss_sum / examples
    # solution: end


def evaluate(model: nn.Module, loader: Iterable[tuple[Tensor, Tensor]]) -> float:
    """The share of examples in `loader`, from 0.0 to 1.0, whose largest logit is that of the right class.

    Leaves the model as it found it, its mode included. Raises ValueError when the loader is empty.
    """
    # solution: begin count right predictions in eval mode
    was_training = model.training
    model.eval()  # how layers behave: dropout off, batch-norm on its running statistics
    correct, examples = 0, 0
    with torch.no_grad():  # what autograd records: nothing. Neither of the two implies the other.
        for images, labels in loader:
            predictions = model(images).argmax(dim=1)  # softmax wouldn't change the order
            correct += (predictions == labels).sum().item()
            examples += len(labels)
    model.train(was_training)
    if examples == 0:
        raise ValueError("the loader gave no batches: there is no accuracy of nothing")
    return correct / examples
    # solution: end
