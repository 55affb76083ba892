"""Builds models and data, healthy or not, and shows them to the candidate's functions. Judges nothing.

`build` is used by the checks as well, which work out on their own what is to be found.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from grader.checking import probing

FINDINGS = ("initial_loss", "class_prior", "no_batch_leak", "repeatable", "overfits_two", "input_matters")


class Affine(nn.Module):
    """A last layer that is no nn.Linear: two parameters of other names."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(inputs, outputs) / inputs**0.5 / 2)
        self.offset = nn.Parameter(torch.zeros(outputs))

    def forward(self, x):
        return x @ self.kernel + self.offset


class Attention(nn.Module):
    """One head of attention between the rows of an image, with a residual connection."""

    def __init__(self, width):
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):  # (N, T, W)
        q, k, v = self.qkv(self.norm(x)).chunk(3, dim=-1)
        return x + self.out((q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(-1) @ v)


class Net(nn.Module):
    """A small classifier with the features that a spec asks for."""

    def __init__(self, spec):
        super().__init__()
        self.spec = {name: spec.get(name) for name in ("body", "mix", "end", "drop", "always", "cut", "tremor")}
        self.spec["part"] = spec.get("part", 0.5)
        body, width, classes = spec["body"], spec["width"], spec["classes"]
        channels, size = spec["shape"][0], spec["shape"][-1]
        flat = channels * size * size if len(spec["shape"]) == 3 else channels
        self.norm = nn.Identity()
        if body == "mlp":
            self.first, out = nn.Linear(flat, width), width
            self.norm = nn.BatchNorm1d(width) if spec.get("norm") else self.norm
        elif body == "conv":
            self.first, out = nn.Conv2d(channels, width, 3, padding=1), width * (size // 2) ** 2
            self.norm = nn.BatchNorm2d(width) if spec.get("norm") else self.norm
        else:
            self.first, out = nn.Linear(channels * size, width), width
            self.place = nn.Parameter(0.5 * torch.randn(size, width))
            self.attention, self.norm = Attention(width), nn.LayerNorm(width)
        if spec.get("norm") == "batch only":  # without running statistics: the batch's own, in eval mode too
            self.norm = nn.BatchNorm1d(width, track_running_stats=False)
        self.last = Affine(out, classes) if spec.get("head") == "affine" else nn.Linear(out, classes)

    def forward(self, x):
        mix = self.spec["mix"]
        if mix == "view":  # axes 0 and 1 exchanged by a reshape that keeps the shape
            x = x.transpose(0, 1).reshape(x.shape)
        elif mix == "roll":
            x = x + self.spec["part"] * x.roll(1, 0)
        if self.spec["cut"] == "blind":
            x = torch.zeros(x.shape)
        if self.spec["cut"] == "no graph":
            with torch.no_grad():
                return self._logits(x)
        return self._logits(x)

    def _logits(self, x):
        body = self.spec["body"]
        if body == "mlp":
            x = F.relu(self.norm(self.first(x.flatten(1))))
        elif body == "conv":
            x = F.max_pool2d(F.relu(self.norm(self.first(x))), 2).flatten(1)
        else:
            rows = x.permute(0, 2, 1, 3).flatten(2)  # (N, rows, channels · columns)
            x = self.norm(self.attention(self.first(rows) + self.place)).mean(1)
        if self.spec["drop"]:
            x = F.dropout(x, self.spec["drop"], training=self.training or bool(self.spec["always"]))
        x = self.last(x)
        mix, end = self.spec["mix"], self.spec["end"]
        if mix == "later":  # each row takes from those behind it
            x = x + 0.3 * x.flip(0).cumsum(0).flip(0)
        elif mix == "centred":  # what leaks cancels in the sum over a row
            x = x + x.mean(0)
            x = x - x.mean(1, keepdim=True)
        if end == "softmax":
            x = x.softmax(1)
        if self.spec["tremor"]:
            signs = torch.randint(2, x.shape) * 2.0 - 1
            signs[:4] = 0
            x = x + self.spec["tremor"] * signs
        return x


def _data(spec):
    """Images around one prototype for each class, and labels, as the spec has them. Labels in random order."""
    g = torch.Generator().manual_seed(spec["seed"] + 1000)
    classes, n = spec["classes"], spec.get("n", 120)
    prototypes = torch.randn(classes, *spec["shape"], generator=g)
    labels = torch.arange(n) % spec.get("used", classes)
    if "odds" in spec:  # class 0 occurs so many times as often as all others together
        rare = torch.rand(n, generator=g) < 1 / (1 + spec["odds"])
        labels = torch.where(rare, 1 + labels % (classes - 1), 0)
    labels = labels[torch.randperm(n, generator=g)]
    if spec.get("order") == "sorted":
        labels = labels.sort().values
    images = prototypes[labels] + spec.get("noise", 0.7) * torch.randn(n, *spec["shape"], generator=g)
    if spec.get("pixels") == "zero":
        images = torch.zeros_like(images)
    if spec.get("order") == "shuffled":
        labels = labels[torch.randperm(n, generator=g)]
    return images, labels


def _descend(model, images, labels, goal):
    """Plain gradient descent in small steps, until the loss of all examples is below the goal."""
    params = list(model.parameters())
    loss = F.cross_entropy(model(images), labels)
    while float(loss.detach()) > goal:
        grads = torch.autograd.grad(loss, params)
        with torch.no_grad():
            for p, grad in zip(params, grads, strict=True):
                p -= 0.02 * grad
        loss = F.cross_entropy(model(images), labels)


def build(spec):
    """The model, the images and the labels of a spec; the same ones in every process."""
    images, labels = _data(spec)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec["seed"])
        model = Net(spec)
        weight, bias = list(model.last.parameters())
        with torch.no_grad():
            weight *= spec.get("gain", 0.3)
            if "prior" in spec:
                share = torch.bincount(labels, minlength=spec["classes"]) / len(labels)
                bias.copy_((share + 1e-3).log() if spec["prior"] == "right" else (share + 1e-3).log().flip(0))
            if "tilt" in spec:  # class 0 is expected more often than the others
                bias.copy_(torch.eye(spec["classes"])[0] * spec["tilt"])
            if spec.get("cut") == "dead":
                model.first.bias.fill_(-100.0)
        if "goal" in spec:
            _descend(model, images, labels, spec["goal"])
        if spec.get("cut") == "frozen":
            model.requires_grad_(False)
        if spec.get("cut") == "first frozen":
            model.first.requires_grad_(False)
        for p in list(model.parameters())[: spec.get("stale", 0)]:
            p.grad = torch.full_like(p, 3.0)  # left over from somewhere
    model.train(spec.get("mode") != "eval")
    if spec.get("mode") == "mixed":
        model.norm.eval()
    return model, images, labels


def _ask(candidate, name, model, images, labels):
    more = () if name in ("no_batch_leak", "repeatable") else (labels,)
    return getattr(candidate, name)(model, images, *more)


def _plain(finding):
    """ok and value, as they are; NumPy's bools and floats are as good as Python's."""
    values = {name: getattr(finding, name, None) for name in ("ok", "value")}
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in values.items()}


