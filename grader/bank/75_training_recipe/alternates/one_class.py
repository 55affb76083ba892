"""A class that holds model and data; the functions are its doors."""

import copy
import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.nn import functional as F


@dataclass
class Finding:
    ok: bool
    value: float


@dataclass
class Patient:
    model: torch.nn.Module
    images: torch.Tensor
    labels: torch.Tensor = None
    _logits: torch.Tensor = field(default=None, repr=False)

    def twin(self, training):
        twin = copy.deepcopy(self.model)
        return twin.train() if training else twin.eval()

    @property
    def logits(self):
        if self._logits is None:
            with torch.inference_mode():
                self._logits = self.twin(False)(self.images).clone()
        return self._logits

    @property
    def frequency(self):
        counts = torch.zeros(self.logits.shape[1])
        counts.index_add_(0, self.labels, torch.ones(len(self.labels)))
        return counts / counts.sum()

    def initial_loss(self):
        log_p = self.logits.log_softmax(dim=1)
        loss = -log_p[torch.arange(len(self.labels)), self.labels].mean().item()
        entropy = -np.sum([f * np.log(f) for f in self.frequency.numpy() if f])  # a NumPy float; ok is a NumPy bool then
        return Finding(entropy - 0.25 <= loss <= math.log(self.logits.shape[1]) + 0.25, loss)

    def class_prior(self):
        away = (self.logits.softmax(1).mean(0) - self.frequency).abs().max().item()
        return Finding(away <= 0.15, away)

    def no_batch_leak(self):
        twin, worst = self.twin(False), 0.0
        x = self.images[:4].clone().requires_grad_(True)
        z = twin(x)
        if not z.requires_grad:
            return Finding(ok=True, value=0.0)
        for i in range(len(x)):
            for k in range(z.shape[1]):
                pick = torch.zeros_like(z)
                pick[i, k] = 1
                g = torch.autograd.grad(z, x, pick, retain_graph=True, allow_unused=True)[0]
                g = torch.zeros_like(x) if g is None else g
                keep = torch.ones(len(x), dtype=torch.bool)
                keep[i] = False
                worst = max(worst, g[keep].abs().max().item())
        return Finding(worst <= 1e-6, worst)

    def repeatable(self):
        twin = self.twin(False)
        with torch.no_grad():
            worst = (twin(self.images) - twin(self.images)).abs().max().item()
        return Finding(worst <= 1e-6, worst)

    def after(self, x, y, steps):
        twin = self.twin(True)
        adam = torch.optim.Adam(twin.parameters(), lr=0.01)
        for _ in range(steps):
            loss = F.cross_entropy(twin(x), y)
            try:
                adam.zero_grad()
                loss.backward()
            except RuntimeError:
                return self.twin(False)
            adam.step()
        return twin.eval()

    def overfits_two(self):
        b = (self.labels != self.labels[0]).int().argmax().item()
        x, y = self.images[[0, b]], self.labels[[0, b]]
        with torch.no_grad():
            pass
        twin = self.after(x, y, 100)
        with torch.no_grad():
            loss = F.cross_entropy(twin(x), y).item()
        return Finding(loss < 0.1, loss)

    def input_matters(self):
        def loss(x):
            twin = self.after(x[::2], self.labels[::2], 60)
            with torch.no_grad():
                return F.cross_entropy(twin(x[1::2]), self.labels[1::2]).item()

        seen, blind = loss(self.images), loss(torch.zeros(self.images.shape))
        return Finding(seen < 0.8 * blind, seen / blind)


def initial_loss(model, images, labels):
    return Patient(model, images, labels).initial_loss()


def class_prior(model, images, labels):
    return Patient(model, images, labels).class_prior()


def no_batch_leak(model, images):
    return Patient(model, images).no_batch_leak()


def repeatable(model, images):
    return Patient(model, images).repeatable()


def overfits_two(model, images, labels):
    return Patient(model, images, labels).overfits_two()


def input_matters(model, images, labels):
    return Patient(model, images, labels).input_matters()


def recipe(model, images, labels):
    patient = Patient(model, images, labels)
    names = ("initial_loss", "class_prior", "no_batch_leak", "repeatable", "overfits_two", "input_matters")
    return {name: getattr(patient, name)() for name in names}
