"""einsum for the products, gather and scatter for the labels; the network reuses the linear gradients for its top."""

import torch
from torch import Tensor


def make_spiral(points: int = 100, classes: int = 3, noise: float = 0.2, generator=None) -> tuple[Tensor, Tensor]:
    k = torch.arange(classes).unsqueeze(1)
    s = torch.linspace(0, 1, points).expand(classes, points)
    angle = torch.normal(4 * (k + s), torch.full((classes, points), float(noise)), generator=generator)
    xy = torch.polar(s.contiguous(), angle)
    return torch.stack([xy.imag, xy.real], dim=-1).flatten(0, 1), k.expand(classes, points).reshape(-1)


def start(features, classes, hidden=0, generator=None):
    if not hidden:
        return {"b": torch.zeros(classes), "W": torch.randn(features, classes, generator=generator).mul(0.01)}
    below = start(features, hidden, generator=generator)
    above = start(hidden, classes, generator=generator)
    return {"b1": below["b"], "W1": below["W"], "b2": above["b"], "W2": above["W"]}


def scores(params, x):
    layers = [n for n in ("", "1", "2") if "W" + n in params]
    for i, n in enumerate(layers):
        x = torch.einsum("nd,dk->nk", x.relu() if i else x, params["W" + n]) + params["b" + n]
    return x


def predict(params, x):
    return scores(params, x).max(dim=1)[1]


def _top(w, b, x, labels):
    z = torch.einsum("nd,dk->nk", x, w) + b
    z = z - z.max(dim=1, keepdim=True)[0]
    e = z.exp()
    total = e.sum(dim=1, keepdim=True)
    loss = (total.log() - z.gather(1, labels[:, None])).mean()
    d = e / total
    d = d.scatter_add(1, labels[:, None], d.new_full((len(d), 1), -1.0)).div(len(d))
    return loss, d


def linear_loss_and_gradients(params, x, labels, reg):
    w = params["W"]
    loss, d = _top(w, params["b"], x, labels)
    return (loss + reg * (w**2).sum() / 2).item(), {
        "b": torch.einsum("nk->k", d),
        "W": torch.einsum("nd,nk->dk", x, d) + reg * w,
    }


def two_layer_loss_and_gradients(params, x, labels, reg):
    z = torch.einsum("nd,dh->nh", x, params["W1"]) + params["b1"]
    on = z.gt(0).to(z.dtype)
    upper = {"W": params["W2"], "b": params["b2"]}
    loss, grads = linear_loss_and_gradients(upper, z * on, labels, reg)
    _, d = _top(params["W2"], params["b2"], z * on, labels)
    dz = torch.einsum("nk,hk,nh->nh", d, params["W2"], on)
    return loss + reg / 2 * params["W1"].norm().item() ** 2, {
        "W1": torch.einsum("nd,nh->dh", x, dz) + reg * params["W1"],
        "W2": grads["W"],
        "b1": dz.sum(0),
        "b2": grads["b"],
    }


def train(params, loss_and_gradients, x, labels, steps, lr=1.0, reg=1e-3):
    def step():
        loss, grads = loss_and_gradients(params, x, labels, reg)
        params.update({name: torch.sub(p, grads[name], alpha=lr) for name, p in params.items()})
        return loss

    return [step() for _ in range(steps)]


def case_study(x, labels, hidden=100, linear_steps=200, steps=10_000, generator=None):
    def one(units, function, count):
        params = start(x.size(1), max(labels.tolist()) + 1, units, generator=generator)
        losses = train(params, function, x, labels, count)
        return {"params": params, "losses": losses, "accuracy": predict(params, x).eq(labels).float().mean().item()}

    return {
        "two layers": one(hidden, two_layer_loss_and_gradients, steps),
        "linear": one(0, linear_loss_and_gradients, linear_steps),
    }
