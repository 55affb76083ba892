"""What the checks of transfer learning ask of the candidate, inside the sandbox.

torchvision's own `resnet18` runs, with all that surrounds it (the weights API, its deprecation warnings, loading);
only the class that it builds is replaced by a smaller ResNet, and the download by tensors that the judge sent.
Nothing here judges.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torchvision.models import resnet

from grader.checking import probing

IMAGENET_CLASSES = 1000


class SmallResNet(resnet.ResNet):
    """A ResNet with the attributes of torchvision's (conv1, bn1, layer1 to layer4, fc), for 3×32×32 and the like.

    `widths` has the channels of the four stages; each stage is one residual block.
    """

    def __init__(self, widths: list[int], num_classes: int, norm_layer: Any = nn.BatchNorm2d) -> None:
        nn.Module.__init__(self)
        self.conv1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.bn1 = norm_layer(widths[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        before = widths[0]
        for number, width in enumerate(widths, start=1):
            self.add_module(f"layer{number}", nn.Sequential(_block(before, width, number, norm_layer)))
            before = width
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(before, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _block(before: int, width: int, number: int, norm_layer: Any) -> nn.Module:
    stride = 1 if number == 1 else 2
    shortcut = None
    if stride != 1 or before != width:
        shortcut = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), norm_layer(width))
    return resnet.BasicBlock(before, width, stride, shortcut, norm_layer=norm_layer)


@dataclass
class Asked:
    """What was asked of torchvision: the `layers` of each ResNet, the address of each download, the warnings."""

    layers: list[list[int]] = field(default_factory=list)
    downloads: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def _stand_in(candidate: Any, widths: list[int] | None, checkpoint: dict[str, torch.Tensor] | None = None) -> Asked:
    """From here on torchvision builds `SmallResNet`s (unless `widths` is None) and downloads `checkpoint`.

    A worker runs one probe and ends, so nothing is put back.
    """
    asked = Asked()
    _replace_class(widths, asked)
    _replace_download(candidate, checkpoint, asked)
    warn = warnings.warn

    def noted(message: Any, *args: Any, **kwargs: Any) -> None:
        asked.warnings.append(str(message))
        warn(message, *args, **kwargs)

    warnings.warn = noted  # type: ignore[assignment]
    return asked


def _replace_class(widths: list[int] | None, asked: Asked) -> None:
    if widths is None:
        return

    class Small(SmallResNet):
        def __init__(
            self, block: Any, layers: list[int], num_classes: int = IMAGENET_CLASSES, norm_layer: Any = None, **_: Any
        ) -> None:
            asked.layers.append([int(n) for n in layers])
            super().__init__(widths, num_classes, norm_layer or nn.BatchNorm2d)

    resnet.ResNet = Small  # type: ignore[misc]


def _replace_download(candidate: Any, checkpoint: dict[str, torch.Tensor] | None, asked: Asked) -> None:
    def give(url: str, *_: Any, **__: Any) -> dict[str, torch.Tensor]:
        asked.downloads.append(str(url))
        if checkpoint is None:
            raise OSError(f"a download of {url}, though weights=None was given")
        whole = {name: tensor.clone() for name, tensor in checkpoint.items()}
        if "fc.weight" not in whole:  # a head as ImageNet's, to be thrown away
            features = max(t.shape[0] for n, t in whole.items() if n.startswith("layer4") and n.endswith("mean"))
            whole["fc.weight"] = torch.randn(IMAGENET_CLASSES, features)
            whole["fc.bias"] = torch.zeros(IMAGENET_CLASSES)
        return whole

    original = torch.hub.load_state_dict_from_url
    from torchvision import _internally_replaced_utils as utils
    from torchvision.models import _api

    for place in (torch.hub, utils, _api, candidate):
        for name, value in list(vars(place).items()):
            if value is original:
                setattr(place, name, give)


def _build(candidate: Any, num_classes: int, checkpoint: Any, freeze_backbone: bool) -> Any:
    weights = None if checkpoint is None else torchvision.models.ResNet18_Weights.DEFAULT
    return candidate.build_model(num_classes, weights=weights, freeze_backbone=freeze_backbone)


def _freeze(model: nn.Module, stages: list[str]) -> None:
    for name, parameter in model.named_parameters():
        if name.split(".")[0] in stages:
            parameter.requires_grad_(False)


def _features_seen(model: Any) -> list[torch.Tensor]:
    """A list to which every forward pass adds what enters `fc`."""
    seen: list[torch.Tensor] = []
    model.fc.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].detach().clone()))
    return seen


def head(
    candidate: Any, widths: list[int], checkpoint: dict[str, torch.Tensor], num_classes: int, images: torch.Tensor
) -> dict[str, Any]:
    """What kind of model `build_model` returns, its `fc`, and the logits (or what the forward pass raised)."""
    asked = _stand_in(candidate, widths, checkpoint)
    model = candidate.build_model(num_classes, weights=None, freeze_backbone=True)
    evidence = {"type": type(model).__name__, "layers": asked.layers, "is_resnet": isinstance(model, resnet.ResNet)}
    if not isinstance(model, nn.Module):
        return {**evidence, "is_module": False}
    fc = getattr(model, "fc", None)
    model.eval()
    return {
        **evidence,
        "is_module": True,
        "fc_type": type(fc).__name__,
        "fc_is_linear": type(fc) is nn.Linear,
        "in_features": getattr(fc, "in_features", None),
        "out_features": getattr(fc, "out_features", None),
        "has_bias": getattr(fc, "bias", None) is not None,
        "names": sorted(model.state_dict()),
        "logits": probing.outcome(model, images),
    }


def without_weights(candidate: Any, widths: list[int]) -> dict[str, Any]:
    """Which downloads `weights=None`, given and by default, leads to, and `conv1` of the models."""
    asked = _stand_in(candidate, widths)
    built = [probing.outcome(_build, candidate, 3, None, freeze) for freeze in (True, False)]
    built.append(probing.outcome(candidate.build_model, 3))
    raised = [b["message"] for b in built if "raised" in b]
    return {
        "downloads": asked.downloads,
        "raised": raised,
        "conv1": [] if raised else [b["value"].conv1.weight for b in built],
    }


def with_weights(
    candidate: Any, widths: list[int], checkpoint: dict[str, torch.Tensor], images: torch.Tensor, freeze: bool
) -> dict[str, Any]:
    """The downloads that `weights=DEFAULT` leads to, the model's whole state, and its logits in eval mode."""
    asked = _stand_in(candidate, widths, checkpoint)
    model = _build(candidate, 4, checkpoint, freeze)
    with torch.no_grad():
        logits = model.eval()(images)
    return {
        "downloads": asked.downloads,
        "wanted": torchvision.models.ResNet18_Weights.DEFAULT.url,
        "state": probing.state(model),
        "logits": logits,
    }


