"""SGD with momentum, Adam and AdamW: what `optimizer.step()` really does.

An optimizer is a loop over parameter groups and a rule for one tensor. All that differs between the three is the rule
and what it remembers of each parameter.

    optimizer = AdamW([{"params": body}, {"params": head, "lr": 1e-3}], lr=1e-4)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch


class Optimizer:
    """Groups, state and the loop; subclasses write `update`, the rule for one parameter.

    `param_groups`: a list of dicts, each with "params" (a list of tensors) and every option. They are read anew at each
    step, so that a scheduler can change them.
    """

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        # solution: begin self.param_groups from tensors or from dicts, self.state
        params = list(params)  # model.parameters() is a generator: it can be walked through only once
        if not params:
            raise ValueError("there are no parameters to optimize")
        groups = params if isinstance(params[0], dict) else [{"params": params}]
        self.param_groups = [{**defaults, **group, "params": list(group["params"])} for group in groups]
        every = [p for group in self.param_groups for p in group["params"]]
        if len(set(every)) < len(every):
            raise ValueError("a parameter appears twice: it would be updated twice in each step")
        # Keyed by the parameter itself. A running number would shift as soon as one gets no gradient.
        self.state: dict[torch.Tensor, dict[str, Any]] = {}
        # solution: end

    def zero_grad(self) -> None:
        """Forgets all gradients: `.grad` is None afterwards."""
        # solution: begin None for each parameter of each group
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None  # rather than zeros: it frees memory, and step() can tell "no gradient" from "0"
        # solution: end

    @torch.no_grad()  # the update is no part of any graph, and leaves may not be changed in place while recording
    def step(self) -> None:
        """Changes every parameter that has a gradient, in place."""
        # solution: begin call update for each parameter with a gradient
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:  # unused in this step: neither moved nor decayed, its state stands still
                    self.update(p, p.grad, self.state.setdefault(p, {}), group)
        # solution: end

    def update(self, p: torch.Tensor, grad: torch.Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Changes `p` in place. `state` is this parameter's own, empty at first; `group` holds the options."""
        raise NotImplementedError


class SGD(Optimizer):
    """Gradient descent with weight decay, momentum and Nesterov's variant."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        # solution: begin refuse nesterov without momentum, then the options as defaults
        if nesterov and momentum <= 0:
            raise ValueError("Nesterov's variant needs a momentum")
        options = {"lr": lr, "momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
        super().__init__(params, options)
        # solution: end

    def update(self, p: torch.Tensor, grad: torch.Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        # solution: begin decay, momentum, Nesterov, then the step
        momentum = group["momentum"]
        grad = grad + group["weight_decay"] * p  # the gradient of wd/2 * |p|^2; a new tensor, p.grad stays as it is
        if momentum:
            # No (1 - momentum) in front of the gradient: the velocity grows to 1 / (1 - momentum) times a constant one.
            # The learning rate isn't part of it either, so that a change of lr acts on the whole velocity at once.
            velocity = momentum * state["velocity"] + grad if "velocity" in state else grad
            state["velocity"] = velocity
            grad = grad + momentum * velocity if group["nesterov"] else velocity
        p -= group["lr"] * grad
        # solution: end


class Adam(Optimizer):
    """Each element's step is scaled by the size that its gradients have had lately. Weight decay as in SGD (L2)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        # solution: begin the options as defaults
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})
        # solution: end

    def update(self, p: torch.Tensor, grad: torch.Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        # solution: begin add the decay to the gradient, then the Adam step
        self.adam_step(p, grad + group["weight_decay"] * p, state, group)
        # solution: end

    def adam_step(self, p: torch.Tensor, grad: torch.Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        """A helper, yours to use or to delete: the step without any weight decay."""
        # solution: begin both moments, their bias corrections, the step
        b1, b2 = group["betas"]
        if not state:
            state.update(t=0, mean=torch.zeros_like(p), square=torch.zeros_like(p))
        state["t"] += 1
        state["mean"] = b1 * state["mean"] + (1 - b1) * grad
        state["square"] = b2 * state["square"] + (1 - b2) * grad * grad
        # Both averages start at 0 and are too small at first: their weights sum to 1 - b^t only. Divided by
        # that, the first step is lr * sign(grad), whatever the scale of the loss.
        mean = state["mean"] / (1 - b1 ** state["t"])
        square = state["square"] / (1 - b2 ** state["t"])
        p -= group["lr"] * mean / (square.sqrt() + group["eps"])
        # solution: end


class AdamW(Adam):
    """Adam with decoupled weight decay: the weights shrink by lr * weight_decay, past the moments."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        # solution: begin as Adam, with another default
        super().__init__(params, lr, betas, eps, weight_decay)
        # solution: end

    def update(self, p: torch.Tensor, grad: torch.Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        # solution: begin shrink p first, then the Adam step
        # In the gradient, the decay would be divided by sqrt(square), too: large gradients would leave hardly any.
        p *= 1 - group["lr"] * group["weight_decay"]
        self.adam_step(p, grad, state, group)
        # solution: end
