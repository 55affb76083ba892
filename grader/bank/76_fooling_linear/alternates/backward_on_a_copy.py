"""Attacks a deep copy of the model, so that backward may fill in whatever it likes."""

import copy

import torch
import torch.nn as nn


def fool_linear(x, w, eps):
    step = torch.full_like(w, eps)
    step[w < 0] = -eps
    step[w == 0] = 0
    return x + step


def _attack(model, images, labels, step, low, high):
    twin = copy.deepcopy(model).eval()
    adversarial = torch.clone(images).detach()
    adversarial.requires_grad = True
    with torch.enable_grad():
        nn.CrossEntropyLoss()(twin(adversarial), labels).backward()
    with torch.no_grad():
        moved = adversarial + step * torch.sign(adversarial.grad)
        return torch.clamp(moved, low, high)


def fgsm(model, images, labels, eps, low=0.0, high=1.0):
    return _attack(model, images, labels, eps, low, high)


def fgsm_targeted(model, images, targets, eps, low=0.0, high=1.0):
    return _attack(model, images, targets, -eps, low, high)


def attacked_accuracy(model, images, labels, epsilons, low=0.0, high=1.0):
    twin = copy.deepcopy(model).eval()
    accuracies = []
    for eps in epsilons:
        out = twin(fgsm(twin, images, labels, eps, low, high))
        accuracies.append((out.argmax(1) == labels).float().mean().item())
    return accuracies
