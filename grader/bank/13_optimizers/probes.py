"""Runs the candidate's optimizers on given gradients and fetches the parameters. Judges nothing."""

from __future__ import annotations

import contextlib
import importlib

import torch
from torch.overrides import TorchFunctionMode

from grader.checking import probing


def _call(case):
    """How the optimizer of the case is made, in words."""
    count = len(case["params"])
    what = f"a list of {count} tensors" if not case.get("groups") else f"a list of {len(case['groups'])} dicts"
    return f"{case['kind']}({', '.join([what, *(f'{k}={v}' for k, v in case['options'].items())])})"


def _made(candidate, case):
    """The parameters, and an optimizer over them: over tensors, or over groups when the case has some."""
    params = [p.clone().requires_grad_(i not in case.get("frozen", ())) for i, p in enumerate(case["params"])]
    given = params
    if case.get("groups"):
        given = [{**{k: v for k, v in g.items() if k != "members"}} for g in case["groups"]]
        for group, source in zip(given, case["groups"], strict=True):
            group["params"] = [params[i] for i in source["members"]]
    with probing.called_as(_call(case)):
        return params, getattr(candidate, case["kind"])(given, **case["options"])


def _with_grads(params, grads):
    for p, g in zip(params, grads, strict=True):
        p.grad = None if g is None else g.clone()


def trajectories(candidate, cases):
    """For each case the parameters after every step. `changes`: options set in groups before a step."""
    found = []
    for case in cases:
        params, optimizer = _made(candidate, case)
        moments = []
        for at, grads in enumerate(case["grads"]):
            for index, options in case.get("changes", {}).get(at, {}).items():
                optimizer.param_groups[index].update(options)
            _with_grads(params, grads)
            missing = [i for i, g in enumerate(grads) if g is None]
            without = f", without a gradient for {missing}" if missing else ""
            with probing.called_as(f"{_call(case)}.step(), step {at + 1}{without}"):
                optimizer.step()
            moments.append([p.detach().clone() for p in params])
        found.append(moments)
    return found


def groups(candidate, cases):
    """The param_groups, tensors replaced by their positions among the given ones (-1: another tensor)."""
    found = []
    for case in cases:
        params, optimizer = _made(candidate, case)
        found.append(_described(optimizer, params))
    params = [torch.zeros(2, requires_grad=True), torch.zeros(3, requires_grad=True)]
    with probing.called_as("SGD(a generator of 2 tensors, lr=0.5)"):
        optimizer = candidate.SGD((p for p in params), lr=0.5)  # as model.parameters() is
    found.append(_described(optimizer, params))
    return found


def _described(optimizer, params):
    listed = []
    for group in optimizer.param_groups:
        options = {k: v for k, v in group.items() if k != "params"}
        places = [next((i for i, p in enumerate(params) if p is q), -1) for q in group["params"]]
        listed.append({"places": places, "params": type(group["params"]).__name__, "options": options})
    return listed


@contextlib.contextmanager
def _spied(names):
    """Notes optimizers of PyTorch's that are created, and calls of their functional forms."""
    base, original = torch.optim.Optimizer, torch.optim.Optimizer.__init__

    def created(self, *args, **kwargs):
        for kind in type(self).__mro__:
            if kind.__module__.startswith("torch.optim") and kind is not base:
                names.append(f"torch.optim.{kind.__name__}")
        original(self, *args, **kwargs)

    base.__init__ = created
    replaced = []
    for module in ("sgd", "adam", "adamw"):
        holder = importlib.import_module(f"torch.optim.{module}")
        for name in (module, f"_single_tensor_{module}", f"_multi_tensor_{module}"):
            if hasattr(holder, name):
                replaced.append((holder, name, getattr(holder, name)))
                setattr(holder, name, _noting(getattr(holder, name), f"torch.optim.{module}.{name}", names))
    try:
        yield
    finally:
        base.__init__ = original
        for holder, name, function in replaced:
            setattr(holder, name, function)


def _noting(function, name, names):
    def call(*args, **kwargs):
        names.append(name)
        return function(*args, **kwargs)

    return call


