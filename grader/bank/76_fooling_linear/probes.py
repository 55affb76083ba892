"""Runs the candidate's attacks on real models and reports what came out, and what they left behind. Judges nothing."""

from __future__ import annotations

import contextlib

import torch
from torch import nn

from grader.checking import probing


class Net(nn.Sequential):
    """A Sequential that says little of itself, for messages."""

    def __repr__(self):
        return "a model"


def build(kind, shape, classes):
    """A network for inputs of this shape (without N). The numbers in it are the caller's business."""
    size = torch.Size(shape).numel()
    layers = {
        "linear": [nn.Flatten(), nn.Linear(size, classes)],
        "mlp": [nn.Flatten(), nn.Linear(size, 7), nn.Tanh(), nn.Linear(7, classes)],
    }
    if kind in layers:
        return Net(*layers[kind])
    channels, height, width = shape
    conv, end = nn.Conv2d(channels, 3, 3, padding=1), [nn.Flatten(), nn.Linear(3 * height * width, classes)]
    if kind == "conv":
        return Net(conv, nn.Tanh(), *end)
    # "norm": with modules inside of modules
    return Net(nn.Sequential(conv, nn.BatchNorm2d(3)), nn.Tanh(), nn.Dropout(0.5), *end)


def model_of(spec):
    """The model of a spec: {"kind", "shape", "classes", "state"}; its dtype is that of the state."""
    model = build(spec["kind"], spec["shape"], spec["classes"])
    model.to(next(iter(spec["state"].values())).dtype)
    model.load_state_dict(spec["state"])
    return model


def fooled(candidate, cases):
    """For each (x, w, eps): the result, and both tensors afterwards."""
    found = []
    for x, w, eps in cases:
        x, w = x.clone(), w.clone()
        result = probing.call(candidate.fool_linear, x, w, eps)
        found.append({"result": result, "x": x, "w": w})
    return found


def _prepared(case):
    """The case's model, in the state that the case wants it in."""
    model = model_of(case["spec"])
    model.train(case.get("training", False))
    for name, module in model.named_modules():
        if name in case.get("in_eval", ()):
            module.eval()
    for k, p in enumerate(model.parameters()):
        p.requires_grad_(not case.get("frozen", False) and k not in case.get("frozen_some", ()))
        if case.get("old_grads", False) and p.requires_grad:
            p.grad = torch.full_like(p, 0.5) + k
    return model


def _modes(model):
    return {name: module.training for name, module in model.named_modules()}


def _left(model):
    """All that an attack could leave behind in a model."""
    return {
        "parameters": probing.parameters(model),
        "grads": probing.gradients(model),
        "flags": {name: p.requires_grad for name, p in model.named_parameters()},
        "buffers": probing.buffers(model),
        "modes": _modes(model),
    }


def attacks(candidate, cases):
    """For each case: the result of one attack, its traces, and in which modes the model was called each time."""
    found = []
    for case in cases:
        model = _prepared(case)
        images, labels = case["images"].clone(), case["labels"].clone()
        if case.get("images_require_grad"):
            images.requires_grad_(True)
        if case.get("images_grad") is not None:
            images.grad = case["images_grad"].clone()
        before, calls = _left(model), []
        model.register_forward_pre_hook(lambda module, given, calls=calls: calls.append(_modes(module)))
        options = {name: case[name] for name in ("low", "high") if name in case}
        attack = getattr(candidate, case.get("attack", "fgsm"))
        given = case["eps"] if "epsilons" not in case else case["epsilons"]

        arguments = (model, images, labels, given)

        with torch.no_grad() if case.get("no_grad") else contextlib.nullcontext():
            wanted = torch.is_grad_enabled()
            # an exception is part of the evidence only where the case is about what may raise
            call = probing.outcome if case.get("may_raise") else probing.call
            outcome = call(attack, *arguments, **options)
            outcome = outcome if case.get("may_raise") else {"value": outcome}
            grad_mode = torch.is_grad_enabled() == wanted
        result = outcome.get("value")
        tensor = isinstance(result, torch.Tensor)
        found.append(
            {
                "result": result,
                "raised": outcome.get("raised"),
                "message": outcome.get("message"),
                "requires_grad": tensor and result.requires_grad,
                "shared": tensor and result.data_ptr() == images.data_ptr(),
                "before": before,
                "after": _left(model),
                "calls": calls,
                "grad_mode": grad_mode,
                "images": images.detach(),
                "images_grad": images.grad,
                "images_flag": images.requires_grad,
                "labels": labels,
            }
        )
        torch.set_grad_enabled(True)
    return found


def on_digits(candidate, spec, images, labels, epsilons):
    """The attacked images for each eps."""
    model = model_of(spec)
    found = []
    for k, eps in enumerate(epsilons):
        found.append(candidate.fgsm(model, images.clone(), labels.clone(), eps))
        probing.progress(k + 1, len(epsilons))
    return found
