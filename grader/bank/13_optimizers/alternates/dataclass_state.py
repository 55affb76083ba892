"""State as small objects kept beside the parameters, one list per group."""

from dataclasses import dataclass
from typing import Any

import torch


@dataclass
class Moments:
    steps: int = 0
    first: Any = 0.0
    second: Any = 0.0


def make_groups(params, options):
    given = list(params)
    if not given:
        raise ValueError("no parameters")
    if isinstance(given[0], torch.Tensor):
        given = [{"params": given}]
    groups = []
    for one in given:
        group = {**options, **one}
        group["params"] = [*group["params"]]
        groups.append(group)
    flat = [id(p) for g in groups for p in g["params"]]
    if len(flat) != len(set(flat)):
        raise ValueError("parameter listed twice")
    return groups


class Base:
    def __init__(self, params, **options):
        self.param_groups = make_groups(params, options)
        self._memory = [[Moments() for _ in g["params"]] for g in self.param_groups]

    def zero_grad(self):
        for g in self.param_groups:
            for p in g["params"]:
                p.grad = None

    def step(self):
        for g, memory in zip(self.param_groups, self._memory, strict=True):
            for p, moments in zip(g["params"], memory, strict=True):
                if p.grad is not None:
                    moments.steps += 1
                    p.data.copy_(self.rule(p.data, p.grad.data, moments, g))


class SGD(Base):
    def __init__(self, params, lr, momentum=0.0, nesterov=False, weight_decay=0.0):
        if nesterov and momentum <= 0.0:
            raise ValueError("momentum missing")
        super().__init__(params, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)

    @staticmethod
    def rule(p, g, memory, o):
        g = g + o["weight_decay"] * p
        memory.first = o["momentum"] * memory.first + g
        direction = g + o["momentum"] * memory.first if o["nesterov"] else memory.first
        return p - o["lr"] * direction


def adam_direction(g, memory, o):
    b1, b2 = o["betas"]
    memory.first = b1 * memory.first + (1 - b1) * g
    memory.second = b2 * memory.second + (1 - b2) * g.square()
    first = memory.first / (1 - b1**memory.steps)
    second = memory.second / (1 - b2**memory.steps)
    return first / (second.sqrt() + o["eps"])


class Adam(Base):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    @staticmethod
    def rule(p, g, memory, o):
        return p - o["lr"] * adam_direction(g + o["weight_decay"] * p, memory, o)


class AdamW(Base):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    @staticmethod
    def rule(p, g, memory, o):
        return p * (1 - o["lr"] * o["weight_decay"]) - o["lr"] * adam_direction(g, memory, o)
