"""A column of ones in x makes the bias one more row of the weights."""

import torch


def _ones(x):
    return torch.cat([x, torch.ones(x.shape[0], 1, dtype=x.dtype)], dim=1)


def make_spiral(points=100, classes=3, noise=0.2, generator=None):
    x = torch.zeros(points * classes, 2)
    y = torch.zeros(points * classes, dtype=torch.long)
    r = torch.linspace(0, 1, points)
    for c in range(classes):
        rows = slice(c * points, (c + 1) * points)
        theta = torch.linspace(c * 4, (c + 1) * 4, points)
        theta += noise * torch.empty(points).normal_(generator=generator)
        x[rows, 0] = r * theta.sin()
        x[rows, 1] = r * theta.cos()
        y[rows] = c
    return x, y


def start(features, classes, hidden=0, generator=None):
    def layer(a, b):
        return 0.01 * torch.randn(a, b, generator=generator), torch.zeros(b)

    if hidden == 0:
        return dict(zip(("W", "b"), layer(features, classes), strict=True))
    w1, b1 = layer(features, hidden)
    w2, b2 = layer(hidden, classes)
    return {"W1": w1, "W2": w2, "b1": b1, "b2": b2}


def _whole(params, n=""):
    return torch.vstack([params["W" + n], params["b" + n]])


def scores(params, x):
    if "W2" not in params:
        return _ones(x) @ _whole(params)
    return _ones((_ones(x) @ _whole(params, "1")).relu()) @ _whole(params, "2")


def predict(params, x):
    return scores(params, x).argsort(dim=1)[:, -1]


def _softmax_loss(z, y):
    log_p = torch.log_softmax(z, 1)
    target = torch.zeros_like(z)
    target[range(len(y)), y] = 1.0
    return float(-(log_p * target).sum() / len(y)), (log_p.exp() - target) / len(y)


def linear_loss_and_gradients(params, x, labels, reg):
    loss, d = _softmax_loss(scores(params, x), labels)
    g = _ones(x).T @ d
    return loss + reg * (params["W"] ** 2).sum().item() / 2, {"W": g[:-1] + reg * params["W"], "b": g[-1]}


def two_layer_loss_and_gradients(params, x, labels, reg):
    hidden = torch.relu(_ones(x) @ _whole(params, "1"))
    loss, d = _softmax_loss(_ones(hidden) @ _whole(params, "2"), labels)
    g2 = _ones(hidden).T @ d
    back = d @ params["W2"].T
    back[hidden <= 0] = 0
    g1 = _ones(x).T @ back
    grads = {"W1": g1[:-1], "b1": g1[-1], "W2": g2[:-1], "b2": g2[-1]}
    for name in ("W1", "W2"):
        grads[name] = grads[name] + reg * params[name]
        loss += 0.5 * reg * params[name].pow(2).sum().item()
    return loss, grads


@torch.no_grad()
def train(params, loss_and_gradients, x, labels, steps, lr=1.0, reg=1e-3):
    losses = [0.0] * steps
    for i in range(steps):
        losses[i], grads = loss_and_gradients(params, x, labels, reg)
        for name, p in params.items():
            p.add_(grads[name], alpha=-lr)
    return losses


def case_study(x, labels, hidden=100, linear_steps=200, steps=10_000, generator=None):
    classes = int(labels.max() + 1)
    a = start(x.shape[1], classes, 0, generator)
    b = start(x.shape[1], classes, hidden, generator)
    found = {"linear": {"params": a}, "two layers": {"params": b}}
    found["linear"]["losses"] = train(a, linear_loss_and_gradients, x, labels, linear_steps)
    found["two layers"]["losses"] = train(b, two_layer_loss_and_gradients, x, labels, steps)
    for one in found.values():
        one["accuracy"] = float((predict(one["params"], x) == labels).float().mean())
    return found
