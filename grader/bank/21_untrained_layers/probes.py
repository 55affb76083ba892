"""Fetches which parameters a network has, which of them it knows of, and what happens to them. Judges nothing."""

from __future__ import annotations

import io

import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.optimizer import register_optimizer_step_post_hook

from grader.checking import probing


def _everything(model):
    """All parameters that can be reached from the model, also through lists and dicts, by their path."""
    found, seen = {}, set()

    def walk(thing, path):
        if id(thing) in seen:
            return
        seen.add(id(thing))
        if isinstance(thing, nn.Parameter):
            found[path] = thing
        elif isinstance(thing, nn.Module):
            inner = {k: v for k, v in vars(thing).items() if k not in ("_parameters", "_modules")}
            for part in (thing._parameters, thing._modules, inner):
                for name, value in part.items():
                    walk(value, f"{path}.{name}".lstrip("."))
        elif isinstance(thing, (list, tuple)):
            for i, value in enumerate(thing):
                walk(value, f"{path}.{i}")
        elif isinstance(thing, dict):
            for key, value in thing.items():
                walk(value, f"{path}.{key}")

    walk(model, "")
    return found


def _shapes(tensors):
    return {name: list(t.shape) for name, t in tensors.items()}


def network(candidate):
    """The parts of a new network and of the loaded one; what is registered, saved, and not."""
    model = candidate.TextureNet(9)
    every = _everything(model)
    return {
        "every": _shapes(every),
        "registered": _shapes(dict(model.named_parameters())),
        "saved": _shapes(model.state_dict()),
        "kinds": {
            "norm": type(model.norm).__name__ if hasattr(model, "norm") else "",
            "stem": [type(m).__name__ for m in model.stem] if hasattr(model, "stem") else [],
        },
        "trainable": {name: p.requires_grad for name, p in every.items()},
        "spread": {name: float(p.detach().std()) for name, p in every.items() if p.dim() > 1},
        "loaded": _shapes(_everything(candidate.load_pretrained())),
    }


def materials(candidate, wanted):
    """make_images for each (count, seed), and the loaded stem."""
    model = candidate.load_pretrained()
    return {
        "pictures": [candidate.make_images(count, seed) for count, seed in wanted],
        "stem": {name: p.detach().clone() for name, p in _everything(model).items() if name.startswith("stem.")},
    }


class _Steps:
    """The optimizers' steps while it is open."""

    def __enter__(self):
        self.seen = []
        self.handle = register_optimizer_step_post_hook(self.note)
        return self

    def __exit__(self, *_):
        self.handle.remove()

    def note(self, optimizer, args, kwargs):
        self.seen.append(_options(optimizer))


def _options(optimizer):
    names = ("lr", "momentum", "weight_decay", "dampening", "nesterov", "maximize")
    groups = [{n: g[n] for n in names if n in g} for g in optimizer.param_groups]
    return {"kind": type(optimizer).__name__, "groups": groups}


def settings(candidate, images, labels):
    """adapt and train as the script does it: the optimizer, its steps, the images of each pass."""
    model = candidate.load_pretrained()
    optimizer = candidate.adapt(model, 6)
    if not isinstance(optimizer, torch.optim.Optimizer):
        return {"optimizer": type(optimizer).__name__}
    marks = []
    model.register_forward_pre_hook(lambda _, args: marks.append(args[0].flatten(1).double().sum(1)))
    with _Steps() as steps:
        losses = candidate.train(model, optimizer, images.clone(), labels.clone())
    return {
        "optimizer": None,
        "options": [_options(optimizer), *steps.seen[-1:]],
        "steps": len(steps.seen),
        "marks": marks,
        "losses": losses,
    }


def gradients(candidate, images, labels):
    """The size of each parameter's gradient, or None, when all of them ask for one."""
    model = candidate.TextureNet(5)
    every = _everything(model)
    for p in every.values():
        p.requires_grad_(True)
    F.cross_entropy(model(images.clone()), labels).backward()
    return {name: None if p.grad is None else float(p.grad.norm()) for name, p in every.items()}


