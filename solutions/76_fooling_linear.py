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
    # solution: begin each number by eps, in the direction in which the score grows
    # The gradient of the score is w. Each number is limited on its own, so all go to the limit: only signs matter.
    return x + eps * w.sign()
    # solution: end


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """A helper, yours to use or to delete: eval mode for a while, then each submodule in its own mode again."""
    # solution: begin note the modes, eval, and put every one of them back
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:  # also when the model raises
        for module, training in modes.items():
            module.training = training  # not .train(training), which would set everything below it, too
    # solution: end


def input_gradient(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """A helper, yours to use or to delete: the gradient of the cross-entropy for the images, in their shape."""
    # solution: begin the loss of a copy of the images that asks for a gradient
    x = images.detach().clone().requires_grad_(True)  # a leaf of our own: the caller's tensor stays out of it
    with evaluating(model), torch.enable_grad():
        # The sum keeps images apart: each gradient is that of its own loss. The mean would divide all by N: same signs.
        loss = F.cross_entropy(model(x), labels, reduction="sum")
        # Not loss.backward(): that would also add to the .grad of every parameter.
        (gradient,) = torch.autograd.grad(loss, x)
    return gradient
    # solution: end


def fgsm(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    eps: float,
    low: float = 0.0,
    high: float = 1.0,
) -> torch.Tensor:
    """Images (N, …) one step of eps per pixel away from their labels (N,), kept in low … high."""
    # solution: begin the sign of the loss's gradient, uphill
    return (images.detach() + eps * input_gradient(model, images, labels).sign()).clamp(low, high)
    # solution: end


def fgsm_targeted(
    model: nn.Module,
    images: torch.Tensor,
    targets: torch.Tensor,
    eps: float,
    low: float = 0.0,
    high: float = 1.0,
) -> torch.Tensor:
    """Images (N, …) one step of eps per pixel towards the classes `targets` (N,), kept in low … high."""
    # solution: begin the loss of the wanted class, downhill
    return (images.detach() - eps * input_gradient(model, images, targets).sign()).clamp(low, high)
    # solution: end


def attacked_accuracy(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    epsilons: Sequence[float],
    low: float = 0.0,
    high: float = 1.0,
) -> list[float]:
    """For each eps: the share of all images that the model still labels rightly after `fgsm`."""
    # solution: begin attack the clean images with each eps, then count
    shares = []
    for eps in epsilons:
        attacked = fgsm(model, images, labels, eps, low, high)
        with evaluating(model), torch.no_grad():
            right = model(attacked).argmax(dim=1) == labels
        shares.append(right.double().mean().item())
    return shares
    # solution: end
