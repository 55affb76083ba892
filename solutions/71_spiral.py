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
    # solution: begin radius, angle with its noise, (sin, cos) for each arm; arm after arm
    radius = torch.linspace(0, 1, points).repeat(classes)  # (classes · points,)
    labels = torch.arange(classes).repeat_interleave(points)  # 0 … 0, 1 … 1, 2 … 2
    angle = 4 * labels + 4 * radius
    # noise along the arm's turn, not in both coordinates: the arms stay thin in the middle, where they are close
    angle = angle + noise * torch.randn(len(angle), generator=generator)
    return torch.stack([radius * angle.sin(), radius * angle.cos()], dim=1), labels
    # solution: end


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
    # solution: begin x W + b, or with a ReLU between two layers
    if "W2" in params:
        return (x @ params["W1"] + params["b1"]).clamp(min=0) @ params["W2"] + params["b2"]
    return x @ params["W"] + params["b"]
    # solution: end


def predict(params: Params, x: torch.Tensor) -> torch.Tensor:
    """(N, D) → (N,) int64: the class with the highest score."""
    # solution: begin the index of the highest score of each row
    return scores(params, x).argmax(dim=1)
    # solution: end


def cross_entropy(given: torch.Tensor, labels: torch.Tensor) -> tuple[float, torch.Tensor]:
    """A helper, yours to use or to delete: the mean of −log p[label], and its gradient for the given scores."""
    # solution: begin log-softmax, the labels' mean; then (p − one-hot) / N
    rows = torch.arange(len(labels))
    log_p = given - given.logsumexp(dim=1, keepdim=True)  # exp of a score alone would overflow
    d_scores = log_p.exp()
    d_scores[rows, labels] -= 1
    return -log_p[rows, labels].mean().item(), d_scores / len(labels)  # the 1/N of the mean, once and for all
    # solution: end


def linear_loss_and_gradients(
    params: Params, x: torch.Tensor, labels: torch.Tensor, reg: float
) -> tuple[float, Params]:
    """The linear classifier's loss, a float, and its gradients, under the names of the parameters.

    The loss is the mean of −log p[label] plus ½ · reg · (sum of W²).
    """
    # solution: begin scores, cross-entropy; x.T @ d_scores, and reg for W alone
    w = params["W"]
    loss, d_scores = cross_entropy(scores(params, x), labels)
    loss += 0.5 * reg * w.square().sum().item()
    # a bias shifts a score for every x alike: its size says nothing about how complicated the boundary is
    return loss, {"W": x.T @ d_scores + reg * w, "b": d_scores.sum(dim=0)}
    # solution: end


def two_layer_loss_and_gradients(
    params: Params, x: torch.Tensor, labels: torch.Tensor, reg: float
) -> tuple[float, Params]:
    """The two-layer network's loss, a float, and its gradients, under the names of the parameters.

    The loss is the mean of −log p[label] plus ½ · reg · (sum of W1² + sum of W2²).
    """
    # solution: begin forward, keeping the hidden layer; then back: W2, b2, the hidden layer, W1, b1
    w1, w2 = params["W1"], params["W2"]
    hidden = (x @ w1 + params["b1"]).clamp(min=0)  # (N, H)
    loss, d_scores = cross_entropy(hidden @ w2 + params["b2"], labels)  # d_scores: (N, K)
    loss += 0.5 * reg * (w1.square().sum() + w2.square().sum()).item()
    # the upper layer is the linear classifier again; what was x there is the hidden layer here
    grads = {"W2": hidden.T @ d_scores + reg * w2, "b2": d_scores.sum(dim=0)}
    d_before = (d_scores @ w2.T) * (hidden > 0)  # nothing flows back through a unit that was off
    grads["W1"] = x.T @ d_before + reg * w1
    grads["b1"] = d_before.sum(dim=0)
    return loss, grads
    # solution: end


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
    # solution: begin steps times: loss and gradients, then p ← p − lr · gradient for each parameter
    losses = []
    for _ in range(steps):
        loss, grads = loss_and_gradients(params, x, labels, reg)
        losses.append(loss)
        for name, grad in grads.items():
            params[name] -= lr * grad
    return losses
    # solution: end


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
    # solution: begin for each model: start, train, the accuracy of what it predicts then
    features, classes = x.shape[1], int(labels.max()) + 1
    models = {
        "linear": (0, linear_loss_and_gradients, linear_steps),
        "two layers": (hidden, two_layer_loss_and_gradients, steps),
    }
    found = {}
    for name, (units, loss_and_gradients, count) in models.items():
        params = start(features, classes, units, generator)
        losses = train(params, loss_and_gradients, x, labels, count)
        accuracy = (predict(params, x) == labels).double().mean().item()
        found[name] = {"params": params, "losses": losses, "accuracy": accuracy}
    return found
    # solution: end


if __name__ == "__main__":
    torch.set_num_threads(1)  # matrices this small: several threads mostly wait for each other
    for name, one in case_study(*make_spiral(generator=torch.Generator().manual_seed(0))).items():
        first, last = one["losses"][0], one["losses"][-1]
        size = sum(p.numel() for p in one["params"].values())
        print(f"{name}: {size} parameters, loss {first:.4f} → {last:.4f} (ln 3 = {math.log(3):.4f}),", end=" ")
        print(f"{one['accuracy']:.0%} right")
