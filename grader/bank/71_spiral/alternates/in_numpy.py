"""The arithmetic in NumPy, as the notes have it; tensors only at the doors."""

import numpy as np
import torch


def make_spiral(points=100, classes=3, noise=0.2, generator=None):
    radius = np.linspace(0.0, 1.0, points)
    bends = torch.randn(classes, points, generator=generator).numpy() * noise
    rows = []
    for k in range(classes):
        t = np.linspace(k * 4, (k + 1) * 4, points) + bends[k]
        rows.append(np.c_[radius * np.sin(t), radius * np.cos(t)])
    x = torch.from_numpy(np.concatenate(rows).astype(np.float32))
    return x, torch.from_numpy(np.repeat(np.arange(classes), points).astype(np.int64))


def start(features, classes, hidden=0, generator=None):
    shapes = {"W": (features, classes), "b": (classes,)}
    if hidden:
        shapes = {"W1": (features, hidden), "b1": (hidden,), "W2": (hidden, classes), "b2": (classes,)}
    return {
        name: 0.01 * torch.randn(*shape, generator=generator) if name[0] == "W" else torch.zeros(*shape)
        for name, shape in shapes.items()
    }


def _arrays(params):
    return {name: p.numpy() for name, p in params.items()}


def _forward(p, x):
    if "W" in p:
        return x, np.dot(x, p["W"]) + p["b"]
    hidden = np.maximum(0, np.dot(x, p["W1"]) + p["b1"])
    return hidden, np.dot(hidden, p["W2"]) + p["b2"]


def scores(params, x):
    return torch.from_numpy(_forward(_arrays(params), x.numpy())[1])


def predict(params, x):
    return torch.from_numpy(np.argmax(_forward(_arrays(params), x.numpy())[1], axis=1))


def _loss_and_gradients(params, x, labels, reg):
    p, x, y = _arrays(params), x.numpy(), labels.numpy()
    n = x.shape[0]
    last, s = _forward(p, x)
    s = s - s.max(axis=1, keepdims=True)
    sums = np.exp(s).sum(axis=1, keepdims=True)
    loss = float(np.mean(np.log(sums)[:, 0] - s[np.arange(n), y]))
    d = np.exp(s) / sums
    d[np.arange(n), y] -= 1
    d /= n
    grads, top = {}, "2" if "W2" in p else ""
    grads["W" + top] = last.T.dot(d) + reg * p["W" + top]
    grads["b" + top] = d.sum(axis=0)
    loss += 0.5 * reg * float(np.sum(p["W" + top] ** 2))
    if top:
        d = d.dot(p["W2"].T)
        d[last <= 0] = 0
        grads["W1"] = x.T.dot(d) + reg * p["W1"]
        grads["b1"] = d.sum(axis=0)
        loss += 0.5 * reg * float(np.sum(p["W1"] ** 2))
    return loss, {name: torch.from_numpy(np.asarray(g, dtype=p[name].dtype)) for name, g in grads.items()}


linear_loss_and_gradients = two_layer_loss_and_gradients = _loss_and_gradients


def train(params, loss_and_gradients, x, labels, steps, lr=1.0, reg=1e-3):
    losses = []
    for _ in range(steps):
        loss, grads = loss_and_gradients(params, x, labels, reg)
        losses += [loss]
        for name in grads:
            params[name] += -lr * grads[name]
    return losses


def case_study(x, labels, hidden=100, linear_steps=200, steps=10_000, generator=None):
    out = {}
    for name, units, n in (("linear", 0, linear_steps), ("two layers", hidden, steps)):
        p = start(x.shape[1], 1 + int(labels.max()), units, generator)
        out[name] = {"losses": train(p, _loss_and_gradients, x, labels, n), "params": p}
        out[name]["accuracy"] = np.mean((predict(p, x) == labels).numpy()).item()
    return out
