"""In-place arithmetic on buffers, as in PyTorch's single-tensor code; no common base class but a mixin."""

import math

import torch


class _Groups:
    def _init_groups(self, params, **defaults):
        params = list(params)
        if len(params) == 0:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(params[0], dict):
            params = [{"params": params}]
        self.param_groups = []
        seen = set()
        for given in params:
            group = dict(defaults)
            group.update(given)
            group["params"] = list(group["params"])
            for p in group["params"]:
                if id(p) in seen:
                    raise ValueError("some parameters appear more than once")
                seen.add(id(p))
            self.param_groups.append(group)
        self.state = {}

    def zero_grad(self):
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None

    def _active(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                yield group, p, self.state.setdefault(id(p), {})


class SGD(_Groups):
    def __init__(self, params, lr, momentum=0.0, nesterov=False, weight_decay=0.0):
        if nesterov and momentum == 0:
            raise ValueError("nesterov requires a momentum")
        self._init_groups(params, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)

    @torch.no_grad()
    def step(self):
        for group, p, state in self._active():
            d_p = p.grad
            if group["weight_decay"] != 0:
                d_p = d_p.add(p, alpha=group["weight_decay"])
            mu = group["momentum"]
            if mu != 0:
                if "buf" not in state:
                    state["buf"] = d_p.detach().clone()
                else:
                    state["buf"].mul_(mu).add_(d_p)
                d_p = d_p.add(state["buf"], alpha=mu) if group["nesterov"] else state["buf"]
            p.add_(d_p, alpha=-group["lr"])


class _AdamBase(_Groups):
    decoupled = False

    @torch.no_grad()
    def step(self):
        for group, p, state in self._active():
            beta1, beta2 = group["betas"]
            grad, lr, wd = p.grad, group["lr"], group["weight_decay"]
            if not state:
                state["step"] = 0
                state["exp_avg"] = torch.zeros_like(p)
                state["exp_avg_sq"] = torch.zeros_like(p)
            state["step"] += 1
            if self.decoupled:
                p.mul_(1 - lr * wd)
            elif wd != 0:
                grad = grad.add(p, alpha=wd)
            state["exp_avg"].lerp_(grad, 1 - beta1)
            state["exp_avg_sq"].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
            bias1 = 1 - beta1 ** state["step"]
            bias2_sqrt = math.sqrt(1 - beta2 ** state["step"])
            denom = (state["exp_avg_sq"].sqrt() / bias2_sqrt).add_(group["eps"])
            p.addcdiv_(state["exp_avg"], denom, value=-lr / bias1)


class Adam(_AdamBase):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        self._init_groups(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)


class AdamW(_AdamBase):
    decoupled = True

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
        self._init_groups(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
