"""Fetches the network's answers and their gradients, and what the script's functions make of them. Judges nothing."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from grader.checking import probing


def network(candidate):
    model = candidate.StripNet()
    return {
        "spread": {name: float(p.detach().std()) for name, p in model.named_parameters() if p.dim() > 1},
        "tensors": {name: list(t.shape) for name, t in probing.state(model).items()},
        "trainable": all(p.requires_grad for p in model.parameters()),
        "layers": [type(m).__name__ for m in model.modules() if not list(m.children()) and type(m) is not nn.Flatten],
    }


def pictures(candidate, wanted):
    """make_images for each (count, seed)."""
    return [candidate.make_images(count, seed) for count, seed in wanted]


def settings(candidate, images, heights):
    """fit with its own settings: optimizer, steps, and the pictures of each pass."""
    steps, marks, reported = [], [], []
    train_step = candidate.train_step

    def listened(model, optimizer, images, heights):
        loss = train_step(model, optimizer, images, heights)
        reported.append([len(images), loss])
        return loss

    def note(optimizer, args, kwargs):
        group = optimizer.param_groups[0]
        names = ("lr", "betas", "eps", "weight_decay", "amsgrad", "maximize")
        options = {name: group[name] for name in names if name in group}
        held = sum(len(g["params"]) for g in optimizer.param_groups)
        steps.append({"kind": type(optimizer).__name__, "options": options, "held": held})

    def seen(module, args):
        if isinstance(module, candidate.StripNet):
            marks.append(args[0].flatten(1).double().sum(1))

    handles = [
        register_optimizer_step_post_hook(note),
        torch.nn.modules.module.register_module_forward_pre_hook(seen),
    ]
    candidate.train_step = listened
    try:
        _, losses = candidate.fit(images.clone(), heights.clone())
    finally:
        candidate.train_step = train_step
        for handle in handles:
            handle.remove()
    return {
        "steps": len(steps),
        "options": [steps[0], steps[-1]] if steps else [],
        "marks": marks,
        "losses": losses,
        "reported": reported,
    }


def shapes(candidate, counts):
    """The shape of what comes out for each number of pictures."""
    model = candidate.StripNet()
    return [list(model(torch.rand(n, 1, 16, 16)).shape) for n in counts]


def _lively(candidate):
    """A network whose answers differ from picture to picture more than those of a new one."""
    model = candidate.StripNet()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(2.0)
    return model


def isolation(candidate, images, orders):
    """For each of the answers the gradient's size at each picture; the answers for singles and other orders."""
    model = _lively(candidate)
    inputs = images.clone().requires_grad_(True)
    answers = model(inputs).reshape(len(images))
    sizes = []
    for i in range(len(images)):
        (gradient,) = torch.autograd.grad(answers[i], inputs, retain_graph=True, allow_unused=True)
        sizes.append(torch.zeros(len(images)) if gradient is None else gradient.flatten(1).norm(dim=1))
    with torch.no_grad():
        singles = torch.cat([model(images[i : i + 1].clone()).reshape(1) for i in range(len(images))])
        other = [model(images[order]).reshape(len(order)) for order in orders]
    return {"answers": answers, "sizes": torch.stack(sizes), "singles": singles, "other": other}


def steps(candidate, cases, times=1):
    """train_step on a network each: its answers before, the last loss, the gradients that the optimizer got."""
    found = []
    for images, heights in cases:
        model = _lively(candidate)
        before = probing.state(model)
        with torch.no_grad():
            answers = copy.deepcopy(model)(images.clone()).reshape(len(images))
        if heights is None:
            heights = answers
        gradients = []
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        optimizer.register_step_pre_hook(lambda *_, m=model, g=gradients: g.append(probing.gradients(m)))
        for p in model.parameters():
            p.grad = torch.full_like(p, 3.0)
        for _ in range(times):
            loss = candidate.train_step(model, optimizer, images.clone(), heights.clone())
        found.append(
            {
                "answers": answers,
                "loss": loss,
                "gradients": gradients,
                "before": before,
                "after": probing.parameters(model),
            }
        )
    return found


def errors(candidate, cases):
    """mean_error for (pictures, heights or None, batch size or None); the answers, batch by batch."""
    found = []
    for images, heights, size in cases:
        model = _lively(candidate)
        with torch.no_grad():
            parts = images.split(size or 50)
            answers = torch.cat([model(part.clone()).reshape(len(part)) for part in parts])
        if heights is None:
            heights = answers
        graphs, sizes = [], []
        model.register_forward_hook(lambda *_, g=graphs: g.append(torch.is_grad_enabled()))
        model.register_forward_pre_hook(lambda _, args, s=sizes: s.append(len(args[0])))
        options = {} if size is None else {"batch_size": size}
        got = probing.outcome(candidate.mean_error, model, images.clone(), heights.clone(), **options)
        found.append({"answers": answers, "got": got, "graphs": graphs, "sizes": sizes})
    return found


def answers(candidate, images):
    """A network's parameters and its answers for single pictures."""
    model = _lively(candidate)
    with torch.no_grad():
        singles = [model(images[i : i + 1].clone()).reshape(1) for i in range(len(images))]
        return {"state": probing.state(model), "singles": torch.cat(singles)}


def learnt(candidate, images, heights, unseen):
    """A whole run; the answers for pictures whose heights stay with the judge."""
    with probing.live(total=8 * -(-len(images) // 32)):
        model, losses = candidate.fit(images, heights)
    with torch.no_grad():
        return {"answers": model(unseen).reshape(len(unseen)), "losses": losses}
