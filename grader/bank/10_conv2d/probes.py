"""Fetches outputs and gradients of the candidate's convolution, and what it called on the way. Judges nothing."""

from __future__ import annotations

import torch

from grader.checking import probing


def output_sizes(candidate, cases):
    return [probing.call(candidate.output_size, *case) for case in cases]


def _call(candidate, case):
    bias = () if case["bias"] is None else (case["bias"],)
    return probing.call(candidate.conv2d, case["x"], case["weight"], *bias, **case["options"])


def outputs(candidate, cases):
    return [_call(candidate, case) for case in cases]


def outcomes(candidate, cases):
    return [probing.outcome(_call, candidate, case) for case in cases]


def views_and_inputs(candidate, cases):
    """Outputs for strided views of the inputs, and the inputs afterwards."""
    found = []
    for case in cases:
        x = case["x"].permute(2, 3, 0, 1).contiguous().permute(2, 3, 0, 1)
        weight = case["weight"].permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)
        bias = torch.stack([case["bias"], case["bias"]], dim=1)[:, 0]
        output = probing.call(candidate.conv2d, x, weight, bias, **case["options"])
        found.append({"output": output, "x": x, "weight": weight, "bias": bias})
    return found


def gradients(candidate, cases):
    """The gradients of (output * upstream).sum(), None for what isn't connected."""
    found = []
    for case in cases:
        leaves = {name: case[name].clone().requires_grad_(True) for name in ("x", "weight", "bias")}
        output = probing.call(candidate.conv2d, *leaves.values(), **case["options"])
        row = {"output": output, "connected": output.requires_grad}
        if output.requires_grad and output.shape == case["upstream"].shape:
            wanted = torch.autograd.grad(output, list(leaves.values()), case["upstream"], allow_unused=True)
            row.update(zip(leaves, wanted, strict=True))
        found.append(row)
    return found


def _nodes(tensor):
    """The names of PyTorch's own nodes in the graph behind a tensor; a Function of the learner's may have any name."""
    todo, seen = [tensor.grad_fn], set()
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            seen.add(node)
            todo.extend(before for before, _ in node.next_functions)
    return [node.name() for node in seen if not isinstance(node, torch.autograd.function.BackwardCFunction)]


def _is_convolution(name):
    return "conv" in name.lower() and "conver" not in name.lower()


def convolutions_called(candidate, cases):
    """Names of PyTorch's own convolutions that ran: calls seen, and nodes in the graph.

    What is called counts, also by a call that then fails: whether it works is another check's business.
    """
    names = []
    for case in cases:
        for x in (case["x"], case["x"].clone().requires_grad_(True)):
            with probing.Calls() as calls:
                try:
                    output = _call(candidate, {**case, "x": x})
                except NotImplementedError:
                    raise
                except Exception:
                    output = None
            nodes = _nodes(output) if isinstance(output, torch.Tensor) else []
            names += [name for name in calls.names + nodes if _is_convolution(name)]
    return sorted(set(names))


def cost(candidate, cases):
    """For each case: calls into torch, lines of Python run, elements of the largest result."""
    _call(candidate, cases[0])  # whatever happens only once, happens here
    found = []
    for case in cases:
        found.append(probing.cost(lambda case=case: _call(candidate, case)))
    return found
