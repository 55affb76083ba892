"""The spiral case study: a linear classifier and a network of two layers on the same 300 points, gradients by hand.

Three arms of a spiral in the plane. No straight line tells them apart: a linear classifier gets about half of them
right, and one hidden layer of 100 ReLUs nearly all. Everything is here: the data, both models with their gradients,
one training loop for both, the comparison.

    x, labels = make_spiral()
    found = case_study(x, labels)
    found["linear"]["accuracy"], found["two layers"]["accuracy"]    # about 0.5 and 0.98
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

Params = dict[str, torch.Tensor]
LossAndGradients = Callable[[Params, torch.Tensor, torch.Tensor, float], tuple[float, Params]]


def make_spiral(
    points: int = 100, classes: int = 3, noise: float = 0.2, generator: torch.Generator | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """One arm of `points` points for each class: (classes · points, 2) float32, and their labels, int64.

    Along arm k the radius grows evenly from 0 to 1 and the angle from 4k to 4k + 4 radians; normal noise with
    deviation `noise`, drawn from `generator`, goes onto each angle. A point is (radius · sin, radius · cos).
    """
    raise NotImplementedError(
        "TODO: radius, angle with its noise, (sin, cos) for each arm; arm after arm"
    )


def start(features: int, classes: int, hidden: int = 0, generator: torch.Generator | None = None) -> Params:
    """Fresh parameters: W and b of a linear classifier, or W1, b1, W2, b2 with `hidden` units in between.

    Ready-made. Weights are small and random, biases zero: all scores are near 0 and all classes equally likely.
    """
    sizes = [features, hidden, classes] if hidden else [features, classes]
    names = ["1", "2"] if hidden else [""]
    params = {}
    for name, before, after in zip(names, sizes[:-1], sizes[1:], strict=True):
        params["W" + name] = 0.01 * torch.randn(before, after, generator=generator)
        params["b" + name] = torch.zeros(after)
    return params


def scores(params: Params, x: torch.Tensor) -> torch.Tensor:
    """(N, D) → (N, K). x W + b for a linear classifier, relu(x W1 + b1) W2 + b2 where params hold a "W2"."""
    raise NotImplementedError("TODO: x W + b, or with a ReLU between two layers")


def predict(params: Params, x: torch.Tensor) -> torch.Tensor:
    """(N, D) → (N,) int64: the class with the highest score."""
    raise NotImplementedError("TODO: the index of the highest score of each row")


def cross_entropy(given: torch.Tensor, labels: torch.Tensor) -> tuple[float, torch.Tensor]:
    """A helper, yours to use or to delete: the mean of −log p[label], and its gradient for the given scores."""
    raise NotImplementedError("TODO: log-softmax, the labels' mean; then (p − one-hot) / N")


def linear_loss_and_gradients(
    params: Params, x: torch.Tensor, labels: torch.Tensor, reg: float
) -> tuple[float, Params]:
    """The linear classifier's loss, a float, and its gradients, under the names of the parameters.

    The loss is the mean of −log p[label] plus ½ · reg · (sum of W²).
    """
    raise NotImplementedError("TODO: scores, cross-entropy; x.T @ d_scores, and reg for W alone")


def two_layer_loss_and_gradients(
    params: Params, x: torch.Tensor, labels: torch.Tensor, reg: float
) -> tuple[float, Params]:
    """The two-layer network's loss, a float, and its gradients, under the names of the parameters.

    The loss is the mean of −log p[label] plus ½ · reg · (sum of W1² + sum of W2²).
    """
    raise NotImplementedError(
        "TODO: forward, keeping the hidden layer; then back: W2, b2, the hidden layer, W1, b1"
    )


def train(
    params: Params,
    loss_and_gradients: LossAndGradients,
    x: torch.Tensor,
    labels: torch.Tensor,
    steps: int,
    lr: float = 1.0,
    reg: float = 1e-3,
) -> list[float]:
    """Gradient descent with all points in each step. Changes `params`; returns the loss before each step."""
    raise NotImplementedError(
        "TODO: steps times: loss and gradients, then p ← p − lr · gradient for each parameter"
    )


def case_study(
    x: torch.Tensor,
    labels: torch.Tensor,
    hidden: int = 100,
    linear_steps: int = 200,
    steps: int = 10_000,
    generator: torch.Generator | None = None,
) -> dict[str, dict]:
    """Both models from `start`, trained on the same points: {"linear": …, "two layers": …}.

    Each is a dict of "params" (after training), "losses" (what `train` returned) and "accuracy" (the share of the
    points that the trained model predicts correctly, a float).
    """
    raise NotImplementedError(
        "TODO: for each model: start, train, the accuracy of what it predicts then"
    )


if __name__ == "__main__":
    torch.set_num_threads(1)  # matrices this small: several threads mostly wait for each other
    for name, one in case_study(*make_spiral(generator=torch.Generator().manual_seed(0))).items():
        first, last = one["losses"][0], one["losses"][-1]
        size = sum(p.numel() for p in one["params"].values())
        print(f"{name}: {size} parameters, loss {first:.4f} → {last:.4f} (ln 3 = {math.log(3):.4f}),", end=" ")
        print(f"{one['accuracy']:.0%} right")
