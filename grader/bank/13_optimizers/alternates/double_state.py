"""No base class: groups from a function, state in float64 in plain dictionaries, `.data.copy_` at the end."""

import torch


def _groups(params, **defaults):
    given = list(params)
    if not given:
        raise ValueError("nothing to optimize")
    if isinstance(given[0], torch.Tensor):
        given = [{"params": given}]
    groups = [{**defaults, **g} for g in given]
    for g in groups:
        g["params"] = list(g["params"])
    ids = [id(p) for g in groups for p in g["params"]]
    if len(ids) != len(set(ids)):
        raise ValueError("some tensor is listed twice")
    return groups


def _clear(self):
    for g in self.param_groups:
        for p in g["params"]:
            p.grad = None


def _used(groups):
    for g in groups:
        for p in g["params"]:
            if p.grad is not None:
                yield g, p, p.detach().double(), p.grad.detach().double()


class SGD:
    zero_grad = _clear

    def __init__(self, params, lr, momentum=0.0, nesterov=False, weight_decay=0.0):
        if nesterov and momentum == 0:
            raise ValueError("nesterov without momentum")
        self.param_groups = _groups(params, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)
        self.velocities = {}

    def step(self):
        for o, p, q, g in _used(self.param_groups):
            g = g + o["weight_decay"] * q
            v = self.velocities[id(p)] = self.velocities.get(id(p), torch.zeros_like(g)) * o["momentum"] + g
            p.data.copy_(q - o["lr"] * (g + o["momentum"] * v if o["nesterov"] else v))


class Adam:
    zero_grad = _clear
    decoupled = False

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        self.param_groups = _groups(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
        self.moments = {}

    def step(self):
        for o, p, q, g in _used(self.param_groups):
            if self.decoupled:
                q = q - o["lr"] * o["weight_decay"] * q
            else:
                g = g + o["weight_decay"] * q
            m, s, t = self.moments.get(id(p), (0.0, 0.0, 0))
            b1, b2 = o["betas"]
            m, s, t = b1 * m + (1 - b1) * g, b2 * s + (1 - b2) * g * g, t + 1
            self.moments[id(p)] = m, s, t
            p.data.copy_(q - o["lr"] * (m / (1 - b1**t)) / ((s / (1 - b2**t)) ** 0.5 + o["eps"]))


class AdamW(Adam):
    decoupled = True

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
        super().__init__(params, lr, betas, eps, weight_decay)
