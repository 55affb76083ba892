"""One Adam with a flag for the kind of decay; the weighted sums kept unnormalised; SGD apart."""

import torch


def _prepare(params, defaults):
    params = [*params]
    if not params:
        raise ValueError("empty")
    groups = params if type(params[0]) is dict else [{"params": params}]
    out, known = [], []
    for group in groups:
        members = list(group["params"])
        for p in members:
            if any(p is q for q in known):
                raise ValueError("twice")
            known.append(p)
        new = defaults.copy()
        for key, value in group.items():
            new[key] = value
        new["params"] = members
        out.append(new)
    return out


def _zero(groups):
    for group in groups:
        for p in group["params"]:
            p.grad = None


class SGD:
    def __init__(self, params, lr, momentum=0.0, nesterov=False, weight_decay=0.0):
        if nesterov and not momentum > 0:
            raise ValueError("nesterov without momentum")
        self.param_groups = _prepare(
            params, {"lr": lr, "momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
        )
        self.velocity = {}

    def zero_grad(self):
        _zero(self.param_groups)

    @torch.no_grad()
    def step(self):
        for o in self.param_groups:
            for p in filter(lambda q: q.grad is not None, o["params"]):
                g = torch.add(p.grad, p, alpha=o["weight_decay"])
                self.velocity[p] = o["momentum"] * self.velocity.get(p, torch.zeros_like(p)) + g
                step = g + o["momentum"] * self.velocity[p] if o["nesterov"] else self.velocity[p]
                p -= o["lr"] * step


class Adam:
    decoupled = False

    def __init__(self, params, lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.0):
        self.param_groups = _prepare(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})
        self.m, self.s, self.t = {}, {}, {}

    def zero_grad(self):
        _zero(self.param_groups)

    @torch.no_grad()
    def step(self):
        for o in self.param_groups:
            for p in o["params"]:
                if p.grad is None:
                    continue
                g = p.grad if self.decoupled else p.grad + o["weight_decay"] * p
                if self.decoupled:
                    p -= o["lr"] * o["weight_decay"] * p
                b1, b2 = o["betas"]
                self.t[p] = self.t.get(p, 0) + 1
                self.m[p] = b1 * self.m[p] + (1 - b1) * g if p in self.m else (1 - b1) * g
                self.s[p] = b2 * self.s[p] + (1 - b2) * g * g if p in self.s else (1 - b2) * g * g
                root = (self.s[p] / (1 - b2 ** self.t[p])).sqrt() + o["eps"]
                p -= o["lr"] / (1 - b1 ** self.t[p]) * self.m[p] / root


class AdamW(Adam):
    decoupled = True

    def __init__(self, params, lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.01):
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
