"""Six questions to ask of any classifier and its data before the first real training run.

Neural networks fail silently: a bug raises nothing, the loss still falls, the result is merely worse than it should be.
Each question here has an answer that is known beforehand, costs a second at most, and needs no look at the code of
the model.

    for name, finding in recipe(model, images, labels).items():
        print(f"{name}: {'ok' if finding.ok else 'LOOK AT THIS'} ({finding.value:.3g})")
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True)
class Finding:
    """What one question found: whether all is well, and the number that says so."""

    ok: bool
    value: float


def frequencies(labels: torch.Tensor, classes: int) -> torch.Tensor:
    """A helper, yours to use or to delete: the share of each class among the labels, (K,)."""
    raise NotImplementedError("TODO: count each class, divide by N")


@torch.no_grad()
def evaluated(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """A helper, yours to use or to delete: the logits in eval mode, (N, K); leaves the model as it was."""
    raise NotImplementedError("TODO: a copy in eval mode")


def fit(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, steps: int) -> nn.Module:
    """A helper, yours to use or to delete: a copy of the model, trained on the whole batch with Adam, lr 0.01."""
    raise NotImplementedError(
        "TODO: a copy in training mode; steps of Adam, unless the loss has no graph"
    )


def initial_loss(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> Finding:
    """Is the loss before training that of a model which knows nothing, or no more than how frequent the classes are?"""
    raise NotImplementedError(
        "TODO: cross-entropy in eval mode; between the classes' entropy and ln K, ± 0.25"
    )


def class_prior(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> Finding:
    """Does the untrained model expect each class about as often as it occurs?"""
    raise NotImplementedError("TODO: mean probabilities against shares: the largest difference")


def no_batch_leak(model: nn.Module, images: torch.Tensor) -> Finding:
    """Does the output for each image depend on that image alone?"""
    raise NotImplementedError(
        "TODO: eval mode, 4 images: a logit's largest derivative for another image"
    )


def repeatable(model: nn.Module, images: torch.Tensor) -> Finding:
    """Does the model in eval mode give the same output twice?"""
    raise NotImplementedError("TODO: two outputs in eval mode: the largest difference")


def overfits_two(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> Finding:
    """Can the model learn two examples of different classes by heart?"""
    raise NotImplementedError(
        "TODO: example 0 and the first of another class; 100 steps; their loss"
    )


def input_matters(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> Finding:
    """Does the model predict unseen examples better with their images than with zeros in their place?"""
    raise NotImplementedError(
        "TODO: fit every other example, with images and with zeros; the rest's losses"
    )


def recipe(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> dict[str, Finding]:
    """All six findings, under the names of their functions."""
    raise NotImplementedError("TODO: each function's finding under its name")
