"""Library functions forwards, explicit one-hot targets backwards."""

import math

import torch
import torch.nn.functional as F


def make_spiral(points=100, classes=3, noise=0.2, generator=None):
    xs, ys = [], []
    for k in range(classes):
        r = torch.arange(points) / (points - 1)
        t = torch.linspace(4.0 * k, 4.0 * (k + 1), points) + torch.randn(points, generator=generator) * noise
        xs.append(torch.stack((r * torch.sin(t), r * torch.cos(t)), 1))
        ys.append(torch.full((points,), k))
    return torch.cat(xs), torch.cat(ys)


def start(features, classes, hidden=0, generator=None):
    def weights(a, b):
        return torch.empty(a, b).normal_(0, 0.01, generator=generator)

    if hidden:
        return {
            "W1": weights(features, hidden),
            "b1": torch.zeros(hidden),
            "W2": weights(hidden, classes),
            "b2": torch.zeros(classes),
        }
    return {"W": weights(features, classes), "b": torch.zeros(classes)}


def scores(params, x):
    if "W" in params:
        return torch.addmm(params["b"], x, params["W"])
    hidden = F.relu(F.linear(x, params["W1"].t(), params["b1"]))
    return F.linear(hidden, params["W2"].t(), params["b2"])


def predict(params, x):
    return torch.softmax(scores(params, x), dim=-1).topk(1).indices.squeeze(-1)


def linear_loss_and_gradients(params, x, labels, reg):
    z = scores(params, x)
    loss = F.cross_entropy(z, labels).item() + 0.5 * reg * float(torch.sum(params["W"] ** 2))
    d = (F.softmax(z, dim=1) - F.one_hot(labels, z.shape[1])) / x.shape[0]
    return loss, {"W": torch.mm(x.t(), d).add(params["W"], alpha=reg), "b": d.sum(0)}


def two_layer_loss_and_gradients(params, x, labels, reg):
    w1, b1, w2, b2 = (params[k] for k in ("W1", "b1", "W2", "b2"))
    z1 = x @ w1 + b1
    a1 = torch.relu(z1)
    z2 = a1 @ w2 + b2
    loss = F.nll_loss(F.log_softmax(z2, dim=1), labels) + reg / 2 * ((w1 * w1).sum() + (w2 * w2).sum())
    dz2 = (F.softmax(z2, dim=1) - F.one_hot(labels, z2.shape[1])) / x.shape[0]
    dw2 = a1.t() @ dz2 + reg * w2
    db2 = dz2.sum(0)
    dz1 = torch.where(z1 > 0, dz2 @ w2.t(), torch.zeros_like(z1))
    dw1 = x.t() @ dz1 + reg * w1
    db1 = dz1.sum(0)
    return float(loss), {"W1": dw1, "b1": db1, "W2": dw2, "b2": db2}


def train(params, loss_and_gradients, x, labels, steps, lr=1.0, reg=1e-3):
    history = []
    for _ in range(steps):
        loss, grads = loss_and_gradients(params, x, labels, reg)
        history.append(loss)
        for key in params:
            params[key] = params[key] - lr * grads[key]
    return history


def case_study(x, labels, hidden=100, linear_steps=200, steps=10_000, generator=None):
    classes = labels.max().item() + 1
    linear = start(x.shape[1], classes, generator=generator)
    linear_losses = train(linear, linear_loss_and_gradients, x, labels, linear_steps)
    deep = start(x.shape[1], classes, hidden=hidden, generator=generator)
    deep_losses = train(deep, two_layer_loss_and_gradients, x, labels, steps)

    def right(params):
        return int((predict(params, x) == labels).sum()) / len(labels)

    return {
        "linear": {"params": linear, "losses": linear_losses, "accuracy": right(linear)},
        "two layers": {"params": deep, "losses": deep_losses, "accuracy": right(deep)},
    }


if __name__ == "__main__":
    print(math.log(3))