def adapted(candidate, num_classes):
    """After adapt: which parameters require a gradient, which the optimizer holds, and the shapes."""
    model = candidate.load_pretrained()
    optimizer = candidate.adapt(model, num_classes)
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    every = _everything(model)
    known = {id(p) for p in every.values()}
    return {
        "shapes": _shapes(every),
        "out_features": model.fc.out_features if type(model.fc) is nn.Linear else None,
        "trainable": {name: p.requires_grad for name, p in every.items()},
        "held": {name: id(p) in held for name, p in every.items()},
        "strangers": sum(i not in known for i in held),
    }


def trained(candidate, images, labels, epochs, loaded=True):
    """All parameters as they were loaded (or new, for 20 classes), after adapt, and after a training."""
    model = candidate.load_pretrained() if loaded else candidate.TextureNet(20)
    loaded = {name: p.detach().clone() for name, p in _everything(model).items()}
    optimizer = candidate.adapt(model, 6)
    before = {name: p.detach().clone() for name, p in _everything(model).items()}
    candidate.train(model, optimizer, images.clone(), labels.clone(), epochs=epochs)
    after = {name: p.detach().clone() for name, p in _everything(model).items()}
    return {"loaded": loaded, "before": before, "after": after}


def features(candidate, images):
    """What model.features is after a pass in which gradients are recorded, and what the neck gave."""
    model = candidate.TextureNet(6)
    caught = []
    model.neck.register_forward_hook(lambda *args: caught.append(args[2].detach().clone()))
    model(images.clone())
    kept = model.features
    is_tensor = isinstance(kept, torch.Tensor)
    return {
        "features": kept,
        "graph": bool(is_tensor and (kept.requires_grad or kept.grad_fn is not None)),
        "neck": caught[0] if caught else None,
    }


class _Noted(nn.Module):
    """Class scores with the given weights; keeps what it was asked."""

    def __init__(self, weight, bias):
        super().__init__()
        self.linear = nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype)
        with torch.no_grad():
            self.linear.weight.copy_(weight)
            self.linear.bias.copy_(bias)
        self.asked = []

    def forward(self, inputs):
        self.asked.append(inputs.detach().clone())
        return self.linear(inputs.flatten(1))


def updates(candidate, weight, bias, inputs, labels, lr, momentum, epochs):
    """train on another model: what it was asked, the weights after every step, the losses."""
    model = _Noted(weight, bias)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum)
    trace = []
    optimizer.register_step_post_hook(lambda *_: trace.append(model.linear.weight.detach().clone()))
    losses = candidate.train(model, optimizer, inputs.clone(), labels.clone(), epochs=epochs)
    return {"asked": model.asked, "weights": trace, "losses": losses}


def outputs(candidate, images, labels):
    """The answers and gradients of a network with random weights, the answers after saving and loading."""
    model = candidate.TextureNet(7)
    every = _everything(model)
    with torch.no_grad():
        for p in every.values():
            p.add_(0.3 * torch.randn_like(p))
        file = io.BytesIO()
        torch.save(model.state_dict(), file)
        file.seek(0)
        again = candidate.TextureNet(7)
        again.load_state_dict(torch.load(file, weights_only=True))
        later = again(images.clone())
    for p in every.values():
        p.requires_grad_(True)
    outputs = model(images.clone())
    F.cross_entropy(outputs, labels).backward()
    return {
        "outputs": outputs,
        "again": later,
        "parameters": {name: p.detach().clone() for name, p in every.items()},
        "gradients": {name: None if p.grad is None else p.grad.clone() for name, p in every.items()},
    }


def learnt(candidate, images, labels, unseen):
    """A whole run; the answers for images whose labels stay with the judge."""
    model = candidate.load_pretrained()
    optimizer = candidate.adapt(model, 6)
    with probing.live(total=5 * -(-len(images) // 32)):
        losses = candidate.train(model, optimizer, images, labels)
    with torch.no_grad():
        return {"answers": model.eval()(unseen), "losses": losses}