class _Fused(TorchFunctionMode):
    def __init__(self, names):
        super().__init__()
        self.names = names

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = str(getattr(func, "__name__", func))
        if name.startswith("_fused_"):
            self.names.append(f"torch.{name}")
        return func(*args, **(kwargs or {}))


def optimizers_used(candidate, cases):
    """Which of PyTorch's optimizers were created or called. Whether a step works is another check's business."""
    names = []
    for number, case in enumerate(cases):
        try:
            with _spied(names), _Fused(names):
                params, optimizer = _made(candidate, case)
                for grads in case["grads"]:
                    _with_grads(params, grads)
                    optimizer.step()
            kinds = type(optimizer).__mro__
        except Exception as error:
            if number == 0 and isinstance(error, NotImplementedError):
                raise  # nothing is written yet
            kinds = getattr(candidate, case["kind"]).__mro__
        own = [k for k in kinds if k.__module__.startswith("torch.optim") and k is not torch.optim.Optimizer]
        names += [f"torch.optim.{k.__name__}" for k in own]
    return sorted(set(names))


def zeroed(candidate, cases):
    """The gradients after zero_grad, with one parameter that has none; and those of a tensor outside."""
    found = []
    for case in cases:
        params, optimizer = _made(candidate, case)
        outsider = torch.zeros(2, requires_grad=True)
        outsider.grad = torch.ones(2)
        _with_grads(params, case["grads"][0])
        before = [p.detach().clone() for p in params]
        with probing.called_as(f"{_call(case)}.zero_grad()"):
            optimizer.zero_grad()
        moved = any(not torch.equal(a, p.detach()) for a, p in zip(before, params, strict=True))
        found.append({"grads": [p.grad for p in params], "outsider": outsider.grad, "moved": moved})
    return found


def side_effects(candidate, cases):
    """Steps with gradients that are overwritten in place, as `zero_grad(set_to_none=False)` makes them.

    Two optimizers of the same class run side by side.
    """
    found = []
    for case in cases:
        params, optimizer = _made(candidate, case)
        others, neighbour = _made(candidate, case)
        for p in params:
            p.grad = torch.zeros_like(p)
        storages = [p.data_ptr() for p in params]
        moments, changed = [], {}
        for at, grads in enumerate(case["grads"]):
            for p, g in zip(params, grads, strict=True):
                if p.grad is None:
                    p.grad = torch.zeros_like(p)
                p.grad.copy_(g)
            with probing.called_as(f"{_call(case)}.step(), step {at + 1}"):
                optimizer.step()
            if at == 0:
                _with_grads(others, [-3 * g for g in grads])
                neighbour.step()
            now = [None if p.grad is None else p.grad.detach().clone() for p in params]
            for i, (one, g) in enumerate(zip(now, grads, strict=True)):
                if not changed and (one is None or not torch.equal(one, g)):
                    changed = {"step": at, "parameter": i, "now": one}
            moments.append([p.detach().clone() for p in params])
        found.append(
            {
                "moments": moments,
                "changed": changed,
                "moved": [i for i, p in enumerate(params) if p.data_ptr() != storages[i]],
                "leaves": all(p.is_leaf and p.requires_grad and p.grad_fn is None for p in params),
                "listed": [q is p for q, p in zip(optimizer.param_groups[0]["params"], params, strict=True)],
                "graph in grads": any(p.grad is not None and p.grad.requires_grad for p in params),
            }
        )
    return found


def refused(candidate, cases):
    """What comes of it: the names and messages of the exceptions, nothing for none."""
    found = []
    for case in cases:
        kind, tensor = getattr(candidate, case["kind"]), torch.zeros(2, requires_grad=True)
        other = torch.ones(3, requires_grad=True)
        given = {
            "none": [],
            "one": [tensor],
            "twice": [tensor, other, tensor],
            "twice in groups": [{"params": [tensor]}, {"params": [other, tensor]}],
            "equal": [tensor, torch.zeros(2, requires_grad=True)],
        }[case["given"]]
        outcome = probing.outcome(lambda k=kind, g=given, c=case: bool(k(g, **c["options"])) or True)
        found.append({name: outcome[name] for name in ("raised", "message") if name in outcome})
    return found
