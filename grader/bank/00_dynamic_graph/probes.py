"""Fetches evidence about the dynamic module and the two custom functions. Judges nothing."""

from __future__ import annotations

import torch

from grader.checking import probing

FUNCTIONS = {
    "sin": torch.sin,
    "cube": lambda t: t**3,
    "row product": lambda t: t.prod(dim=-1),
    "mean": lambda t: t.mean(),
}


def input_gradients(candidate, names, inputs):
    found = []
    for name, x in zip(names, inputs, strict=True):
        given = x.clone()
        gradient = candidate.input_gradient(FUNCTIONS[name], given)
        found.append({"gradient": gradient, "x": given, "requires_grad": given.requires_grad, "grad": given.grad})
    return found


def _grow(candidate, growth, limit=None, max_steps=None):
    """A module with this growth; without a limit and max_steps it takes its defaults."""
    options = {} if limit is None else {"limit": limit, "max_steps": max_steps}
    net = candidate.GrowUntil(growth.numel(), **options).to(growth.dtype)
    with torch.no_grad():
        net.growth.copy_(growth)
    return net


def _gradients(y, upstream, inputs):
    """The gradients of (y * upstream).sum(), None where an input has no part in y."""
    if not y.requires_grad:
        return [None for _ in inputs]
    wanted = [t for t in inputs if t.requires_grad]
    got = iter(torch.autograd.grad((y * upstream).sum(), wanted, allow_unused=True))
    return [next(got) if t.requires_grad else None for t in inputs]


def grow_states(candidate, sizes):
    nets = [candidate.GrowUntil(features) for features in sizes]
    return [
        {
            "parameters": probing.parameters(net),
            "trainable": {name: p.requires_grad for name, p in net.named_parameters()},
        }
        for net in nets
    ]


def grow_values(candidate, cases):
    found = []
    for case in cases:
        x = case["x"].clone()
        options = [] if case.get("defaults") else [case["limit"], case["max_steps"]]
        y = _grow(candidate, case["growth"], *options)(x)
        found.append({"y": y, "x": x})
    return found


def grow_gradients(candidate, case, upstream, nudged):
    """The gradients, and the values at the nudged inputs: (x, growth) pairs."""
    limit, max_steps = case["limit"], case["max_steps"]
    net = _grow(candidate, case["growth"], limit, max_steps)
    x = case["x"].clone().requires_grad_(True)
    grad_x, grad_growth = _gradients(net(x), upstream, [x, net.growth])
    values = [_grow(candidate, growth, limit, max_steps)(at.clone()) for at, growth in nudged]
    return {"x": grad_x, "growth": grad_growth, "values": values}


def grow_calls(candidate, growth, limit, max_steps, orders):
    """For each order of (x, upstream) pairs a module: all forward passes first, then the gradients, last call first."""
    return [probing.outcome(_calls, _grow(candidate, growth, limit, max_steps), order) for order in orders]


def _calls(net, order):
    xs = [x.clone().requires_grad_(True) for x, _ in order]
    ys = [net(x) for x in xs]
    found = []
    for x, y, (_, upstream) in reversed(list(zip(xs, ys, order, strict=True))):
        grad_x, grad_growth = _gradients(y, upstream, [x, net.growth])
        found.append({"y": y, "x_grad": grad_x, "growth_grad": grad_growth})
    return found[::-1]


def swish_values(candidate, cases):
    found = []
    for x, beta in cases:
        given, slope = x.clone(), beta.clone()
        y = candidate.Swish.apply(given, slope)
        found.append({"y": y, "x": given, "beta": slope})
    is_function = isinstance(candidate.Swish, type) and issubclass(candidate.Swish, torch.autograd.Function)
    return {"is_function": is_function, "values": found}


def swish_gradients(candidate, cases):
    """For each case the gradients, and the values at the nudged (x, beta) pairs."""
    found = []
    for case in cases:
        x, beta = case["x"].clone().requires_grad_(True), case["beta"].clone().requires_grad_(True)
        y = candidate.Swish.apply(x, beta)
        gradients = probing.outcome(_gradients, y, case["upstream"], [x, beta])
        values = [candidate.Swish.apply(at, slope) for at, slope in case["nudged"]]
        found.append({"gradients": gradients, "values": values})
    return found


def swish_needed(candidate, x, beta, upstream):
    """What backward itself returns when only one of the inputs requires a gradient, or both do."""
    found = {}
    for name, wanted in {"x": (True, False), "beta": (False, True), "both": (True, True)}.items():
        ins = [t.clone().requires_grad_(need) for t, need in zip((x, beta), wanted, strict=True)]
        y = candidate.Swish.apply(*ins)
        returned = y.grad_fn.apply(upstream)
        found[name] = list(returned) if isinstance(returned, (tuple, list)) else [returned]
    return found


def swish_saved(candidate, first, second, beta, upstream):
    """Two forward passes before the first backward; then each input changed in place before backward."""
    xs = [t.clone().requires_grad_(True) for t in (first, second)]
    slope = beta.clone().requires_grad_(True)
    ys = [candidate.Swish.apply(x, slope) for x in xs]
    interleaved = [_gradients(y, upstream, [x, slope]) for x, y in zip(xs, ys, strict=True)]
    changed = {}
    for which in ("x", "beta"):
        leaves = [first.clone().requires_grad_(True), beta.clone().requires_grad_(True)]
        live = {"x": leaves[0] * 1, "beta": leaves[1] * 1}  # a leaf can't be changed in place, these can
        y = candidate.Swish.apply(live["x"], live["beta"])
        with torch.no_grad():
            live[which].add_(1.0)
        changed[which] = probing.outcome(_gradients, y, upstream, leaves)
    return {"interleaved": interleaved, "changed": changed}


def swish_second(candidate, x, beta, upstream, weight_x, weight_beta):
    """Gradients of a weighted sum of the first gradients, with respect to x, beta and the incoming gradient."""
    ins = [t.clone().requires_grad_(True) for t in (x, beta, upstream)]
    y = candidate.Swish.apply(ins[0], ins[1])
    # The sum, not grad_outputs: torch imports a computer algebra system to look at those (0.3 s).
    grad_x, grad_beta = torch.autograd.grad((y * ins[2]).sum(), ins[:2], create_graph=True)
    total = (grad_x * weight_x).sum() + grad_beta * weight_beta
    if not total.requires_grad:
        return {"connected": False}
    return {
        "connected": True,
        "second": probing.outcome(torch.autograd.grad, total, ins, allow_unused=True),
    }


def quantize_values(candidate, cases):
    found = []
    for x, levels in cases:
        given = x.clone()
        found.append({"y": candidate.Quantize.apply(given, levels), "x": given})
    return found


def quantize_gradients(candidate, cases):
    found = []
    for x, levels, upstream in cases:
        leaf = x.clone().requires_grad_(True)
        y = candidate.Quantize.apply(leaf, levels)
        found.append(probing.outcome(_gradients, y, upstream, [leaf]))
    return found