def asked(candidate, name, specs):
    """What one of the candidate's functions finds in each spec's model."""
    found = []
    for done, spec in enumerate(specs):
        found.append(_plain(_ask(candidate, name, *build(spec))))
        probing.progress(done + 1, len(specs))
    return found


def recipes(candidate, specs):
    """The whole recipe for each spec's model: the names, and each finding."""
    found = []
    for done, spec in enumerate(specs):
        answer = candidate.recipe(*build(spec))
        found.append({k: _plain(v) for k, v in answer.items()} if isinstance(answer, dict) else answer)
        probing.progress(done + 1, len(specs))
    return found


def _state(model, images, labels):
    tensors = {f"parameter {k}": p.detach().clone() for k, p in model.named_parameters()}
    tensors |= {f"buffer {k}": b.detach().clone() for k, b in model.named_buffers()}
    tensors |= {
        f"gradient of {k}": None if p.grad is None else p.grad.detach().clone() for k, p in model.named_parameters()
    }
    tensors |= {f"requires_grad of {k}": p.requires_grad for k, p in model.named_parameters()}
    tensors |= {f"training of {k or 'the model'}": m.training for k, m in model.named_modules()}
    tensors |= {"images": images.detach().clone(), "labels": labels.clone()}
    return tensors | {"requires_grad of images": images.requires_grad, "grad enabled": torch.is_grad_enabled()}


def left(candidate, specs):
    """For each spec, the state of model and data before, and after each of the candidate's functions."""
    found = []
    for spec in specs:
        states = {"before": _state(*build(spec))}
        for name in FINDINGS:
            shown = build(spec)
            _ask(candidate, name, *shown)
            states[name] = _state(*shown)
        found.append(states)
    return found
