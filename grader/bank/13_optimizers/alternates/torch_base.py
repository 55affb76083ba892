"""Groups and state from torch.optim.Optimizer; the rules are written here."""

import torch
from torch.optim import Optimizer


def _once(params):
    params = list(params)
    tensors = [p for g in params for p in g["params"]] if params and isinstance(params[0], dict) else params
    if len({id(p) for p in tensors}) != len(tensors):
        raise ValueError("duplicate parameters")
    return params


class SGD(Optimizer):
    def __init__(self, params, lr, momentum=0.0, nesterov=False, weight_decay=0.0):
        if nesterov and not momentum:
            raise ValueError("Nesterov momentum requires a momentum")
        defaults = {"lr": lr, "momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
        super().__init__(_once(params), defaults)

    def step(self, closure=None):
        with torch.no_grad():
            for group in self.param_groups:
                mu = group["momentum"]
                for p in group["params"]:
                    if p.grad is None:
                        continue
                    g = p.grad + group["weight_decay"] * p
                    if mu:
                        v = self.state[p].get("v")
                        v = g.clone() if v is None else mu * v + g
                        self.state[p]["v"] = v
                        g = g + mu * v if group["nesterov"] else v
                    p.sub_(group["lr"] * g)


class Adam(Optimizer):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        super().__init__(_once(params), {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def decayed(self, p, group):
        return p.grad + group["weight_decay"] * p

    def step(self, closure=None):
        with torch.no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    if p.grad is not None:
                        self.move(p, self.decayed(p, group), group)

    def move(self, p, g, group):
        s = self.state[p]
        b1, b2 = group["betas"]
        s["t"] = t = s.get("t", 0) + 1
        s["m"] = b1 * s.get("m", 0) + (1 - b1) * g
        s["v"] = b2 * s.get("v", 0) + (1 - b2) * g**2
        m_hat = s["m"] / (1 - b1**t)
        v_hat = s["v"] / (1 - b2**t)
        p.sub_(group["lr"] * m_hat / (v_hat**0.5 + group["eps"]))


class AdamW(Adam):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def decayed(self, p, group):
        p.sub_(group["lr"] * group["weight_decay"] * p)
        return p.grad
