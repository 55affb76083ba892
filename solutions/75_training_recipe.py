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
    # solution: begin count each class, divide by N
    return torch.bincount(labels, minlength=classes) / len(labels)
    # solution: end


@torch.no_grad()
def evaluated(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """A helper, yours to use or to delete: the logits in eval mode, (N, K); leaves the model as it was."""
    # solution: begin a copy in eval mode
    # modes are one flag for each submodule: a copy is simpler than putting all of them back
    return copy.deepcopy(model).eval()(images)
    # solution: end


def fit(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, steps: int) -> nn.Module:
    """A helper, yours to use or to delete: a copy of the model, trained on the whole batch with Adam, lr 0.01."""
    # solution: begin a copy in training mode; steps of Adam, unless the loss has no graph
    model = copy.deepcopy(model).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        if not loss.requires_grad:
            break  # frozen, or cut off from its parameters: no step will ever change it
        loss.backward()
        optimizer.step()
    return model
    # solution: end


def initial_loss(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> Finding:
    """Is the loss before training that of a model which knows nothing, or no more than how frequent the classes are?"""
    # solution: begin cross-entropy in eval mode; between the classes' entropy and ln K, ± 0.25
    logits = evaluated(model, images)
    loss = F.cross_entropy(logits, labels).item()
    share = frequencies(labels, logits.shape[1])
    entropy = -torch.xlogy(share, share).sum().item()  # xlogy: 0 · log 0 is 0, for a class that doesn't occur
    return Finding(entropy - 0.25 <= loss <= math.log(logits.shape[1]) + 0.25, loss)
    # solution: end


def class_prior(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> Finding:
    """Does the untrained model expect each class about as often as it occurs?"""
    # solution: begin mean probabilities against shares: the largest difference
    logits = evaluated(model, images)
    expected = logits.softmax(dim=1).mean(dim=0)
    away = (expected - frequencies(labels, logits.shape[1])).abs().max().item()
    return Finding(away <= 0.15, away)
    # solution: end


def no_batch_leak(model: nn.Module, images: torch.Tensor) -> Finding:
    """Does the output for each image depend on that image alone?"""
    # solution: begin eval mode, 4 images: a logit's largest derivative for another image
    model = copy.deepcopy(model).eval()  # in training mode batch norm mixes the batch, and rightly so
    images = images[:4].clone().requires_grad_()
    logits = model(images)
    largest = 0.0
    if logits.requires_grad:
        for i, row in enumerate(logits):
            for logit in row:  # one by one: in a sum over the row opposite signs might cancel
                (gradient,) = torch.autograd.grad(logit, images, retain_graph=True, allow_unused=True)
                if gradient is not None:
                    gradient[i] = 0  # its own image
                    largest = max(largest, gradient.abs().max().item())
    return Finding(largest <= 1e-6, largest)
    # solution: end


def repeatable(model: nn.Module, images: torch.Tensor) -> Finding:
    """Does the model in eval mode give the same output twice?"""
    # solution: begin two outputs in eval mode: the largest difference
    away = (evaluated(model, images) - evaluated(model, images)).abs().max().item()
    return Finding(away <= 1e-6, away)
    # solution: end


def overfits_two(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> Finding:
    """Can the model learn two examples of different classes by heart?"""
    # solution: begin example 0 and the first of another class; 100 steps; their loss
    other = int((labels != labels[0]).nonzero()[0])  # two of one class are learned by a bias alone
    pair = torch.tensor([0, other])
    fitted = fit(model, images[pair], labels[pair], steps=100)
    loss = F.cross_entropy(evaluated(fitted, images[pair]), labels[pair]).item()
    return Finding(loss < 0.1, loss)
    # solution: end


def input_matters(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> Finding:
    """Does the model predict unseen examples better with their images than with zeros in their place?"""
    # solution: begin fit every other example, with images and with zeros; the rest's losses
    losses = []
    for shown in (images, torch.zeros_like(images)):
        fitted = fit(model, shown[::2], labels[::2], steps=60)
        losses.append(F.cross_entropy(evaluated(fitted, shown[1::2]), labels[1::2]).item())
    ratio = losses[0] / losses[1]
    return Finding(ratio < 0.8, ratio)
    # solution: end


def recipe(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> dict[str, Finding]:
    """All six findings, under the names of their functions."""
    # solution: begin each function's finding under its name
    found = {question.__name__: question(model, images) for question in (no_batch_leak, repeatable)}
    for question in (initial_loss, class_prior, overfits_two, input_matters):
        found[question.__name__] = question(model, images, labels)
    return found
    # solution: end
