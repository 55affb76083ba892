"""The biases as one more row of the weights, against a column of ones; views keep `params` in step."""

import torch


def _ones(x):
    return torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], dim=1)


def softmax_loss(logits, labels):
    n = logits.shape[0]
    shifted = logits.sub(logits.max(dim=1, keepdim=True).values)
    p = shifted.exp()
    p /= p.sum(dim=1, keepdim=True)
    index = torch.arange(n), labels
    loss = torch.logsumexp(shifted, 1).sub(shifted[index]).sum().item() / n
    p[index] -= 1
    return loss, p / n


class TwoLayerNet:
    def __init__(self, in_features, hidden, classes, std=0.01, reg=0.0, dtype=torch.float32):
        self.first = torch.zeros(in_features + 1, hidden, dtype=dtype)
        self.second = torch.zeros(hidden + 1, classes, dtype=dtype)
        self.first[:-1] = std * torch.randn(in_features, hidden, dtype=dtype)
        self.second[:-1] = std * torch.randn(hidden, classes, dtype=dtype)
        self.params = {
            "W1": self.first[:-1],
            "b1": self.first[-1],
            "W2": self.second[:-1],
            "b2": self.second[-1],
        }
        self.reg = reg

    def forward(self, x):
        return _ones((_ones(x) @ self.first).clamp_min(0)) @ self.second

    def loss_and_grads(self, x, labels):
        wide = _ones(x)
        hidden = torch.maximum(wide @ self.first, torch.zeros((), dtype=x.dtype))
        wide_hidden = _ones(hidden)
        loss, d = softmax_loss(wide_hidden @ self.second, labels)
        second = wide_hidden.mT @ d
        first = wide.mT @ ((d @ self.params["W2"].mT) * hidden.sign())
        grads = {
            "W1": first[:-1] + self.reg * self.params["W1"],
            "b1": first[-1],
            "W2": second[:-1] + self.reg * self.params["W2"],
            "b2": second[-1],
        }
        squares = self.params["W1"].pow(2).sum() + self.params["W2"].pow(2).sum()
        return loss + 0.5 * self.reg * squares.item(), grads


def train(net, x, labels, steps, lr):
    losses = [0.0] * steps
    for i in range(steps):
        losses[i], grads = net.loss_and_grads(x, labels)
        for name, g in grads.items():
            net.params[name] -= lr * g
    return losses
