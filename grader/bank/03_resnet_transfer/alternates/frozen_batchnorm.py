"""Frozen batch norms are replaced by torchvision's FrozenBatchNorm2d; stages frozen later go to eval mode whole."""

import torchvision
from torch import nn
from torchvision.ops import FrozenBatchNorm2d


def _freeze_bn(module):
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            frozen = FrozenBatchNorm2d(child.num_features, eps=child.eps)
            frozen.load_state_dict(child.state_dict())
            setattr(module, name, frozen)
        else:
            _freeze_bn(child)


def build_model(num_classes, *, weights=None, freeze_backbone=True):
    model = torchvision.models.resnet18(weights=weights)
    features = model.fc.in_features
    if freeze_backbone:
        model.requires_grad_(False)
        _freeze_bn(model)
    model.fc = nn.Linear(features, num_classes)
    return model


def set_train_mode(model):
    model.train(True)
    for stage in model.children():
        params = list(stage.parameters())
        if params and not any(p.requires_grad for p in params):
            stage.eval()


def parameter_groups(model, lr_backbone, lr_head):
    head_ids = set(map(id, model.fc.parameters()))
    backbone = filter(lambda p: p.requires_grad and id(p) not in head_ids, model.parameters())
    head = (p for p in model.fc.parameters() if p.requires_grad)
    return [dict(params=backbone, lr=lr_backbone), dict(params=head, lr=lr_head)]


def train_step(model, optimizer, images, labels):
    set_train_mode(model)
    for group in optimizer.param_groups:
        for p in group["params"]:
            p.grad = None
    loss = nn.functional.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()
    return loss.detach().cpu().numpy().item()
