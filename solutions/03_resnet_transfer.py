"""Transfer learning: a new head on a pretrained ResNet-18.

Four small functions: build the model, decide what trains, give each part its own learning rate, make one
honest training step. With `freeze_backbone=True` and 10 classes, 5,130 of 11,181,642 parameters train:
512 · 10 weights and 10 biases of the new `fc`.
"""

import torch
import torch.nn.functional as F
from torch import nn
from torchvision import models


def build_model(num_classes, *, weights=None, freeze_backbone=True):
    """A torchvision ResNet-18 whose `fc` is a new linear layer with `num_classes` outputs.

    `weights` goes to torchvision as it is: None (random, no download) or `models.ResNet18_Weights.DEFAULT`.
    With `freeze_backbone`, only the parameters of the new `fc` train; otherwise all do.
    """
    # solution: begin resnet18 with `weights`, frozen if asked, then a new fc
    model = models.resnet18(weights=weights)
    if freeze_backbone:
        for parameter in model.parameters():
            parameter.requires_grad = False
    # Why after freezing: new layers are born trainable, so this one stays out of the loop above.
    # Why in_features is read: 512 is right for ResNet-18 and -34 alone; ResNet-50 has 2048.
    model.fc = nn.Linear(model.fc.in_features, num_classes)
    return model
    # solution: end


def set_train_mode(model):
    """Training mode, but every frozen batch-norm layer (no parameter of it trains) stays in eval mode."""
    # solution: begin train mode, then eval mode for each frozen batch norm
    model.train()
    for module in model.modules():
        # Why: `requires_grad=False` stops the optimizer, not the forward pass. A batch norm in train mode
        # normalises by the batch and overwrites its running statistics, which are buffers, not parameters.
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            if not any(parameter.requires_grad for parameter in module.parameters()):
                module.eval()
    # solution: end


def parameter_groups(model, lr_backbone, lr_head):
    """Optimizer groups `[{"params": [...], "lr": ...}, ...]`: each trainable parameter once, no frozen one.

    The parameters of `model.fc` learn at `lr_head`, all others at `lr_backbone`.
    """
    # solution: begin what trains: fc at lr_head, the rest at lr_backbone
    head = [p for p in model.fc.parameters() if p.requires_grad]
    in_head = {id(p) for p in head}  # by identity: `==` between tensors compares elements
    backbone = [p for p in model.parameters() if p.requires_grad and id(p) not in in_head]
    groups = [{"params": backbone, "lr": lr_backbone}, {"params": head, "lr": lr_head}]
    return [group for group in groups if group["params"]]
    # solution: end


def train_step(model, optimizer, images, labels):
    """One step on one batch, in the mode that `set_train_mode` sets; returns the batch's loss as a float.

    images: N × 3 × H × W floats; labels: N class indices. The loss is the mean cross-entropy.
    """
    # solution: begin mode, zero_grad, forward, loss, backward, step
    set_train_mode(model)
    optimizer.zero_grad()
    logits = model(images)  # N × num_classes
    loss = F.cross_entropy(logits, labels)
    # Why this is cheap when frozen: nothing below fc requires a gradient, so backward ends at fc.
    loss.backward()
    optimizer.step()
    return loss.item()  # a float, so that no graph is kept alive
    # solution: end


if __name__ == "__main__":
    torch.manual_seed(0)
    net = build_model(5)  # weights=models.ResNet18_Weights.DEFAULT downloads 45 MB, once
    sgd = torch.optim.SGD(parameter_groups(net, lr_backbone=1e-4, lr_head=1e-2), momentum=0.9)
    x, y = torch.randn(8, 3, 64, 64), torch.arange(8) % 5
    print([round(train_step(net, sgd, x, y), 3) for _ in range(5)])  # falls from about ln 5 = 1.6
