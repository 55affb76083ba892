"""Wide padded kernels in the manner of LeNet-5, average pooling, tanh; one Sequential."""

import torch
from torch import nn


class SimpleCNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 12, 5, padding=2),  # 28
            nn.Tanh(),
            nn.AvgPool2d(2),  # 14
            nn.Conv2d(12, 32, 5),  # 10
            nn.Tanh(),
            nn.AvgPool2d(2),  # 5
            nn.Flatten(),
            nn.Linear(32 * 5 * 5, 120),
            nn.Tanh(),
            nn.Linear(120, 84),
            nn.Tanh(),
            nn.Linear(84, 10),
        )

    def forward(self, x):
        return self.net(x)


def train_one_epoch(model, loader, optimizer, loss_fn):
    model.train()
    history = []
    for x, y in loader:
        loss = loss_fn(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append((float(loss.detach()), y.shape[0]))
    if not history:
        raise ValueError("empty loader")
    return sum(value * n for value, n in history) / sum(n for _, n in history)


@torch.no_grad()
def evaluate(model, loader):
    mode = model.training
    model.eval()
    hits, total = 0, 0
    for x, y in loader:
        _, predicted = torch.max(model(x), 1)
        hits += int(torch.sum(predicted == y))
        total += y.numel()
    model.train(mode)
    if total == 0:
        raise ValueError("empty loader")
    return hits / total
