"""The last maps are read by a convolution as large as they are, which is a linear layer; GELU, adaptive pooling."""

import torch
from torch import nn


class SimpleCNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 16, kernel_size=3, padding="same")
        self.body = nn.Conv2d(16, 32, kernel_size=3, padding="same")
        self.act = nn.GELU()
        self.shrink = nn.MaxPool2d(kernel_size=2)
        self.head = nn.Conv2d(32, 10, kernel_size=7)

    def forward(self, x):
        x = self.shrink(self.act(self.stem(x)))  # (B, 16, 14, 14)
        x = nn.functional.adaptive_avg_pool2d(self.act(self.body(x)), 7)  # (B, 32, 7, 7)
        return self.head(x)[:, :, 0, 0]


def train_one_epoch(model, loader, optimizer, loss_fn):
    model = model.train()
    weighted, n = 0.0, 0
    for step, (images, labels) in enumerate(loader):
        logits = model(images)
        loss = loss_fn(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        weighted, n = weighted + loss.item() * logits.shape[0], n + logits.shape[0]
    try:
        return weighted / n
    except ZeroDivisionError:
        raise ValueError("no batches") from None


def evaluate(model, loader):
    before = model.training
    model.eval()
    outcomes = []
    with torch.no_grad():
        for images, labels in loader:
            outcomes += (model(images).argmax(1) == labels).tolist()
    if before:
        model.train()
    if len(outcomes) == 0:
        raise ValueError("no batches")
    return sum(outcomes) / len(outcomes)
