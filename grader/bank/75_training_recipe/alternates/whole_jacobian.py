"""The leak from the whole Jacobian at once; a registry of questions."""

import copy
from collections import namedtuple

import torch
import torch.nn as nn

Finding = namedtuple("Finding", "ok value")
QUESTIONS = {}
criterion = nn.CrossEntropyLoss()


def question(function):
    QUESTIONS[function.__name__] = function
    return function


def logits_of(model, images):
    twin = copy.deepcopy(model)
    twin.eval()
    with torch.no_grad():
        return twin(images)


def shares(labels, k):
    return torch.stack([(labels == c).float().mean() for c in range(k)])


@question
def initial_loss(model, images, labels):
    z = logits_of(model, images)
    loss = criterion(z, labels).item()
    f = shares(labels, z.shape[1])
    f = f[f > 0]
    low, high = -(f * f.log()).sum().item(), torch.tensor(float(z.shape[1])).log().item()
    return Finding(low - 0.25 <= loss <= high + 0.25, loss)


@question
def class_prior(model, images, labels):
    z = logits_of(model, images)
    away = torch.dist(z.softmax(-1).mean(0), shares(labels, z.shape[1]), p=float("inf")).item()
    return Finding(away <= 0.15, away)


@question
def no_batch_leak(model, images, labels=None):
    twin = copy.deepcopy(model).eval()
    j = torch.autograd.functional.jacobian(twin, images[:4])  # (n, K, n, ...)
    n = j.shape[0]
    j = j.flatten(3) if j.dim() > 3 else j[..., None]
    j = j.permute(0, 2, 1, 3).flatten(2).abs().amax(-1)  # (n, n)
    j.fill_diagonal_(0)
    worst = j.max().item() if n > 1 else 0.0
    return Finding(worst <= 1e-6, worst)


@question
def repeatable(model, images, labels=None):
    a, b = logits_of(model, images), logits_of(model, images)
    worst = torch.max(torch.abs(a - b)).item()
    return Finding(worst <= 1e-6, worst)


def trained(model, x, y, steps):
    twin = copy.deepcopy(model)
    twin.train()
    wanted = [p for p in twin.parameters() if p.requires_grad]
    if not wanted or not twin(x[:2]).requires_grad:
        return copy.deepcopy(model)
    twin = copy.deepcopy(model).train()  # the look above may have moved batch norm's statistics
    opt = torch.optim.Adam([p for p in twin.parameters() if p.requires_grad], lr=0.01)
    for _ in range(steps):
        loss = criterion(twin(x), y)
        opt.zero_grad(set_to_none=True)
        loss.backward()
        opt.step()
    return twin


@question
def overfits_two(model, images, labels):
    b = torch.nonzero(labels - labels[0])[0].item()
    x, y = torch.stack([images[0], images[b]]), torch.stack([labels[0], labels[b]])
    loss = criterion(logits_of(trained(model, x, y, 100), x), y).item()
    return Finding(loss < 0.1, loss)


@question
def input_matters(model, images, labels):
    def judged(x):
        return criterion(logits_of(trained(model, x[0::2], labels[0::2], 60), x[1::2]), labels[1::2]).item()

    ratio = judged(images) / judged(torch.zeros_like(images))
    return Finding(ratio < 0.8, ratio)


def recipe(model, images, labels):
    return {name: ask(model, images, labels) for name, ask in QUESTIONS.items()}
