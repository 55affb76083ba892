"""Typed and cautious: four groups (no weight decay on biases and norms), a closure for the step, dataclass-free."""
from __future__ import annotations

from typing import Optional

import torch
import torchvision.models as tvm
from torch import Tensor, nn


def build_model(
    num_classes: int, *, weights: Optional[tvm.ResNet18_Weights] = None, freeze_backbone: bool = True
) -> tvm.ResNet:
    weights = tvm.ResNet18_Weights.verify(weights)
    model = tvm.resnet18(weights=weights, progress=False)
    for p in model.parameters():
        p.requires_grad = not freeze_backbone
    head = nn.Linear(model.fc.in_features, num_classes)
    nn.init.normal_(head.weight, std=0.01)
    nn.init.zeros_(head.bias)
    model.fc = head
    return model.eval()


def set_train_mode(model: nn.Module) -> None:
    for module in model.modules():
        frozen_norm = isinstance(module, nn.modules.batchnorm._NormBase) and not any(
            p.requires_grad for p in module.parameters()
        )
        module.training = not frozen_norm


def parameter_groups(model: nn.Module, lr_backbone: float, lr_head: float) -> list[dict]:
    buckets: dict[tuple[bool, bool], list[Tensor]] = {}
    for name, p in model.named_parameters():
        if not p.requires_grad:
            continue
        buckets.setdefault((name.startswith("fc."), p.ndim > 1), []).append(p)
    return [
        {"params": params, "lr": lr_head if head else lr_backbone, **({} if decay else {"weight_decay": 0.0})}
        for (head, decay), params in buckets.items()
    ]


def train_step(model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor) -> float:
    set_train_mode(model)

    def closure() -> Tensor:
        optimizer.zero_grad()
        with torch.enable_grad():
            loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        return loss

    return float(optimizer.step(closure).item())
