"""Fetches values and gradients, and where the first of them stops being finite. Judges nothing."""

from __future__ import annotations

import inspect
import re
import sys
import warnings

import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.overrides import TorchFunctionMode

from grader.checking import probing


def evaluate(candidate, cases):
    """For each (function, arguments, upstream): the value, and the gradients of its product with `upstream`."""
    return [_evaluate(candidate, getattr(candidate, name), given, upstream) for name, given, upstream in cases]


def _evaluate(candidate, function, given, upstream):
    value, gradients = _gradients(function, given, upstream)
    found = {"value": value, "gradients": gradients, "first": None}
    if type(value) is not torch.Tensor:
        return found
    if not bool(value.isfinite().all()):
        found["first"] = _first_forward(candidate, lambda: _gradients(function, given, upstream))
    elif any(g is not None and not bool(g.isfinite().all()) for g in gradients):
        found["first"] = _first_backward(candidate, lambda: _gradients(function, given, upstream))
    return found


def _leaves(given):
    floating = [isinstance(a, torch.Tensor) and a.is_floating_point() for a in given]
    return [a.clone().requires_grad_() if f else a for a, f in zip(given, floating, strict=True)]


def _gradients(function, given, upstream):
    """The value, and the gradient of each float tensor among the arguments; None for none."""
    leaves = _leaves(given)
    value = function(*(a.clone() if isinstance(a, torch.Tensor) else a for a in leaves))
    if isinstance(value, torch.Tensor) and value.requires_grad and value.shape == upstream.shape:
        value.backward(upstream.to(value.dtype))
    return value, [a.grad for a in leaves if isinstance(a, torch.Tensor) and a.requires_grad]


class _FirstBad(TorchFunctionMode):
    """Notes the first operation whose result isn't finite, and the candidate's line that called it."""

    def __init__(self, file):
        super().__init__()
        self.file = file
        self.found = None

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if self.found is None and isinstance(result, torch.Tensor) and result.is_floating_point():
            with torch._C.DisableTorchFunction():
                bad = not bool(result.isfinite().all())
            if bad:
                name = getattr(func, "__name__", "").strip("_") or "an operation"
                self.found = f"{name}{_line(self.file)}"
        return result


def _line(file):
    """` in line 22` for the innermost frame in this file; empty when there is none."""
    frame = sys._getframe()
    while frame is not None and frame.f_code.co_filename != file:
        frame = frame.f_back
    return "" if frame is None else f" in line {frame.f_lineno}"


def _file(candidate):
    return getattr(candidate, "__file__", None) or inspect.getfile(candidate)


def _first_forward(candidate, call):
    with _FirstBad(_file(candidate)) as seen:
        call()
    return seen.found


def _first_backward(candidate, call):
    """What PyTorch's anomaly detection says: the backward function that returned nan, and its line."""
    file = _file(candidate)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            with torch.autograd.set_detect_anomaly(True):
                call()
        except RuntimeError as error:
            name = re.search(r"Function '(\w+)'", str(error))
            lines = [n for w in said for n in re.findall(rf'File "{re.escape(file)}", line (\d+)', str(w.message))]
            return (name[1] if name else "backward") + (f" of line {lines[-1]}" if lines else "")
    return None


# --- the model and its training ------------------------------------------------------------------------


def models(candidate, cases):
    """For each (options, images): the state, the temperature, what the methods return, and forward's gradients."""
    found = []
    for options, images in cases:
        model = candidate.PrototypeNet(**options).double()
        with torch.no_grad():
            embeddings, scores = model.embeddings(images)
        distances = model(images)
        if distances.requires_grad:
            distances.sum().backward()
        found.append(
            {
                "state": probing.state(model),
                "temperature": model.temperature,
                "embeddings": embeddings,
                "scores": scores,
                "distances": distances,
                "gradients": probing.gradients(model),
            }
        )
    return found


def trained(candidate, batches, **options):
    """The state before and after `train`, what it returns, and the optimizer at each step."""
    model = candidate.PrototypeNet().double()
    before, steps = probing.parameters(model), []
    for p in model.parameters():
        p.grad = torch.ones_like(p)  # left over from something before

    def note(optimizer, args, kwargs):
        rates = sorted({float(group["lr"]) for group in optimizer.param_groups})
        steps.append([type(optimizer).__name__, rates])

    handle = register_optimizer_step_pre_hook(note)
    try:
        history = candidate.train(model, list(batches), **options)
    finally:
        handle.remove()
    return {"before": before, "after": probing.parameters(model), "history": history, "steps": steps}


def situations(candidate, images, labels):
    """The loss and its gradients where it went wrong at night, in float32 and in float64."""
    found = {}
    for dtype in (torch.float32, torch.float64):
        for name in ("black image", "white images", "equal", "far apart", "sharp"):
            torch.manual_seed(1)
            model = candidate.PrototypeNet().to(dtype)
            x = images.to(dtype).clone()
            with torch.no_grad():
                if name == "black image":
                    x[[0, 3]] = 0.0
                elif name == "white images":
                    x[0], x[2], x[5] = 1.0, 255.0, 0.3
                elif name == "equal":
                    x, y = x[:4], torch.arange(4)
                    model.prototypes.copy_(model.embeddings(x)[0])
                elif name == "far apart":
                    model.prototypes.mul_(3000)
                else:
                    model.score.weight.mul_(10000)
            with torch.no_grad():
                maps = model.patches(x[[0, 2, 5]]) if name == "white images" else torch.zeros(1, 1)
            y = torch.arange(4) if name == "equal" else labels
            loss = model.loss(x, y)
            loss.backward()
            found[f"{name}, {str(dtype)[6:]}"] = {
                "state": probing.parameters(model),
                "images": x,
                "labels": y,
                "loss": loss,
                "gradients": probing.gradients(model),
                "constant": bool((maps.flatten(2) == maps.flatten(2)[..., :1]).all()) if maps.dim() > 2 else True,
            }
    return found
