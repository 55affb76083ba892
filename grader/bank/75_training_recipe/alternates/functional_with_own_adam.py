"""Functional: states apart from the structure, Adam written out, the leak as a table of images against images."""

import copy
import math
import typing

import torch
import torch.nn.functional as F
from torch.func import functional_call


class Finding(typing.NamedTuple):
    ok: bool
    value: float


def _copies(model):
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def _eval_logits(model, state, images):
    still = copy.deepcopy(model).eval()
    with torch.no_grad():
        return functional_call(still, state, (images,))


def initial_loss(model, images, labels):
    z = _eval_logits(model, _copies(model), images)
    loss = float((z.logsumexp(1) - z.gather(1, labels.unsqueeze(1)).squeeze(1)).mean())
    f = labels.unique(return_counts=True)[1].double() / labels.numel()
    entropy = float(-(f * f.log()).sum())
    inside = loss >= entropy - 0.25 and loss <= math.log(z.shape[-1]) + 0.25
    return Finding(inside, loss)


def class_prior(model, images, labels):
    p = _eval_logits(model, _copies(model), images).softmax(-1)
    truth = torch.eye(p.shape[1])[labels]
    value = (p - truth).mean(0).abs().max().item()
    return Finding(value <= 0.15, value)


def no_batch_leak(model, images):
    still = copy.deepcopy(model).eval().requires_grad_(False)
    few = images[:4]
    try:
        z = still(few.clone().requires_grad_())
        if not z.requires_grad:
            return Finding(True, 0.0)
        rows = []
        x = few.clone().requires_grad_()
        z = still(x)
        for flat in z.flatten():
            rows.append(torch.autograd.grad(flat, x, retain_graph=True)[0].flatten(1).abs().amax(1))
    except RuntimeError:
        return Finding(True, 0.0)
    table = torch.stack(rows).view(len(few), -1, len(few)).amax(1)
    value = table[~torch.eye(len(few), dtype=torch.bool)].max().item()
    return Finding(value <= 1e-6, value)


def repeatable(model, images):
    state = _copies(model)
    value = (_eval_logits(model, state, images) - _eval_logits(model, state, images)).abs().max().item()
    return Finding(value <= 1e-6, value)


def _descended(model, images, labels, steps):
    """The state after some steps of Adam, written out."""
    moving = copy.deepcopy(model).train()
    names = [name for name, p in moving.named_parameters() if p.requires_grad]
    params = dict(moving.named_parameters())
    first = {name: torch.zeros_like(params[name]) for name in names}
    second = {name: torch.zeros_like(params[name]) for name in names}
    for t in range(1, steps + 1):
        loss = F.cross_entropy(moving(images), labels)
        if not loss.requires_grad:
            break
        grads = torch.autograd.grad(loss, [params[name] for name in names], allow_unused=True)
        with torch.no_grad():
            for name, g in zip(names, grads, strict=True):
                if g is None:
                    continue
                first[name].lerp_(g, 0.1)
                second[name].mul_(0.999).addcmul_(g, g, value=0.001)
                step = first[name] / (1 - 0.9**t)
                scale = (second[name] / (1 - 0.999**t)).sqrt() + 1e-8
                params[name] -= 0.01 * step / scale
    return moving.state_dict()


def overfits_two(model, images, labels):
    unlike = [i for i in range(len(labels)) if labels[i] != labels[0]]
    pair = [0, unlike[0]]
    state = _descended(model, images[pair], labels[pair], 100)
    loss = F.cross_entropy(_eval_logits(model, state, images[pair]), labels[pair]).item()
    return Finding(loss < 0.1, loss)


def input_matters(model, images, labels):
    nothing = images.new_zeros(images.shape)
    seen = F.cross_entropy(
        _eval_logits(model, _descended(model, images[::2], labels[::2], 60), images[1::2]), labels[1::2]
    )
    blind = F.cross_entropy(
        _eval_logits(model, _descended(model, nothing[::2], labels[::2], 60), nothing[1::2]), labels[1::2]
    )
    value = (seen / blind).item()
    return Finding(value < 0.8, value)


def recipe(model, images, labels):
    found = {f.__name__: f(model, images) for f in (no_batch_leak, repeatable)}
    return found | {
        f.__name__: f(model, images, labels) for f in (initial_loss, class_prior, overfits_two, input_matters)
    }
