"""Small layers with a forward and a backward each, walked through in reverse."""

import torch


class Linear:
    def __init__(self, weight, bias):
        self.weight, self.bias = weight, bias

    def forward(self, x):
        self.x = x
        return x @ self.weight + self.bias

    def backward(self, grad):
        self.grads = (self.x.T @ grad, grad.sum(dim=0))
        return grad @ self.weight.T


class ReLU:
    def forward(self, x):
        self.on = x > 0
        return x * self.on

    def backward(self, grad):
        return grad.masked_fill(~self.on, 0)


def softmax_loss(logits, labels):
    log_p = torch.log_softmax(logits, dim=1)
    picked = torch.nn.functional.one_hot(labels, logits.shape[1]).bool()
    n = len(logits)
    return (-log_p[picked].sum() / n).item(), (log_p.exp() - picked.to(log_p.dtype)).div(n)


class TwoLayerNet:
    def __init__(self, in_features, hidden, classes, std=0.01, reg=0.0, dtype=torch.float32):
        self.params = {
            "W1": torch.normal(0.0, std, (in_features, hidden), dtype=dtype),
            "b1": torch.zeros(hidden, dtype=dtype),
            "W2": torch.normal(0.0, std, (hidden, classes), dtype=dtype),
            "b2": torch.zeros(classes, dtype=dtype),
        }
        self.reg = reg

    def _layers(self):
        p = self.params
        return [Linear(p["W1"], p["b1"]), ReLU(), Linear(p["W2"], p["b2"])]

    def forward(self, x):
        for layer in self._layers():
            x = layer.forward(x)
        return x

    def loss_and_grads(self, x, labels):
        layers = self._layers()
        for layer in layers:
            x = layer.forward(x)
        loss, grad = softmax_loss(x, labels)
        for layer in reversed(layers):
            grad = layer.backward(grad)
        grads = dict(zip(("W1", "b1", "W2", "b2"), layers[0].grads + layers[2].grads, strict=True))
        for name in ("W1", "W2"):
            loss += 0.5 * self.reg * self.params[name].norm().item() ** 2
            grads[name] += self.reg * self.params[name]
        return loss, grads


@torch.no_grad()
def train(net, x, labels, steps, lr):
    losses = []
    for _ in range(steps):
        loss, grads = net.loss_and_grads(x, labels)
        for name in grads:
            net.params[name].add_(grads[name], alpha=-lr)
        losses.append(loss)
    return losses
