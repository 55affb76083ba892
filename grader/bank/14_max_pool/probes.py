"""Fetches outputs and gradients of the candidate's pooling, and what it called on the way. Judges nothing."""

from __future__ import annotations

import contextlib

import torch

from grader.checking import probing


def _call(candidate, case, x=None):
    x = case["x"] if x is None else x
    return probing.call(candidate.max_pool2d, x, *case["arguments"], **case["options"])


def _backward(case):
    """An exception that passes gets a note with the input, which the verdict shows."""
    given = [str(tuple(case["x"].shape)), *map(str, case["arguments"])]
    given += [f"{name}={value}" for name, value in case["options"].items()]
    return probing.called_as(f"max_pool2d({', '.join(given)}) and then differentiated")


def outputs(candidate, cases):
    return [_call(candidate, case) for case in cases]


def refused(candidate, cases):
    return ["raised" in probing.outcome(_call, candidate, case) for case in cases]


def layouts(candidate, cases):
    """Outputs and gradients for inputs that aren't contiguous; the input afterwards."""
    found = []
    for case in cases:
        leaf = case["x"].clone().requires_grad_(True)
        x = leaf.permute(2, 3, 0, 1).contiguous().permute(2, 3, 0, 1)
        before = x.detach().clone()
        output = _call(candidate, case, x)
        row = {"output": output, "changed": not torch.equal(before, x.detach())}
        if isinstance(output, torch.Tensor) and output.requires_grad:
            with _backward(case):
                output.sum().backward()  # the upstream gradient is an expanded 1
            row["gradient"] = leaf.grad
        found.append(row)
    return found


def gradients(candidate, cases):
    """The gradient of (output * upstream).sum()."""
    found = []
    for case in cases:
        x = case["x"].clone().requires_grad_(True)
        output = _call(candidate, case, x)
        row = {"output": output}
        if output.requires_grad and output.shape == case["upstream"].shape:
            with _backward(case):
                (row["gradient"],) = torch.autograd.grad(output, x, case["upstream"], allow_unused=True)
        found.append(row)
    return found


def interleaved(candidate, cases):
    """Several forward passes first, then their backward passes, in the same order; the first one twice."""
    leaves = [case["x"].clone().requires_grad_(True) for case in cases]
    made = [_call(candidate, case, x) for case, x in zip(cases, leaves, strict=True)]
    with torch.no_grad():
        _call(candidate, cases[-1], cases[-1]["x"] * -1)  # an evaluation in between
    found = []
    for case, x, output in zip(cases, leaves, made, strict=True):
        with _backward(case):
            (gradient,) = torch.autograd.grad(output, x, case["upstream"], retain_graph=True)
        found.append(gradient)
    (again,) = torch.autograd.grad(made[0], leaves[0], cases[0]["upstream"])
    return {"gradients": found, "again": again}


def second_derivatives(candidate, cases):
    """d/d upstream of (gradient * direction).sum(): what gradgradcheck looks at."""
    found = []
    for case in cases:
        x = case["x"].clone().requires_grad_(True)
        upstream = case["upstream"].clone().requires_grad_(True)
        output = _call(candidate, case, x)
        with _backward(case):
            (gradient,) = torch.autograd.grad(output, x, upstream, create_graph=True)
        row = {"connected": gradient.requires_grad}
        if gradient.requires_grad:
            outcome = probing.outcome(torch.autograd.grad, gradient, upstream, case["direction"], allow_unused=True)
            row["raised"] = outcome.get("message")
            row["second"] = outcome.get("value", (None,))[0]
        found.append(row)
    return found


def _nodes(tensor):
    """The nodes in the graph behind a tensor: names of PyTorch's own, and of Functions written in Python."""
    todo, seen = [tensor.grad_fn], set()
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            seen.add(node)
            todo.extend(before for before, _ in node.next_functions)
    python = [node for node in seen if isinstance(node, torch.autograd.function.BackwardCFunction)]
    own = [node.name() for node in seen if node not in python and "AccumulateGrad" not in node.name()]
    return own, [type(node).__name__ for node in python]


def _is_pooling(name):
    return "pool" in name.lower()


def pooling_called(candidate, cases):
    """Names of PyTorch's own poolings that ran: calls seen, and nodes in the graph.

    What is called counts, also by a call that then fails: whether it works is another check's business.
    """
    names = []
    for case in cases:
        for x in (case["x"], case["x"].clone().requires_grad_(True)):
            with probing.Calls() as calls:
                try:
                    output = _call(candidate, case, x)
                except NotImplementedError:
                    raise
                except Exception:
                    output = None
            own, _ = _nodes(output) if isinstance(output, torch.Tensor) else ([], [])
            names += [name for name in calls.names + own if _is_pooling(name)]
    return sorted(set(names))


@contextlib.contextmanager
def _engine_runs():
    """Counts the runs of autograd's engine; `torch.autograd.grad` and every `backward` go through here."""
    runs = []
    original = torch.autograd._engine_run_backward

    def counted(*args, **kwargs):
        runs.append(1)
        return original(*args, **kwargs)

    torch.autograd._engine_run_backward = counted
    try:
        yield runs
    finally:
        torch.autograd._engine_run_backward = original


def graph(candidate, case):
    """The nodes behind an output, whether `MaxPool2d` is a Function, and how often its backward starts autograd."""
    x = case["x"].clone().requires_grad_(True)
    with _engine_runs() as forward:
        output = _call(candidate, case, x)
    own, python = _nodes(output) if isinstance(output, torch.Tensor) else ([], [])
    with _engine_runs() as backward, contextlib.suppress(Exception):  # whether it works is another check's business
        output.sum().backward()
    kind = getattr(candidate, "MaxPool2d", None)
    is_function = isinstance(kind, type) and issubclass(kind, torch.autograd.Function)
    return {
        "own": sorted(own),
        "python": sorted(python),
        "is a Function": is_function,
        "runs": len(forward) + len(backward),
    }


def cost(candidate, cases):
    """For each case, forward and backward: calls into torch and lines of Python run."""

    def both(case):
        x = case["x"].clone().requires_grad_(True)
        _call(candidate, case, x).sum().backward()

    both(cases[0])  # whatever happens only once, happens here
    found = []
    for case in cases:
        found.append(probing.cost(lambda case=case: both(case)))
    return found
