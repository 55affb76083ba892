"""Fetches outputs, gradients and state of the candidate's layer. Judges nothing."""

from __future__ import annotations

import copy

import torch
from torch import nn

from grader.checking import probing


def _layer(candidate, case):
    """A layer of the case's options, with its weight and bias put in."""
    layer = candidate.BatchNorm2d(case["features"], **case["options"])
    if case.get("weight") is not None:
        with torch.no_grad():
            layer.weight.copy_(case["weight"])
            layer.bias.copy_(case["bias"])
    return layer.double() if case.get("double") else layer


def _applied(layer, x, options):
    """layer(x); an exception that passes gets a note with the input, which the verdict shows."""
    given = ", ".join(f"{name}={value}" for name, value in options.items()) or "its defaults"
    mode = "training" if layer.training else "evaluation"
    kind = f"{str(x.dtype).removeprefix('torch.')} {tuple(x.shape)}"
    with probing.called_as(f"norm({kind}) in {mode}, norm being a BatchNorm2d with {given}"):
        return layer(x)


def states(candidate, cases):
    found = []
    for features, options in cases:
        layer = probing.call(candidate.BatchNorm2d, features, **options)
        named = {
            "parameters": probing.parameters(layer),
            "buffers": probing.buffers(layer),
            "saved": sorted(layer.state_dict()),
            "trained": [name for name, p in layer.named_parameters() if p.requires_grad],
        }
        for name in ("weight", "bias"):
            named[f"{name} is None"] = getattr(layer, name, 0) is None
        found.append(named)
    return found


def training_outputs(candidate, cases):
    """The output in training mode, half of them without recording, and the input afterwards."""
    found = []
    for i, case in enumerate(cases):
        layer = _layer(candidate, case)
        x = case["x"].clone()
        with torch.set_grad_enabled(i % 2 == 0):
            output = _applied(layer, x, case["options"])
        found.append({"output": output, "x": x})
    return found


NORMS = ("batch_norm", "instance_norm", "group_norm", "layer_norm", "rms_norm", "local_response_norm")


def _nodes(tensor):
    """The names of PyTorch's own nodes in the graph behind a tensor; a Function of the learner's may have any name."""
    todo, seen = [tensor.grad_fn], set()
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            seen.add(node)
            todo.extend(before for before, _ in node.next_functions)
    return [node.name() for node in seen if not isinstance(node, torch.autograd.function.BackwardCFunction)]


def norms_called(candidate, x):
    """Names of PyTorch's own normalisations that ran, or that the class derives from.

    What is called counts, also by a call that then fails: whether it works is another check's business.
    """
    layer = candidate.BatchNorm2d(x.shape[1])
    names = []
    for training in (True, False):
        with probing.Calls() as calls:
            try:
                output = layer.train(training)(x.clone().requires_grad_(True))
            except NotImplementedError:
                raise
            except Exception:
                output = None
        names += [name for name in calls.names if any(norm in name for norm in NORMS)]
        if isinstance(output, torch.Tensor):
            spelt = [norm.replace("_", "") for norm in NORMS]
            names += [name for name in _nodes(output) if any(norm in name.lower() for norm in spelt)]
    bases = [c.__name__ for c in type(layer).__mro__ if c.__module__.startswith("torch.nn.modules.")]
    return sorted(set(names)), sorted(set(bases) - {"Module"})


def running(candidate, features, cases):
    """The buffers after each batch of training, for layers of several momentums."""
    found = []
    for options, batches in cases:
        layer = candidate.BatchNorm2d(features, **options)
        moments = []
        for x in batches:
            _applied(layer, x.clone(), options)
            moments.append(probing.buffers(layer))
        found.append(moments)
    return found


def evaluated(candidate, cases):
    """A layer with given state in evaluation mode: whole batch, one by one, one pixel; the state afterwards."""
    found = []
    for case in cases:
        layer = candidate.BatchNorm2d(case["features"], **case["options"])
        layer.load_state_dict(case["state"])
        layer.eval()
        x, options = case["x"], case["options"]
        row = {"batch": _applied(layer, x.clone(), options)}
        row["alone"] = [_applied(layer, x[i : i + 1].clone(), options) for i in range(len(x))]
        given, quiet = x.clone(), x.clone()
        _applied(layer, given, options)
        with torch.no_grad():
            row["pixel"] = _applied(layer, x[:1, :, :1, :1].clone(), options)
            _applied(layer, quiet, options)
        row["x"], row["x without recording"] = given, quiet
        row["afterwards"] = probing.buffers(layer)
        found.append(row)
    return found


def gradients(candidate, cases):
    """Output and gradients of (output * upstream).sum() with respect to x, weight and bias, in both modes."""
    found = []
    for case in cases:
        layer = _layer(candidate, case)
        if not case["training"]:
            with torch.no_grad():
                layer.running_mean.copy_(case["mean"])
                layer.running_var.copy_(case["var"])
            layer.eval()
        x = case["x"].clone().requires_grad_(True)
        output = _applied(layer, x, case["options"])
        row = {"output": output}
        if output.requires_grad and output.shape == x.shape:
            leaves = {"x": x, "weight": layer.weight, "bias": layer.bias}
            wanted = torch.autograd.grad(output, list(leaves.values()), case["upstream"], allow_unused=True)
            row.update(zip(leaves, wanted, strict=True))
        found.append(row)
    return found


def three_steps(candidate, batches):
    """Trains on batches whose input needs gradients; what hangs on the buffers after each step."""
    layer = candidate.BatchNorm2d(batches[0].shape[1])
    found = []
    for x in batches:
        output = _applied(layer, x.clone().requires_grad_(True), {})
        held = [name for name, b in layer.named_buffers() if b.requires_grad or b.grad_fn is not None]
        error = probing.outcome(lambda output=output: output.square().sum().backward())
        found.append({"in the graph": held, "raised": error.get("raised"), "message": error.get("message")})
    copied = probing.outcome(lambda: copy.deepcopy(layer) and True)
    return {"steps": found, "copy raised": copied.get("raised")}


def saved_and_continued(candidate, options, before, after):
    """Trains, saves, loads into a new layer of float64, goes on; beside it PyTorch's layer, with the same state."""
    layer = candidate.BatchNorm2d(before[0].shape[1], **options)
    for x in before:
        _applied(layer, x.clone(), options)
    saved = {name: value.clone() for name, value in layer.state_dict().items()}
    second = candidate.BatchNorm2d(before[0].shape[1], **options)
    second.load_state_dict(saved)
    second.double()
    outputs = [_applied(second, x.double(), options) for x in after]
    found = {"saved": saved, "outputs": outputs, "afterwards": probing.buffers(second)}
    theirs = nn.BatchNorm2d(before[0].shape[1], **options)
    loaded = probing.outcome(lambda: bool(theirs.load_state_dict(layer.state_dict())) or True)
    found["loads into PyTorch's"] = loaded.get("raised", "yes")
    return found


def refused(candidate, cases):
    """What a layer does with inputs that it has to refuse, or not."""
    found = []
    for features, options, training, x in cases:
        layer = candidate.BatchNorm2d(features, **options).train(training)
        result = probing.outcome(layer, x)
        found.append({name: result[name] for name in ("raised", "message") if name in result})
    return found
