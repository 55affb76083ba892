"""No copies: the model itself is used, and a context manager puts everything back."""

import contextlib
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class Finding:
    ok: bool
    value: float


@contextlib.contextmanager
def borrowed(model, train=False):
    modes = {module: module.training for module in model.modules()}
    kept = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    grads = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    try:
        yield model.train(train)
    finally:
        model.load_state_dict(kept)
        for module, mode in modes.items():
            module.training = mode
        for p, grad in zip(model.parameters(), grads, strict=True):
            p.grad = grad


def measure(model, images, labels):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    with torch.inference_mode():
        loss = F.cross_entropy(model(images), labels).item()
    for module, mode in modes.items():
        module.training = mode
    return loss


def initial_loss(model, images, labels):
    with borrowed(model), torch.no_grad():
        z = model(images)
        loss = float(F.cross_entropy(z, labels))
        classes = z.size(1)
    entropy = 0.0
    for count in torch.bincount(labels).tolist():
        if count:
            f = count / len(labels)
            entropy -= f * math.log(f)
    too_low, too_high = loss < entropy - 0.25, loss > math.log(classes) + 0.25
    return Finding(not (too_low or too_high), loss)


def class_prior(model, images, labels):
    with borrowed(model), torch.no_grad():
        p = torch.softmax(model(images), dim=-1)
    difference = p.mean(0) - F.one_hot(labels, p.size(1)).float().mean(0)
    value = float(difference.abs().max())
    return Finding(value <= 0.15, value)


def no_batch_leak(model, images):
    value = 0.0
    with borrowed(model):
        x = images[:4].detach().clone()
        x.requires_grad = True
        z = model(x)
        if z.grad_fn is None:
            return Finding(True, 0.0)
        for i in range(z.size(0)):
            for k in range(z.size(1)):
                x.grad = None
                z[i, k].backward(retain_graph=True)
                if x.grad is None:
                    continue
                others = torch.cat([x.grad[:i], x.grad[i + 1 :]])
                value = max(value, float(others.abs().max()))
    return Finding(value <= 1e-6, value)


def repeatable(model, images):
    with borrowed(model), torch.no_grad():
        value = float((model(images) - model(images)).abs().max())
    return Finding(value <= 1e-6, value)


def _train(model, images, labels, steps):
    model.train()
    opt = torch.optim.Adam(list(model.parameters()), lr=1e-2)
    for _ in range(steps):
        loss = F.cross_entropy(model(images), labels)
        if loss.grad_fn is None:
            return
        opt.zero_grad()
        loss.backward()
        opt.step()


def overfits_two(model, images, labels):
    partner = next(i for i, y in enumerate(labels.tolist()) if y != int(labels[0]))
    x, y = images[[0, partner]], labels[[0, partner]]
    with borrowed(model, train=True):
        _train(model, x, y, 100)
        loss = measure(model, x, y)
    return Finding(loss < 0.1, loss)


def input_matters(model, images, labels):
    even, odd = torch.arange(0, len(labels), 2), torch.arange(1, len(labels), 2)
    losses = {}
    for name, x in (("zeros", images * 0), ("images", images)):
        with borrowed(model, train=True):
            _train(model, x[even], labels[even], 60)
            losses[name] = measure(model, x[odd], labels[odd])
    ratio = losses["images"] / losses["zeros"]
    return Finding(ratio < 0.8, ratio)


def recipe(model, images, labels):
    return {
        "overfits_two": overfits_two(model, images, labels),
        "input_matters": input_matters(model, images, labels),
        "initial_loss": initial_loss(model, images, labels),
        "class_prior": class_prior(model, images, labels),
        "no_batch_leak": no_batch_leak(model, images),
        "repeatable": repeatable(model, images),
    }
