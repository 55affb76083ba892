"""Everything by parameter names; the factory imported by name."""
import torch.nn as nn
from torchvision.models import resnet18


def build_model(num_classes, *, weights=None, freeze_backbone=True):
    net = resnet18(weights=weights)
    net.fc = nn.Linear(net.fc.weight.shape[1], num_classes)
    for name, p in net.named_parameters():
        p.requires_grad_(not freeze_backbone or name.startswith("fc."))
    return net


def set_train_mode(model):
    model.train()
    for m in model.modules():
        if isinstance(m, nn.BatchNorm2d) and not m.weight.requires_grad:
            m.eval()
    return model


def parameter_groups(model, lr_backbone, lr_head):
    trainable = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    return [
        {"params": [p for n, p in trainable if not n.startswith("fc.")], "lr": lr_backbone},
        {"params": [p for n, p in trainable if n.startswith("fc.")], "lr": lr_head},
    ]


def train_step(model, optimizer, images, labels):
    set_train_mode(model)
    criterion = nn.CrossEntropyLoss()
    outputs = model(images)
    loss = criterion(outputs, labels)
    optimizer.zero_grad(set_to_none=False)
    loss.backward()
    optimizer.step()
    return float(loss)
