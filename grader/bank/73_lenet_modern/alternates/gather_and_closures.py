"""Layers in a loop, shifts by gather, a step with a closure, the model's own parts for everything random."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LeNet1989(nn.Module):
    def __init__(self) -> None:
        super().__init__()

        def uniform(fan_in: int, *shape: int) -> nn.Parameter:
            bound = 2.4 / fan_in**0.5
            return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))

        self.w1, self.b1 = uniform(25, 12, 1, 5, 5), nn.Parameter(torch.zeros(12, 8, 8))
        self.w2, self.b2 = uniform(200, 12, 8, 5, 5), nn.Parameter(torch.zeros(12, 4, 4))
        self.w3, self.b3 = uniform(192, 192, 30), nn.Parameter(torch.zeros(30))
        self.w4, self.b4 = uniform(30, 30, 10), nn.Parameter(torch.full((10,), -1.0))

    def sums1(self, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (2, 2, 2, 2), value=-1.0), self.w1, stride=2) + self.b1

    def sums2(self, x: Tensor) -> Tensor:
        x = F.pad(x, (2, 2, 2, 2), value=-1.0)
        seen = torch.cat([x[:, 0:8], x[:, 4:12], x[:, 0:4], x[:, 8:12]], dim=1)
        return F.conv2d(seen, self.w2, stride=2, groups=3) + self.b2

    def sums3(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.w3 + self.b3

    def sums4(self, x: Tensor) -> Tensor:
        return x @ self.w4 + self.b4

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.sums1(x))
        x = torch.tanh(self.sums2(x))
        x = torch.tanh(self.sums3(x))
        return torch.tanh(self.sums4(x))


class LeNetModern(LeNet1989):
    def __init__(self, activation: str = "tanh", dropout: float = 0.0) -> None:
        super().__init__()
        self.between = nn.ModuleList([
            nn.Identity(),
            nn.Dropout(dropout),
            nn.Identity(),
        ])
        self.activate = getattr(torch, activation)
        self.b4 = nn.Parameter(torch.zeros_like(self.b4))

    def forward(self, x: Tensor) -> Tensor:
        for sums, after in zip((self.sums1, self.sums2, self.sums3), self.between, strict=True):
            x = after(self.activate(sums(x)))
        return self.sums4(x)


loss = nn.CrossEntropyLoss()


def optimizer_for(model: nn.Module, lr: float = 3e-4) -> torch.optim.AdamW:
    return torch.optim.AdamW(params=[p for p in model.parameters() if p.requires_grad], lr=lr, foreach=False)


def rate(number: int, passes: int, first: float = 3e-4, last: float = 1e-4) -> float:
    try:
        done = number / (passes - 1)
    except ZeroDivisionError:
        done = 0.0
    return first - done * (first - last)


def shifted(images: Tensor) -> Tensor:
    n = images.shape[0]
    moves = (torch.rand(2, n) * 3).floor().long() - 1  # -1, 0, 1
    place = torch.arange(16)
    rows, columns = place[None] - moves[0][:, None], place[None] - moves[1][:, None]
    inside = ((rows >= 0) & (rows < 16))[:, :, None] & ((columns >= 0) & (columns < 16))[:, None, :]
    index = rows.clamp(0, 15)[:, :, None] * 16 + columns.clamp(0, 15)[:, None, :]
    taken = images.reshape(n, -1).gather(1, index.reshape(n, -1)).reshape(n, 16, 16)
    return taken.masked_fill(~inside, -1.0).unsqueeze(1)


def train_pass(model, images, labels, optimizer, batch_size=1, augment=None):
    model.train(True)
    total = 0.0
    for start in range(0, labels.numel(), batch_size):
        part = slice(start, start + batch_size)
        x = images[part] if augment is None else augment(images[part])

        def closure(x=x, y=labels[part]):
            optimizer.zero_grad()
            value = loss(model(x), y)
            value.backward()
            return value

        total += optimizer.step(closure).item() * len(x)
    return total / labels.numel()


def fit(model, images, labels, passes=80, batch_size=1, first=3e-4, last=1e-4, augment=shifted):
    optimizer = optimizer_for(model)

    def one(number):
        optimizer.param_groups[0]["lr"] = rate(number, passes, first, last)
        return train_pass(model, images, labels, optimizer, batch_size, augment)

    return [one(number) for number in range(passes)]


def misses(model, images, labels):
    was = model.training
    model.train(False)
    with torch.set_grad_enabled(False):
        predictions = torch.cat([model(x) for x in images.split(1000)]).argmax(dim=-1)
    model.train(was)
    return len(labels) - predictions.eq(labels).sum().item()
