"""Fooling classifiers: a small step for every pixel, a large one for the score.

A linear score w · x moves by eps · |w_i| for each pixel that is moved by eps in the direction of sign(w_i), and all of
these add up. A network is nearly linear near an image, so the sign of the loss's gradient does the same there.

    attacked = fgsm(model, images, labels, eps=0.1)
    model(attacked).argmax(dim=1)                    # mostly wrong now, and the images look the same

Model and images are left exactly as they were found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import nn


def fool_linear(x: torch.Tensor, w: torch.Tensor, eps: float) -> torch.Tensor:
    """The (…, D) inputs x, each number moved by at most eps, with the largest score x · w; w is (D,)."""
    raise NotImplementedError("TODO: each number by eps, in the direction in which the score grows")


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """A helper, yours to use or to delete: eval mode for a while, then each submodule in its own mode again."""
    raise NotImplementedError("TODO: note the modes, eval, and put every one of them back")


def input_gradient(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """A helper, yours to use or to delete: the gradient of the cross-entropy for the images, in their shape."""
    raise NotImplementedError("TODO: the loss of a copy of the images that asks for a gradient")


def fgsm(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    eps: float,
    low: float = 0.0,
    high: float = 1.0,
) -> torch.Tensor:
    """Images (N, …) one step of eps per pixel away from their labels (N,), kept in low … high."""
    raise NotImplementedError("TODO: the sign of the loss's gradient, uphill")


def fgsm_targeted(
    model: nn.Module,
    images: torch.Tensor,
    targets: torch.Tensor,
    eps: float,
    low: float = 0.0,
    high: float = 1.0,
) -> torch.Tensor:
    """Images (N, …) one step of eps per pixel towards the classes `targets` (N,), kept in low … high."""
    raise NotImplementedError("TODO: the loss of the wanted class, downhill")


def attacked_accuracy(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    epsilons: Sequence[float],
    low: float = 0.0,
    high: float = 1.0,
) -> list[float]:
    """For each eps: the share of all images that the model still labels rightly after `fgsm`."""
    raise NotImplementedError("TODO: attack the clean images with each eps, then count")
