"""Batch-norm before each ReLU, dropout in the head, view instead of flatten, inference_mode, try/finally."""

import torch
import torch.nn as nn


def block(inputs, outputs):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
    )


class SimpleCNN(nn.Module):
    def __init__(self, num_classes: int = 10):
        super().__init__()
        self.features = nn.Sequential(block(1, 16), block(16, 32))  # 28 -> 14 -> 7
        self.drop = nn.Dropout(0.25)
        self.hidden = nn.Linear(32 * 7 * 7, 64)
        self.out = nn.Linear(64, num_classes)

    def forward(self, x):
        x = self.features(x)
        x = x.view(x.size(0), -1)
        x = torch.relu(self.hidden(self.drop(x)))
        return self.out(x)


def train_one_epoch(model, loader, optimizer, loss_fn):
    device = next(model.parameters()).device
    model.train()
    running, seen = 0.0, 0
    for images, labels in loader:
        images, labels = images.to(device), labels.to(device)
        optimizer.zero_grad(set_to_none=True)
        loss = loss_fn(model(images), labels)
        loss.backward()
        optimizer.step()
        running += loss.item() * images.size(0)
        seen += images.size(0)
    if not seen:
        raise ValueError("nothing to train on")
    return running / seen


def evaluate(model, loader):
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            correct = total = 0
            for images, labels in loader:
                scores = model(images.to(device))
                correct += scores.argmax(-1).eq(labels.to(device)).sum().item()
                total += labels.size(0)
    finally:
        model.train(training)
    if total == 0:
        raise ValueError("nothing to evaluate")
    return correct / total
