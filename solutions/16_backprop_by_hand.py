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
    # solution: begin the mean of -log p[label]; then (softmax - one-hot) / N
    n = len(labels)
    rows = torch.arange(n)
    # log p directly: log(softmax) would be log(0) for a class that underflows
    log_p = logits - logits.logsumexp(dim=1, keepdim=True)
    loss = -log_p[rows, labels].mean()
    grad = log_p.exp()
    grad[rows, labels] -= 1  # raise the label's logit, lower the others by their probabilities; each row sums to 0
    return loss.item(), grad / n  # the mean's 1/N, once, at the start of backward: everything below inherits it
    # solution: end


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
        # solution: begin self.params: weights normal with deviation std, biases zero
        self.params = {
            "W1": std * torch.randn(in_features, hidden, dtype=dtype),  # random, so that the units differ
            "b1": torch.zeros(hidden, dtype=dtype),
            "W2": std * torch.randn(hidden, classes, dtype=dtype),
            "b2": torch.zeros(classes, dtype=dtype),
        }
        # solution: end

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, D) -> (N, K) logits."""
        # solution: begin linear, ReLU, linear
        return self._hidden(x) @ self.params["W2"] + self.params["b2"]
        # solution: end

    def loss_and_grads(self, x: torch.Tensor, labels: torch.Tensor) -> tuple[float, dict[str, torch.Tensor]]:
        """The loss with its regularisation, a float, and its gradient for each of `params`, under the same names."""
        # solution: begin forward, keeping what backward needs; then from the loss back to W1
        w1, w2 = self.params["W1"], self.params["W2"]
        hidden = self._hidden(x)  # (N, H)
        loss, d_logits = softmax_loss(hidden @ w2 + self.params["b2"], labels)  # d_logits (N, K)
        # logits = hidden @ W2 + b2. Shapes tell where the transpose goes: (H, N) @ (N, K) is the shape of W2. The
        # product sums over the batch, and so must the bias, which was added to every row.
        grads = {"W2": hidden.T @ d_logits, "b2": d_logits.sum(dim=0)}
        d_hidden = d_logits @ w2.T  # (N, H)
        # ReLU let through where it was positive in the forward pass. The sign of d_hidden has no say in it.
        d_before = d_hidden * (hidden > 0)
        grads["W1"] = x.T @ d_before
        grads["b1"] = d_before.sum(dim=0)
        # Half the squares, so that the gradient is reg * W; weights only, and independent of the data and of N.
        loss += 0.5 * self.reg * (w1.square().sum() + w2.square().sum()).item()
        grads["W1"] += self.reg * w1
        grads["W2"] += self.reg * w2
        return loss, grads
        # solution: end

    def _hidden(self, x: torch.Tensor) -> torch.Tensor:
        """A helper, yours to use or to delete: (N, D) -> (N, H), after the ReLU."""
        # solution: begin the first linear layer and the ReLU
        return (x @ self.params["W1"] + self.params["b1"]).clamp(min=0)
        # solution: end


def train(net: TwoLayerNet, x: torch.Tensor, labels: torch.Tensor, steps: int, lr: float) -> list[float]:
    """Gradient descent with all of x in each step. Changes `net.params`; returns the loss before each step."""
    # solution: begin loss and gradients, then a step against each gradient
    losses = []
    for _ in range(steps):
        loss, grads = net.loss_and_grads(x, labels)
        losses.append(loss)
        for name, grad in grads.items():
            net.params[name] -= lr * grad
    return losses
    # solution: end
