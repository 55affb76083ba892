"""Three convolutions in a ModuleList, a depthwise-separable one among them, He initialisation, zero last layer."""

import torch
from torch import nn
from torch.nn import functional as F


class SimpleCNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(
            [
                nn.Conv2d(1, 24, 3),
                nn.Sequential(nn.Conv2d(24, 24, 3, padding=1, groups=24), nn.Conv2d(24, 48, 1)),
                nn.Conv2d(48, 48, 3, padding=1),
            ]
        )
        self.head = nn.Linear(48 * 6 * 6, 10)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n = x.shape[0]
        x = F.max_pool2d(F.silu(self.convs[0](x)), 2)
        x = F.silu(self.convs[1](x))
        x = F.max_pool2d(F.silu(self.convs[2](x)), 2)
        return self.head(x.reshape(n, -1))


def _batches(loader):
    empty = True
    for batch in loader:
        empty = False
        yield batch
    if empty:
        raise ValueError("the loader has no batches")


def train_one_epoch(model, loader, optimizer, loss_fn):
    model.train()
    mean, seen = 0.0, 0
    for images, labels in _batches(loader):
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None
        loss = loss_fn(model(images), labels)
        loss.backward()
        optimizer.step()
        seen += len(images)
        mean += (float(loss) - mean) * len(images) / seen  # a running mean, weighted by batch size
    return mean


def evaluate(model, loader):
    training = model.training
    model.eval()
    grad = torch.is_grad_enabled()
    torch.set_grad_enabled(False)
    try:
        right = wrong = 0
        for images, labels in _batches(loader):
            hits = (model(images).max(dim=1).indices == labels).sum().item()
            right, wrong = right + hits, wrong + len(labels) - hits
        return right / (right + wrong)
    finally:
        torch.set_grad_enabled(grad)
        model.train(training)
