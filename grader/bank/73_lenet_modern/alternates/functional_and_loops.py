"""A quarter of a century in one file, with loops where they are clear enough."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F


class LeNet1989(nn.Module):
    def __init__(self):
        super().__init__()

        def uniform(fan_in, *shape):
            bound = 2.4 / fan_in**0.5
            return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))

        self.w1, self.b1 = uniform(25, 12, 1, 5, 5), nn.Parameter(torch.zeros(12, 8, 8))
        self.w2, self.b2 = uniform(200, 12, 8, 5, 5), nn.Parameter(torch.zeros(12, 4, 4))
        self.w3, self.b3 = uniform(192, 192, 30), nn.Parameter(torch.zeros(30))
        self.w4, self.b4 = uniform(30, 30, 10), nn.Parameter(torch.full((10,), -1.0))

    def sums1(self, x):
        return F.conv2d(F.pad(x, (2, 2, 2, 2), value=-1.0), self.w1, stride=2) + self.b1

    def sums2(self, x):
        x = F.pad(x, (2, 2, 2, 2), value=-1.0)
        seen = torch.cat([x[:, 0:8], x[:, 4:12], x[:, 0:4], x[:, 8:12]], dim=1)
        return F.conv2d(seen, self.w2, stride=2, groups=3) + self.b2

    def sums3(self, x):
        return x.flatten(1) @ self.w3 + self.b3

    def sums4(self, x):
        return x @ self.w4 + self.b4

    def forward(self, x):
        x = torch.tanh(self.sums1(x))
        x = torch.tanh(self.sums2(x))
        x = torch.tanh(self.sums3(x))
        return torch.tanh(self.sums4(x))


class LeNetModern(LeNet1989):
    def __init__(self, activation="tanh", dropout=0.0):
        super().__init__()
        self.act = nn.ReLU() if activation == "relu" else nn.Tanh()
        self.drop = nn.Dropout(dropout)
        self.b4.data.fill_(0)

    def forward(self, x):
        h1 = self.act(self.sums1(x))
        h2 = self.act(self.sums2(h1)).flatten(1)
        h3 = self.act(self.sums3(self.drop(h2)))
        return self.sums4(h3)


def loss(logits, labels):
    return F.nll_loss(F.log_softmax(logits, dim=-1), labels)


def optimizer_for(model, lr=3e-4):
    return torch.optim.AdamW([{"params": [p]} for p in model.parameters()], lr=lr)


def rate(number, passes, first=3e-4, last=1e-4):
    return first + (last - first) * number / max(1, passes - 1)


def shifted(images):
    out = torch.full_like(images, -1.0)
    for k in range(len(images)):
        dy, dx = (int(v) - 1 for v in torch.randint(3, (2,)))
        out[k, :, max(0, dy) : 16 + min(0, dy), max(0, dx) : 16 + min(0, dx)] = images[
            k, :, max(0, -dy) : 16 - max(0, dy), max(0, -dx) : 16 - max(0, dx)
        ]
    return out


def train_pass(model, images, labels, optimizer, batch_size=1, augment=None):
    model.train()
    losses = []
    for i in range(math.ceil(len(images) / batch_size)):
        x, y = images[i * batch_size :][:batch_size], labels[i * batch_size :][:batch_size]
        if augment:
            x = augment(x)
        optimizer.zero_grad(set_to_none=False)
        value = loss(model(x), y)
        value.backward()
        optimizer.step()
        losses += [float(value.detach())] * len(y)
    return sum(losses) / len(losses)


def fit(model, images, labels, passes=80, batch_size=1, first=3e-4, last=1e-4, augment=shifted):
    optimizer = optimizer_for(model, lr=first)
    history = []
    for k in range(passes):
        for g in optimizer.param_groups:
            g.update(lr=rate(k, passes, first, last))
        history += [train_pass(model, images, labels, optimizer, batch_size, augment)]
    return history


@torch.no_grad()
def misses(model, images, labels):
    mode = model.training
    try:
        return (model.eval()(images).argmax(1) != labels).sum().item()
    finally:
        model.train(mode)
