"""LazyLinear computes the flatten size by itself; evaluate collects all predictions and compares once."""

import torch
import torch.nn.functional as F
from torch import nn


class SimpleCNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 24, 5)
        self.conv2 = nn.Conv2d(24, 48, 5)
        self.fc1 = nn.LazyLinear(100)
        self.fc2 = nn.Linear(100, 10)
        self.eval()(torch.zeros(1, 1, 28, 28))  # materialises the lazy layer, so that optimizers find its weights
        self.train()

    def forward(self, x):
        x = F.max_pool2d(self.conv1(x), 2).relu()
        x = F.max_pool2d(self.conv2(x), 2).relu()
        x = torch.flatten(x, start_dim=1)
        x = F.leaky_relu(self.fc1(x))
        return self.fc2(x)


def train_one_epoch(model, loader, optimizer, loss_fn):
    model.train()
    total, count = torch.zeros((), dtype=torch.float64), 0
    for batch in loader:
        inputs, targets = batch
        model.zero_grad()
        loss = loss_fn(model(inputs), targets)
        loss.backward()
        optimizer.step()
        total += loss.detach() * len(inputs)
        count += len(inputs)
    if count == 0:
        raise ValueError("the loader is empty")
    return total.item() / count


def evaluate(model, loader):
    was_training = model.training
    model.train(False)
    predicted, expected = [], []
    for inputs, targets in loader:
        with torch.no_grad():
            predicted.append(model(inputs).softmax(dim=1).argmax(dim=1))
        expected.append(targets)
    model.train(was_training)
    if not expected:
        raise ValueError("the loader is empty")
    return (torch.cat(predicted) == torch.cat(expected)).double().mean().item()