def warned(candidate: Any, widths: list[int], checkpoint: dict[str, torch.Tensor]) -> list[str]:
    """The warnings while models are built, with and without weights."""
    asked = _stand_in(candidate, widths, checkpoint)
    for weights in (None, checkpoint):
        _build(candidate, 3, weights, True)
    return asked.warnings


def trainable(candidate: Any, widths: list[int], checkpoint: dict[str, torch.Tensor]) -> dict[str, Any]:
    """The names of all parameters, and of those that require a gradient, for each way to call `build_model`."""
    _stand_in(candidate, widths, checkpoint)
    default = torchvision.models.ResNet18_Weights.DEFAULT
    models = {
        "build_model(3)": candidate.build_model(3),
        "freeze_backbone=True": candidate.build_model(3, weights=default, freeze_backbone=True),
        "freeze_backbone=False": candidate.build_model(3, weights=default, freeze_backbone=False),
        "weights=None, freeze_backbone=False": candidate.build_model(3, weights=None, freeze_backbone=False),
    }
    return {
        call: {
            "all": [name for name, _ in model.named_parameters()],
            "trainable": [name for name, p in model.named_parameters() if p.requires_grad],
        }
        for call, model in models.items()
    }


def groups(candidate: Any, widths: list[int], cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each case (freeze, stages frozen by hand, two learning rates) the groups, parameters by name."""
    _stand_in(candidate, widths)
    return [_groups(candidate, case) for case in cases]


def _groups(candidate: Any, case: dict[str, Any]) -> dict[str, Any]:
    model = _build(candidate, 3, None, case["freeze"])
    _freeze(model, case["stages"])
    made = candidate.parameter_groups(model, case["lr_backbone"], case["lr_head"])
    every = list(made) if isinstance(made, (list, tuple)) else None
    if every is None or not all(isinstance(g, dict) and "params" in g for g in every):
        return {"type": type(made).__name__, "items": [type(g).__name__ for g in every or []]}
    names = {id(p): name for name, p in model.named_parameters()}
    entries = []
    for group in every:
        group["params"] = _as_list(group["params"])
        found = [names.get(id(p), f"a {type(p).__name__} that isn't in the model") for p in group["params"]]
        entries.append({"names": found, "lr": _number(group.get("lr"))})
    return {"groups": entries, "trainable": [n for n, p in model.named_parameters() if p.requires_grad]}


def _as_list(params: Any) -> list[Any]:
    """An optimizer accepts one tensor, any iterable of tensors, and pairs of name and tensor."""
    if isinstance(params, torch.Tensor):
        return [params]
    return [p[1] if isinstance(p, tuple) else p for p in params]


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def mode(
    candidate: Any,
    widths: list[int],
    checkpoint: dict[str, torch.Tensor],
    images: torch.Tensor,
    freeze: bool,
    stages: list[str],
) -> dict[str, Any]:
    """The buffers before and after one forward pass in the mode that `set_train_mode` sets, and what enters `fc`."""
    _stand_in(candidate, widths, checkpoint)
    model = _build(candidate, 4, checkpoint, freeze)
    _freeze(model, stages)
    model.eval()
    candidate.set_train_mode(model)
    before, seen = probing.buffers(model), _features_seen(model)
    with torch.no_grad():
        model(images)
    return {
        "fc_training": model.fc.training,
        "before": before,
        "after": probing.buffers(model),
        "features": seen[0] if seen else None,
    }


def one_step(
    candidate: Any,
    widths: list[int],
    checkpoint: dict[str, torch.Tensor],
    images: torch.Tensor,
    labels: torch.Tensor,
    lr: float,
    stale: float,
) -> dict[str, Any]:
    """One `train_step` of a frozen model with SGD on `fc`, whose gradients hold `stale` from before."""
    _stand_in(candidate, widths, checkpoint)
    model = _build(candidate, 4, checkpoint, True)
    optimizer = torch.optim.SGD(model.fc.parameters(), lr=lr)
    for parameter in model.fc.parameters():
        parameter.grad = torch.full_like(parameter, stale)
    seen, before = _features_seen(model), probing.parameters(model.fc)
    loss = candidate.train_step(model, optimizer, images, labels)
    after = probing.parameters(model.fc)
    return {"loss": loss, "features": seen[0] if seen else None, "before": before, "after": after}


def steps(
    candidate: Any,
    widths: list[int],
    checkpoint: dict[str, torch.Tensor],
    images: torch.Tensor,
    labels: torch.Tensor,
    freeze: bool,
    stages: list[str],
    training: bool,
    rates: tuple[float, float],
) -> dict[str, Any]:
    """The whole state before and after a `train_step` on each batch, and what entered `fc` first in each.

    The model comes to each step in the mode `training`; the optimizer has momentum and weight decay.
    """
    _stand_in(candidate, widths, checkpoint)
    model = _build(candidate, 4, checkpoint, freeze)
    _freeze(model, stages)
    optimizer = torch.optim.SGD(candidate.parameter_groups(model, *rates), lr=1.0, momentum=0.9, weight_decay=0.2)
    before, seen, features = probing.state(model), _features_seen(model), []
    for batch, target in zip(images, labels, strict=True):
        model.train(training)
        seen.clear()
        candidate.train_step(model, optimizer, batch, target)
        features.append(seen[0] if seen else None)
    return {"before": before, "after": probing.state(model), "features": features}


def fit_one_batch(
    candidate: Any,
    widths: list[int],
    checkpoint: dict[str, torch.Tensor],
    images: torch.Tensor,
    labels: torch.Tensor,
    lr: float,
    count: int,
) -> dict[str, Any]:
    """The logits of one batch in eval mode, before and after `count` steps of Adam on it, backbone frozen."""
    _stand_in(candidate, widths, checkpoint)
    model = _build(candidate, 4, checkpoint, True)
    optimizer = torch.optim.Adam(candidate.parameter_groups(model, lr, lr))
    before = _predict(model, images)
    for done in range(count):
        probing.progress(done, count, _loss(candidate.train_step(model, optimizer, images, labels)))
    return {"before": before, "after": _predict(model, images)}


def learn(
    candidate: Any,
    widths: list[int] | None,
    checkpoint: dict[str, torch.Tensor] | None,
    images: torch.Tensor,
    labels: torch.Tensor,
    new_images: torch.Tensor,
    order: torch.Tensor,
    size: int,
) -> torch.Tensor:
    """Trains on the batches whose indices are the rows of `order`, and returns the logits of `new_images`.

    With a checkpoint only the head trains; without one everything does, from scratch. `size` is the side to
    which images are enlarged.
    """
    _stand_in(candidate, widths, checkpoint)
    images, new_images = _prepare(images, size), _prepare(new_images, size)
    model = _build(candidate, int(labels.max()) + 1, checkpoint, checkpoint is not None)
    optimizer = torch.optim.Adam(candidate.parameter_groups(model, 1e-3, 1e-2))
    for done, batch in enumerate(order):
        loss = candidate.train_step(model, optimizer, images[batch], labels[batch])
        probing.progress(done, len(order), _loss(loss))
    return _predict(model, new_images)


def _prepare(images: torch.Tensor, size: int) -> torch.Tensor:
    """uint8 images as floats, normalised as ImageNet's, enlarged to `size` × `size`."""
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    ready = (images.float() / 255 - mean) / std
    if size != ready.shape[-1]:
        ready = F.interpolate(ready, size=(size, size), mode="bilinear", align_corners=False)
    return ready


def _predict(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        return torch.cat([model(part) for part in images.split(100)])


def _loss(value: Any) -> float | None:
    return value if isinstance(value, float) else None
