"""Everything that could change is put aside first, and put back at the end: modes, flags, gradients."""

import contextlib

import torch
from torch.nn import functional


def fool_linear(x, w, eps):
    return torch.where(w > 0, x + eps, torch.where(w < 0, x - eps, x))


@contextlib.contextmanager
def borrowed(model):
    training = {name: module.training for name, module in model.named_modules()}
    grads = [(p, p.grad, p.requires_grad) for p in model.parameters()]
    enabled = torch.is_grad_enabled()
    try:
        for p, _, _ in grads:
            p.grad = None
            p.requires_grad_(False)
        torch.set_grad_enabled(True)
        yield model.eval()
    finally:
        torch.set_grad_enabled(enabled)
        for name, module in model.named_modules():
            module.training = training[name]
        for p, grad, flag in grads:
            p.requires_grad_(flag)
            p.grad = grad


def fgsm(model, images, labels, eps, low=0.0, high=1.0):
    perturbed = images.detach().clone()
    perturbed.requires_grad_()
    with borrowed(model) as m:
        loss = functional.cross_entropy(m(perturbed), labels, reduction="mean")
        loss.backward()
    step = perturbed.grad.sign().mul(eps)
    return perturbed.detach().add(step).clip(low, high)


def fgsm_targeted(model, images, targets, eps, low=0.0, high=1.0):
    return fgsm(model, images, targets, -eps, low=low, high=high)


def attacked_accuracy(model, images, labels, epsilons, low=0.0, high=1.0):
    results = []
    for e in epsilons:
        adv = fgsm(model, images, labels, e, low, high)
        with borrowed(model) as m, torch.no_grad():
            correct = m(adv).max(1).indices.eq(labels).sum().item()
        results.append(correct / len(labels))
    return results
