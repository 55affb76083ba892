"""A network of two layers, its loss and its gradients, by hand: what `loss.backward()` does for you.

Backward is the chain rule, read from the loss to the input. At each line of the forward pass stands one question: the
gradient with respect to what this line gave is known, so what is it with respect to what went in?

    net = TwoLayerNet(2, 64, 3, std=0.3, reg=1e-3)
    losses = train(net, points, labels, steps=600, lr=1.0)
    net.forward(points).argmax(dim=1)
"""

from __future__ import annotations

import torch


def softmax_loss(logits: torch.Tensor, labels: torch.Tensor) -> tuple[float, torch.Tensor]:
    """Mean cross-entropy of (N, K) logits with (N,) labels, a float, and its gradient for the logits, (N, K)."""
    raise NotImplementedError("TODO: the mean of -log p[label]; then (softmax - one-hot) / N")


class TwoLayerNet:
    """Linear, ReLU, linear. `params` holds "W1" (D, H), "b1" (H,), "W2" (H, K) and "b2" (K,)."""

    def __init__(
        self,
        in_features: int,
        hidden: int,
        classes: int,
        std: float = 0.01,
        reg: float = 0.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.reg = reg
        raise NotImplementedError(
            "TODO: self.params: weights normal with deviation std, biases zero"
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, D) -> (N, K) logits."""
        raise NotImplementedError("TODO: linear, ReLU, linear")

    def loss_and_grads(self, x: torch.Tensor, labels: torch.Tensor) -> tuple[float, dict[str, torch.Tensor]]:
        """The loss with its regularisation, a float, and its gradient for each of `params`, under the same names."""
        raise NotImplementedError(
            "TODO: forward, keeping what backward needs; then from the loss back to W1"
        )

    def _hidden(self, x: torch.Tensor) -> torch.Tensor:
        """A helper, yours to use or to delete: (N, D) -> (N, H), after the ReLU."""
        raise NotImplementedError("TODO: the first linear layer and the ReLU")


def train(net: TwoLayerNet, x: torch.Tensor, labels: torch.Tensor, steps: int, lr: float) -> list[float]:
    """Gradient descent with all of x in each step. Changes `net.params`; returns the loss before each step."""
    raise NotImplementedError("TODO: loss and gradients, then a step against each gradient")
