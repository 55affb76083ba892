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
        raise NotImplementedError("TODO: self.param_groups from tensors or from dicts, self.state")

    def zero_grad(self) -> None:
        """Forgets all gradients: `.grad` is None afterwards."""
        raise NotImplementedError("TODO: None for each parameter of each group")

    @torch.no_grad()  # the update is no part of any graph, and leaves may not be changed in place while recording
    def step(self) -> None:
        """Changes every parameter that has a gradient, in place."""
        raise NotImplementedError("TODO: call update for each parameter with a gradient")

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
        raise NotImplementedError(
            "TODO: refuse nesterov without momentum, then the options as defaults"
        )

    def update(self, p: torch.Tensor, grad: torch.Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        raise NotImplementedError("TODO: decay, momentum, Nesterov, then the step")


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
        raise NotImplementedError("TODO: the options as defaults")

    def update(self, p: torch.Tensor, grad: torch.Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        raise NotImplementedError("TODO: add the decay to the gradient, then the Adam step")

    def adam_step(self, p: torch.Tensor, grad: torch.Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        """A helper, yours to use or to delete: the step without any weight decay."""
        raise NotImplementedError("TODO: both moments, their bias corrections, the step")


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
        raise NotImplementedError("TODO: as Adam, with another default")

    def update(self, p: torch.Tensor, grad: torch.Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        raise NotImplementedError("TODO: shrink p first, then the Adam step")
